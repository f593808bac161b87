/* Private to io_uring: files and memory that the kernel keeps at hand, so that it need not look them up for every read. */
#ifndef DISK_FIXED_H
#define DISK_FIXED_H

#include "disk/backend.h"

struct io_uring;
struct io_uring_sqe;

typedef struct Fixed {
    uint32_t n_files, max_files; /* max_files 0: the kernel keeps none */
    char *memory;                /* that reads go to, n_pieces of piece_bytes; NULL: none can be registered */
    uint64_t piece_bytes;
    uint32_t n_pieces, n_registered;
    uint8_t *registered; /* [n_pieces] 1: this piece is */
    bool full;           /* the kernel has refused a piece: no other is tried */
    bool said;           /* and that was said */
} Fixed;

void disk_fixed_start(Fixed *f, struct io_uring *ring);
void disk_fixed_add_file(Fixed *f, struct io_uring *ring, DiskFile *file);
/* Reads go to this memory from now on; ends the registration of what was named before. NULL: to none. */
void disk_fixed_memory(Fixed *f, struct io_uring *ring, void *memory, uint64_t piece_bytes, uint32_t n);
/* Ends the registration of the piece that begins here, if it has one. */
void disk_fixed_forget(Fixed *f, struct io_uring *ring, const void *piece);
/* Fills in a read of this range, with what is registered of its file and its memory, or can be. */
void disk_fixed_prepare(Fixed *f, struct io_uring *ring, struct io_uring_sqe *sqe, const DiskFile *file, const Range *range);

#endif
