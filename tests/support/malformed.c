#define _GNU_SOURCE
#include "support/malformed.h"

#include "support/support.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { SPARE_MIB = 24, SECONDS = 300 };

#ifdef MALFORMED_ASAN
static void limit_memory(void) {} /* see MALFORMED_LIMITS */
#else
static void limit_memory(void) {
    char line[64] = "";
    FILE *f = fopen("/proc/self/statm", "r"); /* the first number: pages of address space */
    if (!f) return;
    long pages = fgets(line, sizeof line, f) ? strtol(line, NULL, 10) : 0;
    fclose(f);
    if (pages <= 0) return;
    rlim_t bytes = (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE) + ((rlim_t)SPARE_MIB << 20);
    struct rlimit limit = {bytes, bytes};
    setrlimit(RLIMIT_AS, &limit);
}
#endif

void malformed_limits(void) {
    limit_memory();
    alarm(SECONDS);
}

static bool one_sentence(const Err *err) {
    size_t n = strlen(err->text);
    return err->code != ERR_OK && n > 20 && n < sizeof err->text && utf8_valid(err->text, n) && !strpbrk(err->text, "\n\r\t\x1B");
}

void malformed_refused(const char *label, FormatModel *m, const Err *err, const char *file, const char *words) {
    bool good = !m && one_sentence(err) && err->code != ERR_MEMORY && strstr(err->text, words) && strstr(err->text, file);
    if (!good) {
        print_error("%s: wanted '%s' about %s, got %s\n", label, words, file, m ? "an open model" : err->text);
        format_close(m);
        fail();
    }
}

void malformed_open(const char *label, const char *path, const char *words) {
    Err err = {0};
    const char *slash = strrchr(path, '/');
    FormatModel *m = format_open(path, &err);
    malformed_refused(label, m, &err, slash ? slash + 1 : path, words);
}

static int by_place(const void *a, const void *b) {
    const FormatTensor *x = *(const FormatTensor *const *)a, *y = *(const FormatTensor *const *)b;
    if (x->file != y->file) return x->file < y->file ? -1 : 1;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static const char *unsound(const FormatModel *m) {
    const FormatTensor **sorted = calloc(m->n_tensors + 1, sizeof *sorted);
    const char *why = NULL;
    size_t n = 0;
    for (uint32_t i = 0; i < m->n_tensors; i++) {
        const FormatTensor *t = &m->tensors[i];
        if (!utf8_valid(t->name.ptr, t->name.len) || strlen(t->name.ptr) != t->name.len) why = "a name that is not clean";
        if (format_tensor(m, t->name.ptr) != t) why = "a tensor that is not found by its name";
        if (t->file >= m->n_files || t->offset > m->files[t->file].size || t->bytes > m->files[t->file].size - t->offset)
            why = "a tensor outside its file";
        if (t->bytes) sorted[n++] = t;
    }
    qsort(sorted, n, sizeof *sorted, by_place);
    for (size_t i = 1; i < n; i++)
        if (sorted[i]->file == sorted[i - 1]->file && sorted[i]->offset < sorted[i - 1]->offset + sorted[i - 1]->bytes)
            why = "tensors that overlap";
    free(sorted);
    uint64_t u = 0, sum = 0;
    for (uint32_t i = 0; i < m->n_keys; i++) {
        if (format_key(m, m->keys[i].name.ptr) != &m->keys[i]) why = "a key that is not found by its name";
        for (uint64_t k = 0; k < m->keys[i].count; k++) {
            Str s;
            if (format_key_str(&m->keys[i], k, &s))
                for (size_t c = 0; c < s.len; c++) sum += (unsigned char)s.ptr[c];
            else if (format_key_u64(&m->keys[i], k, &u)) sum += u;
        }
    }
    return sum == UINT64_MAX ? "an unlikely sum" : why;
}

bool malformed_or_sound(const char *label, FormatModel *m, const Err *err) {
    const char *why = m ? unsound(m) : one_sentence(err) && err->code != ERR_MEMORY ? NULL : err->text;
    bool opened = m != NULL;
    format_close(m);
    if (why) {
        print_error("%s: %s\n", label, why);
        fail();
    }
    return opened;
}

int open_descriptors(void) {
    int n = 0;
    DIR *d = opendir("/proc/self/fd");
    if (!d) return -1;
    while (readdir(d)) n++;
    closedir(d);
    return n;
}
