/* Bringing a file to disk: in pieces, in order, to PATH.part, which a later call continues. */
#include "forge/inside.h"
#include "os/os.h"

#include <stdio.h>
#include <string.h>

enum { PIECE_BYTES = 8 << 20, TASK_BYTES = 256 << 10 };
#define SPARE_BYTES (UINT64_C(16) << 20) /* left free on the file system beyond the file itself */

typedef struct Writer {
    const Forge *f;
    OsPool *pool;
    OsOutput out;
    char *part;
    uint8_t *piece;   /* [PIECE_BYTES] */
    uint8_t *there;   /* [PIECE_BYTES] what the part file has */
    uint64_t at, n;   /* the piece at hand */
    bool wrote;
} Writer;

static void fill_task(void *arg, int task, int worker) {
    (void)worker;
    const Writer *w = arg;
    uint64_t from = (uint64_t)task * TASK_BYTES, n = w->n - from < TASK_BYTES ? w->n - from : TASK_BYTES;
    forge_fill(w->f, w->at + from, n, w->piece + from);
}

static void make_piece(Writer *w, uint64_t at) {
    uint64_t left = w->f->bytes - at;
    w->at = at;
    w->n = left < PIECE_BYTES ? left : PIECE_BYTES;
    os_pool_run(w->pool, (int)((w->n + TASK_BYTES - 1) / TASK_BYTES), fill_task, w);
}

/* Where to go on: the part file must begin with our header, and its last whole piece must be what we would write there; a crash may
 * have left a tail that never reached the disk. */
static ErrCode find_start(Writer *w, uint64_t *start, Err *err) {
    uint64_t have = w->out.size < w->f->bytes ? w->out.size : w->f->bytes, head = w->f->header.len;
    *start = 0;
    for (uint64_t at = 0; at < head && at < have; at += PIECE_BYTES) {
        uint64_t n = head - at < PIECE_BYTES ? head - at : PIECE_BYTES;
        if (n > have - at) n = have - at;
        TRY(os_output_read(&w->out, w->part, w->there, n, at, err));
        if (memcmp(w->there, w->f->header.ptr + at, n) != 0)
            return err_set(err, ERR_STATE, "%s is the beginning of another file (other shape, options or seed); remove it, or choose "
                           "another name", w->part);
    }
    uint64_t pieces = have == w->f->bytes ? (have + PIECE_BYTES - 1) / PIECE_BYTES : have / PIECE_BYTES;
    for (; pieces > 0; pieces--) {
        make_piece(w, (pieces - 1) * PIECE_BYTES);
        TRY(os_output_read(&w->out, w->part, w->there, w->n, w->at, err));
        if (memcmp(w->there, w->piece, w->n) == 0) break;
    }
    *start = pieces * PIECE_BYTES;
    return ERR_OK;
}

static ErrCode check_room(const Writer *w, uint64_t start, Err *err) {
    uint64_t room, left = start < w->f->bytes ? w->f->bytes - start : 0;
    uint64_t have = w->out.allocated > start ? w->out.allocated - start : 0; /* what we will write over takes no new room */
    TRY(os_disk_room(w->part, &room, err));
    if (left <= have || room >= left - have + SPARE_BYTES) return ERR_OK;
    char a[32], b[32];
    return err_set(err, ERR_IO, "%s: %s are still to be written, but its file system has only %s free; make room, write "
                   "elsewhere, or take fewer layers", w->part, format_size(left, a), format_size(room, b));
}

static ErrCode write_pieces(Writer *w, ForgeProgress *progress, void *user, Err *err) {
    uint64_t start;
    TRY(find_start(w, &start, err));
    TRY(check_room(w, start, err));
    if (start && start < w->f->bytes) {
        char a[32];
        log_note("%s: going on after %s", w->part, format_size(start, a));
    }
    for (uint64_t at = start; at < w->f->bytes; at += PIECE_BYTES) {
        if (progress && !progress(user, at, w->f->bytes))
            return err_set(err, ERR_INTERRUPTED, "interrupted; %s stays, and the same command goes on where it stopped", w->part);
        make_piece(w, at);
        w->wrote = true;
        TRY(os_output_write(&w->out, w->part, w->piece, w->n, at, err));
    }
    if (progress) progress(user, w->f->bytes, w->f->bytes);
    return ERR_OK;
}

static ErrCode write_with(Writer *w, const char *path, ForgeProgress *progress, void *user, Err *err) {
    w->piece = mem_new(PIECE_BYTES, 1);
    w->there = mem_new(PIECE_BYTES, 1);
    w->pool = os_pool_new(0, err);
    if (!w->piece || !w->there) return err_no_memory(err, 2 * (uint64_t)PIECE_BYTES, "writing");
    if (!w->pool) return err->code;
    TRY(os_output_open(&w->out, w->part, err));
    TRY(write_pieces(w, progress, user, err));
    return os_output_finish(&w->out, w->part, w->f->bytes, path, err);
}

ErrCode forge_write(const Forge *f, const char *path, ForgeProgress *progress, void *user, Err *err) {
    Err own = {0};
    Writer w = {.f = f, .out = {.fd = -1}};
    Buf part = {0};
    buf_printf(&part, "%s.part", path);
    if (part.failed) return err_no_memory(err, strlen(path), "a file name");
    w.part = part.ptr;
    ErrCode code = write_with(&w, path, progress, user, &own);
    if (code && w.out.fd >= 0 && w.out.size == 0 && !w.wrote) (void)remove(w.part); /* nothing was begun, so nothing stays */
    os_output_close(&w.out);
    os_pool_free(w.pool);
    mem_free(w.piece);
    mem_free(w.there);
    buf_free(&part);
    if (code && err) *err = own;
    return code;
}

ErrCode forge_hollow(const Forge *f, char path[FORGE_PATH], int *fd, Err *err) {
    return os_memory_file(f->header.ptr, f->header.len, f->bytes, path, FORGE_PATH, fd, err);
}

void forge_hollow_close(int fd) {
    OsOutput out = {.fd = fd};
    os_output_close(&out);
}
