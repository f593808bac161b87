/* Reading the kernel's small text files. */
#include "os/proc.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool os_proc_number_in_text(const char *text, const char *key, uint64_t *value) {
    size_t n = strlen(key);
    for (const char *line = text; line; line = strchr(line, '\n'), line += line != NULL) {
        if (strncmp(line, key, n) != 0) continue;
        char *end;
        errno = 0;
        const char *digits = line + n + strspn(line + n, " \t");
        unsigned long long v = strtoull(digits, &end, 10);
        if (end == digits || errno || *digits == '-') return false;
        *value = v;
        return true;
    }
    return false;
}

bool os_proc_number(const char *path, const char *key, uint64_t *value) {
    FILE *f = fopen(path, "re");
    if (!f) return false;
    char text[8192];
    size_t n = fread(text, 1, sizeof text - 1, f);
    text[n] = 0;
    fclose(f);
    return os_proc_number_in_text(text, key, value);
}

static void walk(const char *root, char *group, bool v2, ProcVisit *visit, void *user) {
    char dir[1600];
    if (strcmp(group, "/") == 0) *group = 0;
    for (;;) {
        snprintf(dir, sizeof dir, "%s%s", root, group);
        visit(user, dir, v2);
        char *slash = strrchr(group, '/');
        if (!slash) return;
        *slash = 0;
    }
}

/* Whether a list such as "cpu,cpuacct" names it. */
static bool names(const char *list, const char *controller) {
    size_t n = strlen(controller);
    for (const char *at = list; at; at = strchr(at, ',')) {
        at += *at == ',';
        if (strncmp(at, controller, n) == 0 && (at[n] == 0 || at[n] == ',')) return true;
    }
    return false;
}

void os_proc_groups(const char *prefix, const char *controller, ProcVisit *visit, void *user) {
    char line[1024], root[512];
    snprintf(root, sizeof root, "%s/proc/self/cgroup", prefix);
    FILE *f = fopen(root, "re");
    if (!f) return;
    while (fgets(line, sizeof line, f)) { /* "5:memory:/a/b" for v1, "0::/a/b" for v2 */
        line[strcspn(line, "\n")] = 0;
        char *controllers = strchr(line, ':');
        char *group = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!group) continue;
        *group++ = 0;
        controllers++;
        bool v2 = !*controllers;
        if (!v2 && !names(controllers, controller)) continue;
        snprintf(root, sizeof root, "%s/sys/fs/cgroup%s%s", prefix, v2 ? "" : "/", v2 ? "" : controller);
        walk(root, group, v2, visit, user);
    }
    fclose(f);
}
