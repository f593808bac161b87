/* What tests share: where the data is, loud skips, and reading golden safetensors. */
#ifndef TESTS_SUPPORT_H
#define TESTS_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* A path below the reference data ($SLUICE_SHARED, default ../shared), e.g. shared_path("data/golden/q35-a.f16.gguf").
 * The result is one of 16 static buffers used in turn. */
const char *shared_path(const char *rel);
/* A path below the source tree ($SLUICE_SOURCE, default the current folder), e.g. "data/tiny-tales.gguf". */
const char *source_path(const char *rel);
/* The program under test ($SLUICE_BIN, default build/sluice). */
const char *sluice_bin(void);
/* True in a build with AddressSanitizer or ThreadSanitizer: some tests then do less, and say so. */
bool under_sanitizer(void);
/* With ThreadSanitizer, under which arithmetic takes tens of times as long: tests do still less, but what several threads do stays. */
bool under_thread_sanitizer(void);
/* A fresh folder for this test's files, removed at exit. */
const char *temp_dir(void);

/* Ends the current test as skipped, saying which path is missing. */
#define REQUIRE_PATH(path)                            \
    do {                                              \
        if (!path_exists_or_say_skip(path)) skip();   \
    } while (0)
bool path_exists_or_say_skip(const char *path);

/* Ends main(): cmocka's result, or 77 when every test of the group was skipped. */
#define RUN_TESTS(tests) run_group(#tests, tests, sizeof(tests) / sizeof((tests)[0]))
int run_group(const char *name, const struct CMUnitTest *tests, size_t n);

/* ---- golden files: a small safetensors reader of its own, so that the format room is not tested with itself ---- */
typedef struct GoldenTensor {
    char *name;
    char dtype[8];     /* "F32", "I32", "U8", "F64", ... */
    int n_dims;
    int64_t dims[8];   /* outermost first */
    int64_t count;     /* elements */
    const void *data;
} GoldenTensor;
typedef struct Golden {
    char *bytes;
    GoldenTensor *tensors;
    int n;
} Golden;
Golden *golden_open(const char *path); /* fails the test when the file is damaged */
const GoldenTensor *golden_get(const Golden *g, const char *name); /* NULL when absent */
const float *golden_f32(const Golden *g, const char *name, int64_t count);     /* count 0: any; fails the test otherwise */
const int32_t *golden_i32(const Golden *g, const char *name, int64_t count);
void golden_close(Golden *g);

#endif
