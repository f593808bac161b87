/* A model on a disk of the test's choosing: what the engine builds, by hand, so that the disk can be the fake. */
#ifndef TESTS_RIG_H
#define TESTS_RIG_H

#include "forward/forward.h"

typedef struct RigConfig {
    const char *path;     /* a GGUF file */
    DiskConfig disk;
    uint32_t slots;
    uint32_t ctx, chunk;  /* 0: 64, 16 */
    uint32_t segments;    /* 0: 1 */
    int threads;          /* 0: 2 */
    CachePolicy policy;
    ForwardLookahead lookahead;
    bool mtp, precise;
} RigConfig;

typedef struct Rig {
    FormatModel *format;
    Model *model;
    OsPool *pool;
    Disk *disk;
    Store *store;
    void *dense;
    Forward *forward;
    ForwardState *state;
    uint64_t state_bytes; /* that a saved state takes at the most */
} Rig;

Rig rig_open(const RigConfig *config); /* fails the test with the error's sentence */
void rig_close(Rig *r);

/* forward_step of one sequence that nobody interrupts. */
ErrCode step_alone(Forward *f, ForwardState *s, const int32_t *ids, uint32_t n, const ForwardProbe *probe, Err *err);

DiskConfig clean_disk(void);         /* the threads backend */
DiskConfig bad_disk(uint64_t seed);  /* errors, short reads and delays, all of which pass within the retries */

#endif
