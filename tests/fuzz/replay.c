/* Goes through the inputs of a fuzz target that are known: seeds, inputs that reached something of their own, and every input that ever
 * broke something (crash-*). And through some damaged ones, always the same, for those who have no libFuzzer. */
#define _GNU_SOURCE
#include "fuzz/fuzz.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

enum { MOST_FILES = 4096, MOST_BYTES = 1 << 20, DAMAGED = 3 /* of each input */ };

static char folder[256];
static char *names[MOST_FILES];
static int n_names;
static uint8_t bytes[MOST_BYTES];

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static int find_files(void **state) {
    (void)state;
    DIR *d = opendir(folder);
    if (!d) fail_msg("%s is not there", folder);
    for (const struct dirent *e; (e = readdir(d));)
        if (e->d_name[0] != '.' && n_names < MOST_FILES) names[n_names++] = strdup(e->d_name);
    closedir(d);
    qsort(names, (size_t)n_names, sizeof *names, by_name);
    return n_names > 0 ? 0 : -1;
}

static int forget_files(void **state) {
    (void)state;
    for (int i = 0; i < n_names; i++) free(names[i]);
    return 0;
}

static size_t read_input(int i) {
    char path[1024];
    snprintf(path, sizeof path, "%s/%s", folder, names[i]);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    size_t n = fread(bytes, 1, sizeof bytes, f);
    fclose(f);
    printf("%s\n", names[i]); /* seen only if the test fails: then the last one is the culprit */
    fflush(stdout);
    return n;
}

/* From a copy of just that size, so that a sanitizer sees a read behind the end. */
static void run(size_t n) {
    uint8_t *input = malloc(n ? n : 1);
    assert_non_null(input);
    memcpy(input, bytes, n);
    LLVMFuzzerTestOneInput(input, n);
    free(input);
}

static void no_known_input_breaks_it(void **state) {
    (void)state;
    for (int i = 0; i < n_names; i++) run(read_input(i));
    run(0);
}

static void no_damaged_input_breaks_it(void **state) {
    (void)state;
    Xoshiro r;
    xoshiro_seed(&r, 20261122);
    for (int i = 0; i < n_names; i++) {
        size_t n = read_input(i);
        for (int k = 0; k < DAMAGED && n; k++) {
            bytes[xoshiro_next(&r) % n] = (uint8_t)xoshiro_next(&r);
            if (k == DAMAGED - 1) n = xoshiro_next(&r) % n;
            run(n);
        }
    }
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(no_known_input_breaks_it), cmocka_unit_test(no_damaged_input_breaks_it)};
    const char *slash = strrchr(argv[0], '/'), *name = slash ? slash + 1 : argv[0];
    if (argc > 2 || strncmp(name, "test_", 5) != 0) return 2;
    snprintf(folder, sizeof folder, "%s", argc == 2 ? argv[1] : source_path("tests/fuzz/corpus"));
    if (argc == 1) snprintf(folder + strlen(folder), sizeof folder - strlen(folder), "/%s", name + 5);
    return cmocka_run_group_tests_name(name, tests, find_files, forget_files);
}
