/* Folders: one of our own, with all folders above it; what lies in one. */
#define _POSIX_C_SOURCE 200809L
#include "os/os.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

ErrCode os_make_folder(const char *path, Err *err) {
    char *part = mem_strdup(path);
    if (!part) return err_no_memory(err, strlen(path) + 1, "a path");
    ErrCode code = ERR_OK;
    for (size_t i = 1; i <= strlen(path) && !code; i++) {
        if (path[i] != '/' && path[i] != 0) continue;
        part[i] = 0;
        if (mkdir(part, 0700) != 0) {
            int cause = errno; /* the question changes it */
            if (!os_is_dir(part)) code = err_set(err, ERR_IO, "%s: cannot create this folder: %s", part, strerror(cause));
        }
        part[i] = path[i];
    }
    mem_free(part);
    return code;
}

ErrCode os_list(const char *path, bool (*each)(void *user, const OsEntry *entry), void *user, Err *err) {
    DIR *folder = opendir(path);
    if (!folder) return err_set(err, ERR_IO, "%s: cannot read this folder: %s", path, strerror(errno));
    bool more = true;
    for (struct dirent *e = readdir(folder); e && more; e = readdir(folder)) {
        struct stat st;
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
        if (fstatat(dirfd(folder), e->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0) continue;
        OsEntry entry = {.name = e->d_name, .folder = S_ISDIR(st.st_mode), .bytes = (uint64_t)st.st_size,
                         .modified = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec};
        more = each(user, &entry);
    }
    closedir(folder);
    return ERR_OK;
}

void os_touch(const char *path) { (void)utimensat(AT_FDCWD, path, NULL, 0); }
