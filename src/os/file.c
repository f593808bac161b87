/* Files: whole reads or an error that names the place. */
#define _GNU_SOURCE
#include "os/os.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#ifdef __linux__
#include <linux/fs.h>
#endif

ErrCode os_open(OsFile *f, const char *path, bool direct, Err *err) {
    /* O_NONBLOCK: opening a FIFO must not wait for somebody to write; it means nothing to a regular file */
    f->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | (direct ? O_DIRECT : 0));
    f->size = 0;
    if (f->fd < 0) return err_set(err, ERR_IO, "%s: cannot open%s: %s", path, direct ? " for direct I/O" : "", strerror(errno));
    struct stat st;
    if (fstat(f->fd, &st) != 0) {
        err_set(err, ERR_IO, "%s: cannot stat: %s", path, strerror(errno));
        os_close(f);
        return ERR_IO;
    }
    if (S_ISREG(st.st_mode)) {
        f->size = (uint64_t)st.st_size;
#ifdef BLKGETSIZE64
    } else if (S_ISBLK(st.st_mode) && ioctl(f->fd, BLKGETSIZE64, &f->size) == 0) {
        /* size is set */
#endif
    } else {
        os_close(f);
        return err_set(err, ERR_IO, "%s: is %s, not a regular file", path, S_ISDIR(st.st_mode) ? "a folder" : "a special file");
    }
    return ERR_OK;
}

void os_close(OsFile *f) {
    if (f->fd >= 0) close(f->fd);
    f->fd = -1;
}

bool os_direct_alignment(const OsFile *f, uint32_t *alignment) {
#ifdef STATX_DIOALIGN
    struct statx st;
    memset(&st, 0, sizeof st);
    if (statx(f->fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &st) != 0 || !(st.stx_mask & STATX_DIOALIGN)) return false;
    uint32_t offset = st.stx_dio_offset_align, memory = st.stx_dio_mem_align;
    *alignment = offset == 0 ? 0 : offset > memory ? offset : memory;
    return true;
#else
    (void)f, (void)alignment;
    return false;
#endif
}

ErrCode os_pread(const OsFile *f, const char *path, void *dst, uint64_t bytes, uint64_t offset, Err *err) {
    char *p = dst;
    while (bytes > 0) {
        size_t want = bytes < (1u << 30) ? (size_t)bytes : (1u << 30);
        ssize_t got = pread(f->fd, p, want, (off_t)offset);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0)
            return err_set(err, ERR_IO, "%s: reading %llu bytes at offset %llu failed: %s", path, (unsigned long long)bytes,
                           (unsigned long long)offset, strerror(errno));
        if (got == 0)
            return err_set(err, ERR_IO, "%s: the file ends at offset %llu, %llu bytes before the end of what should be there", path,
                           (unsigned long long)offset, (unsigned long long)bytes);
        p += got;
        offset += (uint64_t)got;
        bytes -= (uint64_t)got;
    }
    return ERR_OK;
}

void os_drop_cache(const OsFile *f, uint64_t offset, uint64_t bytes) {
    (void)posix_fadvise(f->fd, (off_t)offset, (off_t)bytes, POSIX_FADV_DONTNEED);
}

ErrCode os_read_file(const char *path, uint64_t max_bytes, Buf *out, Err *err) {
    OsFile f;
    ErrCode code = os_open(&f, path, false, err);
    if (code) return code;
    if (f.size > max_bytes) {
        os_close(&f);
        return err_set(err, ERR_FORMAT, "%s: %llu bytes is too large for such a file (at most %llu)", path, (unsigned long long)f.size,
                       (unsigned long long)max_bytes);
    }
    char *bytes = mem_new((size_t)f.size + 1, 1);
    if (!bytes) {
        code = err_no_memory(err, f.size, path);
    } else {
        code = os_pread(&f, path, bytes, f.size, 0, err);
        if (!code) {
            buf_free(out);
            out->ptr = bytes;
            out->len = (size_t)f.size;
            out->cap = (size_t)f.size + 1;
            bytes = NULL;
        }
        mem_free(bytes);
    }
    os_close(&f);
    return code;
}

ErrCode os_write_all(int fd, const char *path, const void *bytes, size_t len, Err *err) {
    const char *p = bytes;
    while (len > 0) {
        ssize_t n = write(fd, p, len);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return err_set(err, ERR_IO, "%s: writing failed: %s", path, strerror(errno));
        p += n;
        len -= (size_t)n;
    }
    return ERR_OK;
}

bool os_replaceable(const char *path) {
    struct stat st;
    return lstat(path, &st) != 0 || S_ISREG(st.st_mode);
}

static ErrCode create_beside(const char *path, mode_t mode, char **name, int *fd, Err *err) {
    Buf b = {0};
    *name = NULL;
    *fd = -1;
    if (strcmp(path, "-") == 0 || !os_replaceable(path)) {
        *fd = path[0] == '-' && !path[1] ? dup(STDOUT_FILENO) : open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
        return *fd >= 0 ? ERR_OK : err_set(err, ERR_IO, "%s: cannot open: %s", path, strerror(errno));
    }
    for (int i = 0; i < 100; i++) {
        buf_clear(&b);
        buf_printf(&b, "%s.%ld-%d.tmp", path, (long)getpid(), i);
        if (b.failed) {
            buf_free(&b);
            err_no_memory(err, strlen(path) + 32, "a file name");
            return ERR_MEMORY;
        }
        *fd = open(b.ptr, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, mode);
        if (*fd >= 0) {
            *name = b.ptr;
            return ERR_OK;
        }
        if (errno != EEXIST) break;
    }
    err_set(err, ERR_IO, "%s: cannot create: %s", b.ptr, strerror(errno));
    buf_free(&b);
    return ERR_IO;
}

ErrCode os_create_beside(const char *path, char **name, int *fd, Err *err) { return create_beside(path, 0666, name, fd, err); }

static ErrCode write_file(const char *path, mode_t mode, const void *bytes, size_t len, Err *err) {
    char *name;
    int fd;
    ErrCode code = create_beside(path, mode, &name, &fd, err);
    if (code) return code;
    const char *shown = name ? name : path;
    code = os_write_all(fd, shown, bytes, len, err);
    if (name && !code && fsync(fd) != 0) code = err_set(err, ERR_IO, "%s: cannot sync: %s", name, strerror(errno));
    if (close(fd) != 0 && !code) code = err_set(err, ERR_IO, "%s: cannot close: %s", shown, strerror(errno));
    if (name && !code && rename(name, path) != 0)
        code = err_set(err, ERR_IO, "%s: cannot rename to %s: %s", name, path, strerror(errno));
    if (name && code) unlink(name);
    mem_free(name);
    return code;
}

ErrCode os_write_file(const char *path, const void *bytes, size_t len, Err *err) { return write_file(path, 0666, bytes, len, err); }
ErrCode os_write_private(const char *path, const void *bytes, size_t len, Err *err) { return write_file(path, 0600, bytes, len, err); }

void os_remove(const char *path) { (void)unlink(path); }

bool os_is_dir(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

bool os_exists(const char *path) {
    struct stat st;
    return stat(path, &st) == 0;
}
