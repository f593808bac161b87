/* A folder of our own, with all folders above it. */
#define _POSIX_C_SOURCE 200809L
#include "os/os.h"

#include <errno.h>
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
