/* What /proc, /sys and the file systems tell about the machine. */
#define _GNU_SOURCE
#include "os/os.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
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

/* mincore asks without reading. For a file that is not ours the kernel calls every page resident, so that is no answer. */
double os_cached_share(const char *path, uint64_t offset, uint64_t bytes) {
    enum { WINDOWS = 512, WINDOW_PAGES = 16 };
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), window = page * WINDOW_PAGES;
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return -1;
    if (fstat(fd, &st) != 0 || (st.st_uid != geteuid() && geteuid() != 0 && faccessat(AT_FDCWD, path, W_OK, AT_EACCESS) != 0)) {
        close(fd);
        return -1;
    }
    uint64_t size = (uint64_t)st.st_size, begin = align_down(offset, page);
    uint64_t end = offset > size ? size : bytes < size - offset ? offset + bytes : size;
    uint64_t seen = 0, there = 0, span = end > begin ? end - begin : 0;
    uint64_t windows = (span + window - 1) / window, step = windows > WINDOWS ? windows / WINDOWS : 1;
    for (uint64_t w = 0; w < windows; w += step) {
        uint64_t at = begin + w * window, len = end - at < window ? end - at : window;
        unsigned char state[WINDOW_PAGES];
        void *map = mmap(NULL, (size_t)len, PROT_READ, MAP_SHARED, fd, (off_t)at);
        if (map == MAP_FAILED) continue;
        if (mincore(map, (size_t)len, state) == 0)
            for (uint64_t i = 0; i < (len + page - 1) / page; i++) {
                seen++;
                there += state[i] & 1;
            }
        munmap(map, (size_t)len);
    }
    close(fd);
    return seen ? (double)there / (double)seen : -1;
}
