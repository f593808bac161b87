/* Private to the disk room: a measurement that can be continued in slices, so that several can take turns. */
#ifndef DISK_MEASURE_H
#define DISK_MEASURE_H

#include "disk/places.h"
#include "disk/disk.h"

typedef struct Measuring {
    const char *path; /* borrowed */
    Disk *disk;
    OsFile file;      /* for the questions about the page cache */
    Places *places;
    char *memory;     /* [depth][read_bytes] */
    bool own_memory;
    DiskDone *done;   /* [depth] */
    uint32_t read_bytes;
    int depth;
    bool direct;
    uint64_t *dropped; /* [n_dropped] buffered reads: where, to take them out of the page cache again */
    size_t n_dropped, cap_dropped;
    uint64_t warm_reads;
    bool used_up;
} Measuring;

/* memory: disk_measure_memory bytes, aligned to a page; NULL: its own. path and memory are borrowed until the end. */
ErrCode measuring_open(Measuring *m, const DiskMeasure *how, char *memory, Err *err);
void measuring_close(Measuring *m);

/* Reads at full depth until the time or the bytes are reached (0: no limit) or the file is used up; adds to what `rate` counts. */
ErrCode measuring_slice(Measuring *m, uint64_t ns, uint64_t bytes, DiskRate *rate, Err *err);
/* At most n reads one after the other (n <= MEASURE_ALONE), at least 3 even if it takes longer than ns: their median. */
enum { MEASURE_ALONE = 33 };
ErrCode measuring_alone(Measuring *m, uint64_t ns, int n, double *read_s, Err *err);

#endif
