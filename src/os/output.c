/* Large files that are written from front to back and may be continued: positional writes, the page cache kept small behind them, and a
 * name that only a whole file gets. */
#define _GNU_SOURCE
#include "os/os.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* Behind the writer: this far the kernel is told to write, and as far again behind that to forget. */
#define OS_OUTPUT_WINDOW (UINT64_C(64) << 20)

ErrCode os_output_open(OsOutput *o, const char *path, Err *err) {
    struct stat st;
    memset(o, 0, sizeof *o);
    o->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0666);
    if (o->fd < 0) return err_set(err, ERR_IO, "%s: cannot create: %s", path, strerror(errno));
    if (fstat(o->fd, &st) != 0) err_set(err, ERR_IO, "%s: cannot stat: %s", path, strerror(errno));
    else if (!S_ISREG(st.st_mode)) err_set(err, ERR_IO, "%s: is no regular file", path);
    else if (flock(o->fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
        err_set(err, ERR_STATE, "%s: another process is writing it", path);
    else {
        o->size = (uint64_t)st.st_size;
        o->allocated = (uint64_t)st.st_blocks * 512;
        return ERR_OK;
    }
    os_output_close(o);
    return err ? err->code : ERR_IO;
}

void os_output_close(OsOutput *o) {
    if (o->fd >= 0) close(o->fd);
    o->fd = -1;
}

ErrCode os_output_read(const OsOutput *o, const char *path, void *dst, uint64_t bytes, uint64_t offset, Err *err) {
    OsFile f = {.fd = o->fd, .size = o->size};
    return os_pread(&f, path, dst, bytes, offset, err);
}

static ErrCode write_at(int fd, const char *path, const char *p, uint64_t bytes, uint64_t offset, Err *err) {
    while (bytes > 0) {
        ssize_t n = pwrite(fd, p, bytes < (1u << 30) ? (size_t)bytes : (1u << 30), (off_t)offset);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0)
            return err_set(err, ERR_IO, "%s: writing %llu bytes at offset %llu failed: %s", path, (unsigned long long)bytes,
                           (unsigned long long)offset, strerror(errno));
        p += n;
        offset += (uint64_t)n;
        bytes -= (uint64_t)n;
    }
    return ERR_OK;
}

ErrCode os_output_write(OsOutput *o, const char *path, const void *bytes, uint64_t len, uint64_t offset, Err *err) {
    ErrCode code = write_at(o->fd, path, bytes, len, offset, err);
    if (code) return code;
    uint64_t end = offset + len;
    if (o->flushed > offset) o->flushed = offset;
    if (end < o->flushed + OS_OUTPUT_WINDOW) return ERR_OK;
    /* start writing what is new; wait for and drop what was started a window ago, so that dirty pages never pile up */
    uint64_t behind = o->flushed > OS_OUTPUT_WINDOW ? o->flushed - OS_OUTPUT_WINDOW : 0;
    (void)sync_file_range(o->fd, (off_t)o->flushed, (off_t)(end - o->flushed), SYNC_FILE_RANGE_WRITE);
    (void)sync_file_range(o->fd, (off_t)behind, (off_t)(o->flushed - behind),
                          SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER);
    (void)posix_fadvise(o->fd, (off_t)behind, (off_t)(o->flushed - behind), POSIX_FADV_DONTNEED);
    o->flushed = end;
    return ERR_OK;
}

ErrCode os_output_finish(OsOutput *o, const char *part, uint64_t bytes, const char *path, Err *err) {
    if (ftruncate(o->fd, (off_t)bytes) != 0) return err_set(err, ERR_IO, "%s: cannot set its length: %s", part, strerror(errno));
    if (fsync(o->fd) != 0) return err_set(err, ERR_IO, "%s: cannot sync: %s", part, strerror(errno));
    (void)posix_fadvise(o->fd, 0, 0, POSIX_FADV_DONTNEED);
    if (rename(part, path) != 0) return err_set(err, ERR_IO, "%s: cannot rename to %s: %s", part, path, strerror(errno));
    return ERR_OK;
}

ErrCode os_disk_room(const char *path, uint64_t *bytes, Err *err) {
    struct statvfs s;
    if (statvfs(path, &s) != 0) return err_set(err, ERR_IO, "%s: cannot ask its file system: %s", path, strerror(errno));
    *bytes = (uint64_t)s.f_bavail * s.f_frsize;
    return ERR_OK;
}

ErrCode os_memory_file(const void *bytes, uint64_t len, uint64_t total, char *path, size_t size, int *fd, Err *err) {
    *fd = memfd_create("header", MFD_CLOEXEC);
    if (*fd < 0) return err_set(err, ERR_IO, "cannot create a file in memory: %s", strerror(errno));
    snprintf(path, size, "/proc/self/fd/%d", *fd);
    ErrCode code = write_at(*fd, path, bytes, len, 0, err);
    if (!code && ftruncate(*fd, (off_t)total) != 0)
        code = err_set(err, ERR_IO, "cannot make a file of %llu bytes in memory: %s", (unsigned long long)total, strerror(errno));
    if (!code) return ERR_OK;
    close(*fd);
    *fd = -1;
    return code;
}

bool os_cut_file(const char *path, uint64_t bytes) { return truncate(path, (off_t)bytes) == 0; }
