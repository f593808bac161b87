/* What /proc, /sys and the file systems tell about the machine. */
#define _GNU_SOURCE
#include "os/os.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <unistd.h>

static FILE *open_fact(const char *root, const char *path) {
    char full[1200];
    int n = snprintf(full, sizeof full, "%s%s", root, path);
    return n > 0 && (size_t)n < sizeof full ? fopen(full, "re") : NULL;
}

bool os_fact(const char *root, const char *path, char *out, size_t size) {
    out[0] = 0;
    FILE *f = open_fact(root, path);
    if (!f) return false;
    size_t n = fread(out, 1, size - 1, f);
    fclose(f);
    while (n > 0 && (out[n - 1] == '\n' || out[n - 1] == ' ' || out[n - 1] == 0)) n--;
    out[n] = 0;
    return n > 0;
}

bool os_fact_number(const char *root, const char *path, const char *key, uint64_t *value) {
    FILE *f = open_fact(root, path);
    if (!f) return false;
    char line[512];
    size_t n = strlen(key);
    bool found = false;
    while (!found && fgets(line, sizeof line, f)) {
        if (strncmp(line, key, n) != 0) continue;
        char *end;
        errno = 0;
        unsigned long long v = strtoull(line + n, &end, 10);
        found = end != line + n && !errno;
        if (found) *value = v;
        else break;
    }
    fclose(f);
    return found;
}

void os_kernel(char out[128]) {
    struct utsname u;
    if (uname(&u) == 0) snprintf(out, 128, "%.30s %.60s %.30s", u.sysname, u.release, u.machine);
    else snprintf(out, 128, "unknown");
}

/* A line of mountinfo: "36 35 98:0 /root /mount options - ext4 source options". */
static void find_file_system(OsPlace *place) {
    FILE *f = fopen("/proc/self/mountinfo", "re");
    if (!f) return;
    char line[2048], device[32];
    snprintf(device, sizeof device, " %u:%u ", place->major, place->minor);
    while (!place->file_system[0] && fgets(line, sizeof line, f)) {
        const char *at = strstr(line, device), *type = strstr(line, " - ");
        if (!at || !type || at > type) continue;
        type += 3;
        size_t n = strcspn(type, " \n");
        if (n >= sizeof place->file_system) n = sizeof place->file_system - 1;
        memcpy(place->file_system, type, n);
        place->file_system[n] = 0;
    }
    fclose(f);
}

ErrCode os_place(const char *path, OsPlace *place, Err *err) {
    memset(place, 0, sizeof *place);
    struct stat st;
    struct statvfs fs;
    if (stat(path, &st) != 0 || statvfs(path, &fs) != 0) return err_set(err, ERR_IO, "%s: cannot stat: %s", path, strerror(errno));
    place->major = major(st.st_dev);
    place->minor = minor(st.st_dev);
    place->total_bytes = (uint64_t)fs.f_blocks * fs.f_frsize;
    place->free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
    find_file_system(place);
    return ERR_OK;
}
