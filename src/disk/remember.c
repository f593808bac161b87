/* The file disks.json: {"version": 1, "disks": {KEY: {"measured": seconds since 1970, "rates": {NAME: bytes per second}}}}.
 *
 * It is a convenience and nothing depends on it: what is missing, old or damaged is measured again, what cannot be written is not kept.
 */
#define _GNU_SOURCE
#include "disk/remember.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <time.h>

enum { FILE_MAX = 1 << 20, ENTRIES_MAX = 200, PATH_BYTES = 4096 };

/* ---- the key ------------------------------------------------------------------------------------------------------- */

/* The type and the source of the mount of this device, as the kernel lists them; "?" where it does not. */
static void describe_mount(dev_t device, char out[256]) {
    snprintf(out, 256, "?");
    FILE *f = fopen("/proc/self/mountinfo", "re");
    if (!f) return;
    char line[PATH_BYTES];
    while (fgets(line, sizeof line, f)) {
        unsigned major_number, minor_number;
        char type[64], source[180];
        /* "36 35 98:0 /root /mount/point options - ext4 /dev/sda1 more" */
        const char *rest = strstr(line, " - ");
        int n = sscanf(line, "%*d %*d %u:%u", &major_number, &minor_number); // NOLINT(cert-err34-c): the kernel's own lines
        if (!rest || n != 2) continue;
        if (makedev(major_number, minor_number) != device || sscanf(rest + 3, "%63s %179s", type, source) != 2) continue;
        snprintf(out, 256, "%s %s", type, source);
        break;
    }
    fclose(f);
}

bool disk_remember_key(const char *path, uint32_t read_bytes, char key[REMEMBER_KEY_BYTES]) {
    struct stat st;
    struct statvfs fs;
    struct utsname system;
    if (stat(path, &st) != 0 || statvfs(path, &fs) != 0 || uname(&system) != 0) return false;
    char mount[256], size[32];
    uint64_t class = 4096;
    while (class < read_bytes) class *= 2;
    describe_mount(st.st_dev, mount);
    int n = snprintf(key, REMEMBER_KEY_BYTES, "%s %u:%u %lx, Linux %s, reads to %s", mount, major(st.st_dev), minor(st.st_dev),
                     (unsigned long)fs.f_fsid, system.release, format_size(class, size));
    return n > 0 && n < REMEMBER_KEY_BYTES && utf8_valid(key, (size_t)n);
}

/* ---- the file ------------------------------------------------------------------------------------------------------ */

static bool name_file(const char *state_dir, char path[PATH_BYTES]) {
    int n = snprintf(path, PATH_BYTES, "%s/disks.json", state_dir);
    return n > 0 && n < PATH_BYTES;
}

static void say_damaged(const char *path, const char *what) {
    static atomic_bool said;
    if (!atomic_exchange(&said, true)) log_note("%s: damaged (%s), so disks are measured again", path, what);
}

/* The file's object, or NULL where there is none that can be used. */
static json_t *load(const char *path) {
    if (!os_exists(path)) return NULL;
    Buf text = {0};
    Err err = {0};
    if (os_read_file(path, FILE_MAX, &text, &err)) {
        say_damaged(path, err.text);
        return NULL;
    }
    json_error_t where;
    json_t *root = json_loadb(text.ptr ? text.ptr : "", text.len, JSON_REJECT_DUPLICATES, &where);
    buf_free(&text);
    if (!root) say_damaged(path, where.text);
    else if (!json_is_object(root) || json_integer_value(json_object_get(root, "version")) != 1 ||
             !json_is_object(json_object_get(root, "disks"))) {
        say_damaged(path, "not an object with version 1 and disks");
        json_decref(root);
        root = NULL;
    }
    return root;
}

static bool fresh(int64_t when) {
    int64_t now = (int64_t)time(NULL);
    return when <= now && now - when <= (int64_t)REMEMBER_DAYS * 24 * 3600;
}

bool disk_remember_get(const char *state_dir, const char *key, const char *const *names, size_t n, double *rates, int64_t *when) {
    char path[PATH_BYTES];
    for (size_t i = 0; i < n; i++) rates[i] = 0;
    if (!state_dir || !name_file(state_dir, path)) return false;
    json_t *root = load(path);
    json_t *entry = json_object_get(json_object_get(root, "disks"), key);
    json_t *measured = json_object_get(entry, "measured"), *object = json_object_get(entry, "rates");
    bool good = entry && json_is_integer(measured) && json_is_object(object);
    for (size_t i = 0; good && i < n; i++) {
        json_t *rate = json_object_get(object, names[i]);
        if (!rate) continue;
        rates[i] = json_number_value(rate);
        good = rates[i] >= 1e3 && rates[i] <= 1e13;
    }
    if (entry && !good) say_damaged(path, "an entry without sensible numbers");
    *when = good ? (int64_t)json_integer_value(measured) : 0;
    json_decref(root);
    return good && fresh(*when);
}

/* Entries that nobody will use any more make room, and a file that somebody has filled with thousands is begun anew. */
static void forget_old(json_t *disks) {
    const char *key;
    void *next;
    json_t *entry;
    json_object_foreach_safe(disks, next, key, entry)
        if (!fresh((int64_t)json_integer_value(json_object_get(entry, "measured")))) json_object_del(disks, key);
    if (json_object_size(disks) >= ENTRIES_MAX) json_object_clear(disks);
}

static int put_bytes(const char *bytes, size_t n, void *user) {
    buf_put(user, bytes, n);
    return 0;
}

static ErrCode save(const char *state_dir, const char *path, const json_t *root, Err *err) {
    ErrCode code = os_make_folder(state_dir, err);
    if (code) return code;
    Buf text = {0};
    if (json_dump_callback(root, put_bytes, &text, JSON_INDENT(1) | JSON_SORT_KEYS) != 0 || text.failed) {
        code = err_no_memory(err, text.len, path);
    } else {
        code = os_write_file(path, text.ptr, text.len, err);
    }
    buf_free(&text);
    return code;
}

bool disk_remember_put(const char *state_dir, const char *key, const char *const *names, size_t n, const double *rates) {
    char path[PATH_BYTES];
    if (!state_dir || !name_file(state_dir, path)) {
        log_debug("what was measured of the disk is not kept: there is no state folder");
        return false;
    }
    json_t *root = load(path);
    if (!root) root = json_pack("{s:i,s:{}}", "version", 1, "disks");
    json_t *disks = json_object_get(root, "disks"), *object = json_object();
    for (size_t i = 0; i < n; i++)
        if (rates[i] > 0) json_object_set_new(object, names[i], json_integer((json_int_t)rates[i]));
    forget_old(disks);
    json_object_set_new(disks, key, json_pack("{s:I,s:o}", "measured", (json_int_t)time(NULL), "rates", object));
    Err err = {0};
    ErrCode code = root ? save(state_dir, path, root, &err) : err_no_memory(&err, 4096, path);
    json_decref(root);
    if (code) log_debug("what was measured of the disk is not kept: %s", err.text);
    return code == ERR_OK;
}
