#define _GNU_SOURCE
#include "support/support.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *join(const char *env, const char *fallback, const char *rel) {
    static char buffers[16][1024];
    static unsigned turn;
    char *out = buffers[turn++ % 16];
    const char *base = getenv(env);
    snprintf(out, sizeof buffers[0], "%s/%s", base && *base ? base : fallback, rel);
    return out;
}

const char *shared_path(const char *rel) { return join("SLUICE_SHARED", "../shared", rel); }

const char *source_path(const char *rel) { return join("SLUICE_SOURCE", ".", rel); }

const char *sluice_bin(void) {
    const char *bin = getenv("SLUICE_BIN");
    return bin && *bin ? bin : "build/sluice";
}

bool under_sanitizer(void) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return true;
#else
    return false;
#endif
}

bool under_thread_sanitizer(void) {
#if defined(__SANITIZE_THREAD__)
    return true;
#else
    return false;
#endif
}

static char temp[64];
static pid_t owner;

static void remove_temp(void) {
    if (getpid() != owner) return; /* a child */
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", temp);
    if (system(command) != 0) fprintf(stderr, "could not remove %s\n", temp);
}

const char *temp_dir(void) {
    if (!temp[0]) {
        snprintf(temp, sizeof temp, "/tmp/sluice-test-XXXXXX");
        if (!mkdtemp(temp)) {
            perror("mkdtemp");
            exit(1);
        }
        owner = getpid();
        atexit(remove_temp);
    }
    return temp;
}

static int skipped_aloud;

bool path_exists_or_say_skip(const char *path) {
    if (access(path, R_OK) == 0) return true;
    printf("SKIP: %s is missing\n", path);
    fflush(stdout);
    skipped_aloud++;
    return false;
}

int run_group(const char *name, const struct CMUnitTest *tests, size_t n) {
    cmocka_set_message_output(CM_OUTPUT_STDOUT);
    int failed = _cmocka_run_group_tests(name, tests, n, NULL, NULL);
    if (failed) return 1;
    return skipped_aloud >= (int)n ? 77 : 0;
}

static void bad(const char *path, const char *why) {
    fprintf(stderr, "%s: %s\n", path, why);
    fail();
}

Golden *golden_open(const char *path) {
    FILE *f = fopen(path, "rb");
    if (!f) bad(path, "cannot open");
    fseek(f, 0, SEEK_END);
    long size = ftell(f);
    rewind(f);
    Golden *g = calloc(1, sizeof *g);
    g->bytes = malloc((size_t)size);
    if (fread(g->bytes, 1, (size_t)size, f) != (size_t)size) bad(path, "cannot read");
    fclose(f);
    uint64_t header;
    memcpy(&header, g->bytes, 8);
    json_t *root = json_loadb(g->bytes + 8, (size_t)header, 0, NULL);
    if (!root) bad(path, "no JSON header");
    g->tensors = calloc(json_object_size(root), sizeof *g->tensors);
    const char *key;
    json_t *value;
    json_object_foreach(root, key, value) {
        if (strcmp(key, "__metadata__") == 0) continue;
        GoldenTensor *t = &g->tensors[g->n++];
        t->name = strdup(key);
        snprintf(t->dtype, sizeof t->dtype, "%s", json_string_value(json_object_get(value, "dtype")));
        json_t *shape = json_object_get(value, "shape");
        t->n_dims = (int)json_array_size(shape);
        t->count = 1;
        for (int i = 0; i < t->n_dims && i < 8; i++) {
            t->dims[i] = json_integer_value(json_array_get(shape, (size_t)i));
            t->count *= t->dims[i];
        }
        json_int_t start = json_integer_value(json_array_get(json_object_get(value, "data_offsets"), 0));
        t->data = g->bytes + 8 + header + start;
    }
    json_decref(root);
    return g;
}

const GoldenTensor *golden_get(const Golden *g, const char *name) {
    for (int i = 0; i < g->n; i++)
        if (strcmp(g->tensors[i].name, name) == 0) return &g->tensors[i];
    return NULL;
}

static const void *typed(const Golden *g, const char *name, const char *dtype, int64_t count) {
    const GoldenTensor *t = golden_get(g, name);
    if (!t) bad(name, "not in the golden file");
    if (strcmp(t->dtype, dtype) != 0) bad(name, "has another type than expected");
    if (count && t->count != count) bad(name, "has another size than expected");
    return t->data;
}

const float *golden_f32(const Golden *g, const char *name, int64_t count) { return typed(g, name, "F32", count); }

const int32_t *golden_i32(const Golden *g, const char *name, int64_t count) { return typed(g, name, "I32", count); }

void golden_close(Golden *g) {
    if (!g) return;
    for (int i = 0; i < g->n; i++) free(g->tensors[i].name);
    free(g->tensors);
    free(g->bytes);
    free(g);
}
