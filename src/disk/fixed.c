/* Registered files and memory of io_uring.
 *
 * Without it the kernel takes a reference to the file and pins the pages of the destination anew for every read. Memory that is
 * registered stays pinned: it is resident, and can neither be swapped nor be given back; whoever wants to give pages back must end the
 * registration first, for the kernel would go on writing to the old ones. So memory is registered piece by piece, each before the first
 * read into it: what is never read into costs nothing, neither memory nor the time of touching it.
 */
#define _GNU_SOURCE /* liburing.h needs it under -std=c11 */
#include "disk/fixed.h"

#include <errno.h>
#include <liburing.h>
#include <string.h>
#include <sys/resource.h>

enum { MAX_FILES = 256, MAX_PIECES = 16384 /* what the kernel takes; pieces beyond are read into without */ };

void disk_fixed_start(Fixed *f, struct io_uring *ring) {
    int none[MAX_FILES];
    for (size_t i = 0; i < MAX_FILES; i++) none[i] = -1; /* a place without a file */
    int failure = -io_uring_register_files(ring, none, MAX_FILES);
    *f = (Fixed){.max_files = failure ? 0 : MAX_FILES};
    if (failure) log_debug("io_uring: files are not registered: %s", strerror(failure));
}

void disk_fixed_add_file(Fixed *f, struct io_uring *ring, DiskFile *file) {
    file->fixed = 0;
    if (f->n_files == f->max_files || io_uring_register_files_update(ring, f->n_files, &file->os.fd, 1) != 1) return;
    file->fixed = ++f->n_files;
}

/* Said once; what is registered already stays so. */
static void refuse(Fixed *f, int failure) {
    char all[32], have[32], limit[32];
    struct rlimit locked;
    f->full = true;
    if (f->said) return;
    f->said = true;
    format_size(f->n_pieces * f->piece_bytes, all);
    format_size(f->n_registered * f->piece_bytes, have);
    if (failure == ENOMEM && getrlimit(RLIMIT_MEMLOCK, &locked) == 0 && (uint64_t)locked.rlim_cur < f->n_pieces * f->piece_bytes)
        log_note("io_uring: of the memory for reads %s of %s are registered, because the limit of locked memory is %s; it works without; "
                 "to save some CPU time raise it with ulimit -l", have, all, format_size((uint64_t)locked.rlim_cur, limit));
    else
        log_note("io_uring: of the memory for reads %s of %s are registered: %s; it works without, with a little more CPU time", have,
                 all, strerror(failure));
}

void disk_fixed_memory(Fixed *f, struct io_uring *ring, void *memory, uint64_t piece_bytes, uint32_t n) {
    if (f->memory) (void)io_uring_unregister_buffers(ring);
    uint32_t pieces = !memory || piece_bytes == 0 ? 0 : n < MAX_PIECES ? n : MAX_PIECES;
    if (f->registered && pieces == f->n_pieces) { /* the same anew, because the cache shrinks: nothing is allocated while tokens are made */
        memset(f->registered, 0, pieces * sizeof *f->registered);
    } else {
        mem_free(f->registered);
        f->registered = pieces ? MEM_NEW(uint8_t, pieces) : NULL;
    }
    f->memory = NULL;
    f->n_pieces = pieces;
    f->n_registered = 0;
    f->full = false;
    if (pieces == 0) return;
    f->piece_bytes = piece_bytes;
    int failure = f->registered ? -io_uring_register_buffers_sparse(ring, f->n_pieces) : ENOMEM;
    if (failure) refuse(f, failure);
    else f->memory = memory;
}

static bool register_piece(Fixed *f, struct io_uring *ring, uint32_t piece) {
    struct iovec where = {.iov_base = f->memory + piece * f->piece_bytes, .iov_len = (size_t)f->piece_bytes};
    int done = f->full ? 0 : io_uring_register_buffers_update_tag(ring, piece, &where, NULL, 1);
    if (done < 0) refuse(f, -done);
    if (done != 1) return false;
    f->registered[piece] = 1;
    f->n_registered++;
    return true;
}

void disk_fixed_forget(Fixed *f, struct io_uring *ring, const void *piece) {
    if (!f->memory) return;
    uint64_t number = ((uintptr_t)piece - (uintptr_t)f->memory) / f->piece_bytes; /* huge where it lies before */
    if (number >= f->n_pieces || !f->registered[number]) return;
    struct iovec nothing = {NULL, 0};
    (void)io_uring_register_buffers_update_tag(ring, (unsigned)number, &nothing, NULL, 1);
    f->registered[number] = 0;
    f->n_registered--;
}

/* The piece that a range lies in as a whole; false: none does, or it could not be registered. */
static bool find_piece(Fixed *f, struct io_uring *ring, const Range *range, uint32_t *piece) {
    if (!f->memory) return false;
    uintptr_t at = (uintptr_t)range->dst - (uintptr_t)f->memory; /* huge where dst lies before it */
    if (at >= f->n_pieces * f->piece_bytes || range->bytes > f->piece_bytes - at % f->piece_bytes) return false;
    *piece = (uint32_t)(at / f->piece_bytes);
    return f->registered[*piece] || register_piece(f, ring, *piece);
}

void disk_fixed_prepare(Fixed *f, struct io_uring *ring, struct io_uring_sqe *sqe, const DiskFile *file, const Range *range) {
    int fd = file->fixed ? (int)file->fixed - 1 : file->os.fd;
    uint32_t piece;
    if (find_piece(f, ring, range, &piece)) io_uring_prep_read_fixed(sqe, fd, range->dst, range->bytes, range->offset, (int)piece);
    else io_uring_prep_read(sqe, fd, range->dst, range->bytes, range->offset);
    if (file->fixed) io_uring_sqe_set_flags(sqe, IOSQE_FIXED_FILE);
}
