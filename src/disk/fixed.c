/* Registered files and memory of io_uring.
 *
 * Without it the kernel takes a reference to the file and pins the pages of the destination anew for every read. Registered memory
 * is pinned as a whole, so it becomes resident at once and can neither be swapped nor be given back: the plan counts the slab in
 * full anyway, but whoever wants to give pages back must end the registration first, for the kernel would go on writing to the old
 * ones. Memory is registered in pieces, because the kernel takes at most 1 GiB as one; a read across a seam goes the common way.
 */
#define _GNU_SOURCE /* liburing.h needs it under -std=c11 */
#include "disk/fixed.h"

#include <errno.h>
#include <liburing.h>
#include <string.h>
#include <sys/resource.h>

#define PIECE_BYTES (UINT64_C(1) << 30)
enum { MAX_FILES = 256, MAX_PIECES = 1024 /* what older kernels take */ };

void fixed_start(Fixed *f, struct io_uring *ring) {
    int none[MAX_FILES];
    for (size_t i = 0; i < MAX_FILES; i++) none[i] = -1; /* a place without a file */
    int failure = -io_uring_register_files(ring, none, MAX_FILES);
    *f = (Fixed){.max_files = failure ? 0 : MAX_FILES};
    if (failure) log_debug("io_uring: files are not registered: %s", strerror(failure));
}

void fixed_add_file(Fixed *f, struct io_uring *ring, DiskFile *file) {
    file->fixed = 0;
    if (f->n_files == f->max_files || io_uring_register_files_update(ring, f->n_files, &file->os.fd, 1) != 1) return;
    file->fixed = ++f->n_files;
}

static void refuse(Fixed *f, uint64_t bytes, int failure) {
    char need[32], limit[32];
    struct rlimit locked;
    if (f->refused) return;
    f->refused = true;
    if (failure == ENOMEM && getrlimit(RLIMIT_MEMLOCK, &locked) == 0 && (uint64_t)locked.rlim_cur < bytes)
        log_note("io_uring: memory for reads is not registered: %s are needed and the limit of locked memory is %s; it works without; to "
                 "save some CPU time raise it with ulimit -l", format_size(bytes, need), format_size((uint64_t)locked.rlim_cur, limit));
    else
        log_note("io_uring: memory for reads is not registered: %s for %s; it works without, with a little more CPU time",
                 strerror(failure), format_size(bytes, need));
}

bool fixed_memory(Fixed *f, struct io_uring *ring, void *memory, uint64_t bytes) {
    if (f->memory) (void)io_uring_unregister_buffers(ring);
    f->memory = NULL;
    f->bytes = 0;
    if (!memory || bytes == 0) return true;
    uint64_t n = (bytes + PIECE_BYTES - 1) / PIECE_BYTES;
    struct iovec *pieces = n <= MAX_PIECES ? MEM_NEW(struct iovec, (size_t)n) : NULL;
    int failure = n <= MAX_PIECES ? ENOMEM : E2BIG;
    if (pieces) {
        for (uint64_t i = 0, at = 0; i < n; i++, at += PIECE_BYTES) {
            pieces[i].iov_base = (char *)memory + at;
            pieces[i].iov_len = (size_t)(bytes - at < PIECE_BYTES ? bytes - at : PIECE_BYTES);
        }
        failure = -io_uring_register_buffers(ring, pieces, (unsigned)n);
        mem_free(pieces);
    }
    if (failure) {
        refuse(f, bytes, failure);
        return false;
    }
    f->memory = memory;
    f->bytes = bytes;
    return true;
}

/* The piece that a range lies in as a whole; false: none does. */
static bool find_piece(const Fixed *f, const Range *range, int *piece) {
    if (!f->memory) return false;
    uintptr_t at = (uintptr_t)range->dst - (uintptr_t)f->memory; /* huge where dst lies before it */
    if (at >= f->bytes || range->bytes > f->bytes - at) return false;
    *piece = (int)(at / PIECE_BYTES);
    return (at + range->bytes - 1) / PIECE_BYTES == at / PIECE_BYTES;
}

void fixed_prepare(const Fixed *f, struct io_uring_sqe *sqe, const DiskFile *file, const Range *range) {
    int fd = file->fixed ? (int)file->fixed - 1 : file->os.fd, piece;
    if (find_piece(f, range, &piece)) io_uring_prep_read_fixed(sqe, fd, range->dst, range->bytes, range->offset, piece);
    else io_uring_prep_read(sqe, fd, range->dst, range->bytes, range->offset);
    if (file->fixed) io_uring_sqe_set_flags(sqe, IOSQE_FIXED_FILE);
}
