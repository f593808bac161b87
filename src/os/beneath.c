/* A folder that names from elsewhere cannot leave. The kernel resolves them (openat2 with RESOLVE_BENEATH), so nothing can be exchanged
 * between a check and its use. */
#define _GNU_SOURCE
#include "os/os.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

ErrCode os_folder_open(OsFolder *f, const char *path, Err *err) {
    *f = (OsFolder){.fd = -1};
    char real[PATH_MAX];
    if (realpath(path, real)) f->path = mem_strdup(real);
    if (f->path) f->fd = open(f->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (f->fd >= 0) return ERR_OK;
    int cause = errno;
    os_folder_close(f);
    return err_set(err, ERR_IO, "%.300s is no folder to work in: %s", path, strerror(cause));
}

void os_folder_close(OsFolder *f) {
    if (f->fd >= 0) close(f->fd);
    mem_free(f->path);
    *f = (OsFolder){.fd = -1};
}

/* A name as the folder sees it; one that is absolute and not below it stays absolute, and the kernel refuses it. */
static const char *relative(const OsFolder *f, const char *name) {
    size_t n = strlen(f->path);
    if (n > 1 && strncmp(name, f->path, n) == 0 && (name[n] == '/' || !name[n])) {
        name += n;
        while (*name == '/') name++;
    }
    return *name ? name : ".";
}

static int open_beneath(const OsFolder *f, const char *name, int flags) {
    struct open_how how = {.flags = (unsigned)(flags | O_CLOEXEC),
                           .mode = flags & O_CREAT ? 0666 : 0,
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
    long fd;
    do fd = syscall(SYS_openat2, f->fd, name, &how, sizeof how);
    while (fd < 0 && (errno == EINTR || errno == EAGAIN)); /* EAGAIN: something was renamed meanwhile */
    return (int)fd;
}

static ErrCode refuse(const OsFolder *f, const char *name, const char *what, Err *err) {
    if (errno == EXDEV) return err_set(err, ERR_RANGE, "%.300s leads out of %.300s, which is not allowed", name, f->path);
    if (errno == ENOSYS)
        return err_set(err, ERR_UNSUPPORTED, "this kernel cannot keep a name inside a folder (openat2, Linux 5.6)");
    return err_set(err, ERR_IO, "%.300s cannot be %s: %s", name, what, strerror(errno));
}

/* O_NONBLOCK: a pipe must not stop us before we see that it is one. */
static ErrCode open_file(const OsFolder *f, const char *name, int flags, const char *what, int *fd, Err *err) {
    struct stat st = {0};
    *fd = open_beneath(f, relative(f, name), flags | O_NONBLOCK | O_NOCTTY);
    if (*fd < 0) return refuse(f, name, what, err);
    if (fstat(*fd, &st) == 0 && S_ISREG(st.st_mode)) return ERR_OK;
    close(*fd);
    return err_set(err, ERR_IO, "%.300s is no file%s", name, S_ISDIR(st.st_mode) ? " but a folder" : "");
}

ErrCode os_folder_read(const OsFolder *f, const char *name, uint64_t max_bytes, Buf *out, Err *err) {
    int fd;
    ErrCode code = open_file(f, name, O_RDONLY, "read", &fd, err);
    if (code) return code;
    char block[16384];
    ssize_t n = 0;
    while (out->len <= max_bytes && ((n = read(fd, block, sizeof block)) > 0 || (n < 0 && errno == EINTR)))
        if (n > 0) buf_put(out, block, (size_t)n);
    if (n < 0) code = refuse(f, name, "read", err);
    close(fd);
    if (!code && out->failed) return err_no_memory(err, out->len, "a file");
    if (!code && out->len > max_bytes)
        return err_set(err, ERR_RANGE, "%.300s is larger than %llu bytes", name, (unsigned long long)max_bytes);
    return code;
}

/* Makes the folders above `name` that are missing, from the outermost on. */
static ErrCode make_parents(const OsFolder *f, const char *name, Err *err) {
    char *part = mem_strdup(name);
    ErrCode code = part ? ERR_OK : err_no_memory(err, strlen(name), "a path");
    for (char *slash = part ? strchr(part, '/') : NULL; slash && !code; slash = strchr(slash + 1, '/')) {
        if (slash == part) continue;
        *slash = 0;
        int fd = open_beneath(f, part, O_PATH | O_DIRECTORY);
        if (fd < 0 && errno == ENOENT) {
            char *last = strrchr(part, '/');
            if (last) *last = 0;
            int above = open_beneath(f, last ? part : ".", O_PATH | O_DIRECTORY);
            if (above < 0 || mkdirat(above, last ? last + 1 : part, 0777) != 0) code = refuse(f, name, "created", err);
            if (above >= 0) close(above);
            if (last) *last = '/';
        } else if (fd < 0) {
            code = refuse(f, name, "created", err);
        }
        if (fd >= 0) close(fd);
        *slash = '/';
    }
    mem_free(part);
    return code;
}

ErrCode os_folder_write(const OsFolder *f, const char *name, const void *bytes, size_t len, bool *made, Err *err) {
    int fd, there = open_beneath(f, relative(f, name), O_PATH);
    *made = there < 0;
    if (there >= 0) close(there);
    ErrCode code = *made ? make_parents(f, relative(f, name), err) : ERR_OK;
    if (!code) code = open_file(f, name, O_WRONLY | O_CREAT, "written", &fd, err);
    if (code) return code;
    code = ftruncate(fd, 0) == 0 ? os_write_all(fd, name, bytes, len, err) : refuse(f, name, "written", err);
    if (close(fd) != 0 && !code) code = refuse(f, name, "written", err);
    return code;
}

ErrCode os_folder_list(const OsFolder *f, const char *name, bool (*each)(void *user, const OsEntry *entry), void *user, Err *err) {
    char path[64];
    int fd = open_beneath(f, relative(f, name), O_PATH | O_DIRECTORY);
    if (fd < 0) return refuse(f, name, "listed", err);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd); /* the folder that was opened, whatever its name means by now */
    ErrCode code = os_list(path, each, user, err);
    close(fd);
    return code;
}
