/* cli/io: standard input and output of the commands. Results go to standard output through here, so that a reader that goes away
 * (`sluice run | head`) ends the work quietly, and a full disk does not pass unseen. */
#ifndef CLI_IO_H
#define CLI_IO_H

#include "cli/options.h"
#include "lab/lab.h"

#include <jansson.h>

/* ---- output ---- */
void out_write(const void *bytes, size_t len);
void out_puts(const char *z);
void out_printf(const char *fmt, ...) BASE_PRINTF(1, 2);
void out_json(json_t *value);  /* one line; takes the reference; NULL (out of memory) is remembered as a failure */
void out_flush(void);
bool out_gone(void);           /* nobody reads any more, or writing failed: stop working */
ErrCode out_finish(Err *err);  /* ERR_OK also when the reader went away */

/* ---- input ---- */
/* A whole file, pipe or "-" (standard input) as bytes, at most 1 GiB. */
ErrCode input_file(const char *path, Buf *out, Err *err);
LabTrace *input_trace(const char *path, Err *err); /* a recorded trace, the same way */
/* The text of a command: -p, -f, or standard input. */
ErrCode input_text(const Options *o, Buf *out, Err *err);
/* Token ids: "1,2,3" (commas or spaces), or a safetensors file with input_ids i32/i64 [T] or [1,T]. *ids is freed with mem_free. */
ErrCode input_ids(const char *text_or_path, int32_t **ids, size_t *n, Err *err);
ErrCode input_parse_ids(const char *text, size_t len, int32_t **ids, size_t *n, Err *err);

/* ---- one JSON value per line of standard input, one answer per line of standard output ---- */
/* Returns the answer (new reference), or NULL with err set: then the line's answer is {"error": "..."}. */
typedef json_t *LineAnswer(void *user, json_t *question, Err *err);
/* When a line had an error it fails at the end (ERR_RANGE), after all lines have been answered; where an error is an answer like any
 * other (a template that refuses a request) it only says so. */
ErrCode lines_answer(LineAnswer *answer, void *user, bool errors_are_answers, Err *err);

/* A JSON string of bytes that may be broken UTF-8 (then with U+FFFD), or may contain U+0000. */
json_t *json_text(const char *bytes, size_t len);
bool json_write(const json_t *value, Buf *out); /* as compact text; false: NULL, or out of memory */
json_t *json_ids(const int32_t *ids, size_t n);

#endif
