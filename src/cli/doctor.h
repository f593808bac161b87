/* cli/doctor: what the files of `sluice doctor` share. */
#ifndef CLI_DOCTOR_H
#define CLI_DOCTOR_H

#include "cli/source.h"
#include "lab/lab.h"

#include <jansson.h>

enum { DOCTOR_SIZES = 7, DOCTOR_DEPTHS = 6 };
extern const uint32_t doctor_sizes[DOCTOR_SIZES]; /* bytes of a read */
extern const int doctor_depths[DOCTOR_DEPTHS];    /* reads in flight */

/* The disk one way: directly, or through the page cache. bytes_per_s 0: that combination was left out. */
typedef struct DoctorSweep {
    bool tried;
    char refused[256]; /* why the files cannot be read that way; empty: they can */
    DiskRate rate[DOCTOR_SIZES][DOCTOR_DEPTHS];
} DoctorSweep;

typedef struct Doctor {
    const Options *o;
    Source source;        /* empty without -m */
    const char **paths;   /* [n_paths] what the disk is measured with */
    uint32_t n_paths;
    char scratch[1200], scratch_dir[1100]; /* empty: none was made */
    LabFacts facts;
    LabSite site;
    bool has_site;
    LabTrap traps[LAB_MAX_TRAPS];
    int n_traps;
    char uring_refused[256];
    DiskBackend backend;   /* as the engine would read */
    DiskDirect direct_mode;
    DoctorSweep direct, buffered;
    LabProfile profile;
    char profile_note[256]; /* where it was kept, or why not */
    /* of a model */
    bool predicted;
    char refused[1024];     /* why it does not fit; empty: it does */
    sluice_plan plan;
    EnginePrediction speed, more_memory, faster_disk, faster_memory, more_cores; /* as it is, and with twice of one thing */
} Doctor;

ErrCode doctor_sweeps(Doctor *d, Err *err);
ErrCode doctor_predict(Doctor *d, Err *err);
json_t *doctor_json(const Doctor *d);
void doctor_print(const Doctor *d);

#endif
