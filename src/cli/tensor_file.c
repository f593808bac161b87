/* A safetensors file written piece by piece. */
#define _XOPEN_SOURCE 700 /* pwrite, fileno, fsync */
#include "cli/tensor_file.h"
#include "cli/io.h"
#include "os/os.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static ErrCode open_file(TensorFile *f, Err *err) {
    if (os_is_dir(f->path)) return err_set(err, ERR_IO, "%s: is a folder; -o wants a file name", f->path);
    if (strcmp(f->path, "-") == 0 || !os_replaceable(f->path)) {
        FILE *unnamed = tmpfile();
        f->fd = unnamed ? dup(fileno(unnamed)) : -1;
        if (unnamed) fclose(unnamed);
        return f->fd >= 0 ? ERR_OK : err_set(err, ERR_IO, "cannot make a temporary file: %s", strerror(errno));
    }
    return os_create_beside(f->path, &f->temporary, &f->fd, err);
}

static void put_at(TensorFile *f, uint64_t offset, const void *data, uint64_t bytes) {
    const char *p = data;
    while (bytes > 0 && !f->err.code) {
        ssize_t n = pwrite(f->fd, p, bytes < (1u << 30) ? (size_t)bytes : 1u << 30, (off_t)offset);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) {
            err_set(&f->err, ERR_IO, "%s: writing at offset %llu failed: %s", f->temporary ? f->temporary : "a temporary file",
                    (unsigned long long)offset, strerror(errno));
            return;
        }
        p += n;
        offset += (uint64_t)n;
        bytes -= (uint64_t)n;
    }
}

ErrCode tensor_file_create(TensorFile *f, const char *path, const FormatOut *tensors, int n, Err *err) {
    memset(f, 0, sizeof *f);
    f->path = path;
    ErrCode code = open_file(f, err);
    Buf header = {0};
    if (!code) code = format_safetensors_header(path, tensors, (size_t)n, &header, f->begin, err);
    if (!code) put_at(f, 0, header.ptr, header.len);
    buf_free(&header);
    if (code) tensor_file_finish(f, false, NULL);
    return code;
}

void tensor_file_put(TensorFile *f, int tensor, uint64_t at, const void *data, uint64_t bytes) {
    if (f->begin[tensor] + at + bytes > f->begin[tensor + 1]) {
        err_set(&f->err, ERR_STATE, "%s: more values than the tensor holds", f->path);
        return;
    }
    put_at(f, f->begin[tensor] + at, data, bytes);
}

/* An unnamed file goes to standard output or to the special file. */
static void copy_out(TensorFile *f) {
    char block[65536];
    bool to_stdout = strcmp(f->path, "-") == 0;
    FILE *out = to_stdout ? NULL : fopen(f->path, "wb");
    if (!to_stdout && !out) {
        err_set(&f->err, ERR_IO, "%s: cannot open: %s", f->path, strerror(errno));
        return;
    }
    for (off_t at = 0; !f->err.code;) {
        ssize_t n = pread(f->fd, block, sizeof block, at);
        if (n < 0) err_set(&f->err, ERR_IO, "reading a temporary file failed: %s", strerror(errno));
        if (n <= 0) break;
        if (to_stdout) out_write(block, (size_t)n);
        else if (fwrite(block, 1, (size_t)n, out) != (size_t)n)
            err_set(&f->err, ERR_IO, "%s: writing failed: %s", f->path, strerror(errno));
        at += n;
    }
    if (out && fclose(out) != 0 && !f->err.code) err_set(&f->err, ERR_IO, "%s: writing failed: %s", f->path, strerror(errno));
}

ErrCode tensor_file_finish(TensorFile *f, bool keep, Err *err) {
    if (keep && !f->err.code && !f->temporary) copy_out(f);
    if (keep && !f->err.code && f->temporary && fsync(f->fd) != 0)
        err_set(&f->err, ERR_IO, "%s: cannot sync: %s", f->temporary, strerror(errno));
    if (f->fd >= 0 && close(f->fd) != 0 && keep && !f->err.code)
        err_set(&f->err, ERR_IO, "%s: cannot close: %s", f->path, strerror(errno));
    if (keep && !f->err.code && f->temporary && rename(f->temporary, f->path) != 0)
        err_set(&f->err, ERR_IO, "%s: cannot rename to %s: %s", f->temporary, f->path, strerror(errno));
    if (f->temporary && (!keep || f->err.code)) unlink(f->temporary);
    mem_free(f->temporary);
    f->temporary = NULL;
    f->fd = -1;
    return f->err.code ? err_set(err, f->err.code, "%s", f->err.text) : ERR_OK;
}
