/* Running the program under test as a user would, from a shell. */
#ifndef TESTS_PROGRAM_H
#define TESTS_PROGRAM_H

#include "support/support.h"

#include <jansson.h>

typedef struct Result {
    int code;        /* exit code; 128 + signal when a signal ended it */
    char *out, *err; /* NUL-terminated */
    size_t out_len;
} Result;

/* Runs a line of bash (pipefail is on) in which $S is the program and $T the folder of this test's files. Standard input is empty, no
 * SLUICE_* variable is set, and config.json is $T/sluice/config.json. The result is valid until the next call. */
const Result *shell(const char *line);
/* The same, and the exit code must be this one. */
const Result *shell_expect(int code, const char *line);

char *read_whole(const char *path, size_t *len); /* fails the test when it cannot */
void write_whole(const char *path, const char *text);
const char *temp_path(const char *name);         /* one of 8 static buffers used in turn */

/* One line of standard output as JSON; fails the test when it is none. The caller frees it. */
json_t *result_json(const Result *r);
/* A little above the least memory that the program itself names for this work ("run ..."), in MiB: that depends on what it is linked with,
 * and a sanitizer makes it more. */
long least_ram(const char *work);

#endif
