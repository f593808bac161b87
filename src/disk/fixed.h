/* Private to io_uring: files and memory that the kernel keeps at hand, so that it need not look them up for every read. */
#ifndef DISK_FIXED_H
#define DISK_FIXED_H

#include "disk/backend.h"

struct io_uring;
struct io_uring_sqe;

typedef struct Fixed {
    uint32_t n_files, max_files; /* max_files 0: the kernel keeps none */
    const char *memory;          /* registered; NULL: none */
    uint64_t bytes;
    bool refused; /* memory was refused and that was said */
} Fixed;

void fixed_start(Fixed *f, struct io_uring *ring);
void fixed_add_file(Fixed *f, struct io_uring *ring, DiskFile *file);
/* Registers this memory in place of what was registered before; NULL: none. False: the kernel refused. */
bool fixed_memory(Fixed *f, struct io_uring *ring, void *memory, uint64_t bytes);
/* Fills in a read of this range, with what is registered of its file and its memory. */
void fixed_prepare(const Fixed *f, struct io_uring_sqe *sqe, const DiskFile *file, const Range *range);

#endif
