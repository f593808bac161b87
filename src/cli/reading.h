/* cli/reading: the way of reading that the engine would choose for a file, for commands that measure without opening a model. */
#ifndef CLI_READING_H
#define CLI_READING_H

#include "cli/options.h"
#include "disk/disk.h"

typedef struct Reading {
    DiskBackend backend;
    DiskDirect direct;
} Reading;

/* --io and --direct as they are given, and where they say auto what is measured or remembered. */
Reading reading_choose(const Options *o, const char *path, uint32_t request_bytes);

#endif
