/* A pull reader over JSON text: the caller asks for what must come next. It builds no tree, so a hostile header costs no more
 * memory than its own bytes, and it knows the byte at which something is wrong. Strict: no comments, no trailing commas, no
 * lone surrogates, strings are UTF-8. Used where the format room itself must understand JSON (safetensors headers, the index,
 * the quantisation entry of config.json); the folder's other JSON is handed on as text. Private. */
#ifndef FORMAT_JSON_H
#define FORMAT_JSON_H

#include "format/inner.h"

typedef struct FormatJson {
    const char *text;
    size_t len, at;
    const char *path;
    uint64_t base;   /* where the text begins in its file */
    uint64_t key_at; /* offset in the file of the key that was read last */
    bool first;      /* nothing was read yet of the object or array that was opened last */
    Err *err;
} FormatJson;

/* All of these return ERR_OK or say "PATH: at offset N: ...". */
ErrCode format_json_object(FormatJson *j);                          /* '{' */
ErrCode format_json_key(FormatJson *j, bool *more, Buf *key);       /* the next key and its ':', or '}' and *more = false */
ErrCode format_json_array(FormatJson *j);                           /* '[' */
ErrCode format_json_item(FormatJson *j, bool *more);                /* before the next item, or ']' and *more = false */
ErrCode format_json_string(FormatJson *j, Buf *out);                /* replaces out */
ErrCode format_json_u64(FormatJson *j, uint64_t *v);                /* a whole number without sign */
ErrCode format_json_skip(FormatJson *j);                            /* any value */
ErrCode format_json_end(FormatJson *j);                             /* nothing but white space is left */
char format_json_peek(FormatJson *j);                               /* first byte of the next value; 0 at the end */
ErrCode format_json_bad(FormatJson *j, const char *what);           /* "... at offset N: what" */

static inline Str format_buf_str(const Buf *b) { return str_make(b->ptr ? b->ptr : "", b->len); }

#endif
