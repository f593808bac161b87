/* What fuzz targets share. tests/fuzz/test_NAME.c has LLVMFuzzerTestOneInput and nothing else that runs: `make fuzz` links it with
 * libFuzzer, which looks for inputs that break its property; `make test` links it with replay.c, which goes through the inputs that
 * are known, tests/fuzz/corpus/NAME. A property is checked with cmocka's assertions in both. */
#ifndef TESTS_FUZZ_H
#define TESTS_FUZZ_H

#include "support/support.h"

#include "base/base.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

/* What of an input is not read yet. */
typedef struct FuzzBytes {
    const uint8_t *ptr;
    size_t len;
} FuzzBytes;

/* The next byte, 0 behind the end: for choices. */
static inline unsigned fuzz_byte(FuzzBytes *in) {
    if (in->len == 0) return 0;
    in->len--;
    return *in->ptr++;
}

/* All that is left. */
static inline Str fuzz_rest(const FuzzBytes *in) { return str_make(in->len ? (const char *)in->ptr : "", in->len); }

/* What stands before the first line "----", which is taken away with it; all of it where there is none. */
static inline Str fuzz_part(FuzzBytes *in) {
    static const char line[] = "\n----\n";
    Str all = fuzz_rest(in);
    for (size_t at = 0; at + strlen(line) <= all.len; at++) {
        if (memcmp(all.ptr + at, line, strlen(line)) != 0) continue;
        in->ptr += at + strlen(line);
        in->len -= at + strlen(line);
        return str_make(all.ptr, at);
    }
    *in = (FuzzBytes){in->ptr + in->len, 0};
    return all;
}

/* An error must be one sentence: of UTF-8, on one line, and not so long that its end is lost. */
static inline void fuzz_sentence(const char *text) {
    size_t n = strlen(text);
    if (n < 10 || n >= sizeof((Err *)0)->text - 1 || !utf8_valid(text, n) || strpbrk(text, "\r\n")) fail_msg("no sentence: '%s'", text);
}

#endif
