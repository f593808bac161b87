/* A header read from front to back through one small buffer, so that no header, however long, is ever whole in memory twice.
 * Every read is checked against the end of what belongs to the model, and a short file is named with the place. Private. */
#ifndef FORMAT_READER_H
#define FORMAT_READER_H

#include "format/inner.h"

typedef struct FormatReader {
    const OsFile *file;
    const char *path;
    uint64_t at, end;     /* absolute: the next byte to give, and where the model's bytes end */
    uint64_t limit;       /* absolute: where a header must have ended (FORMAT_HEADER_MAX) */
    uint8_t *buf;         /* [FORMAT_READER_BYTES] */
    uint32_t next, have;  /* of buf */
    Err *err;
} FormatReader;

ErrCode format_reader_init(FormatReader *r, const OsFile *file, const FormatFile *where, Err *err);
void format_reader_free(FormatReader *r);
/* `what` completes the sentence "the file ends inside ...". */
ErrCode format_reader_bytes(FormatReader *r, void *dst, uint64_t n, const char *what);
ErrCode format_reader_u32(FormatReader *r, uint32_t *v, const char *what);
ErrCode format_reader_u64(FormatReader *r, uint64_t *v, const char *what);
/* Checks that n more items of at least min_bytes each can still follow, before anything is allocated for them. */
ErrCode format_reader_room(FormatReader *r, uint64_t n, uint64_t min_bytes, const char *what);
/* A GGUF string (u64 length, bytes) into the arena, NUL-terminated there. */
ErrCode format_reader_str(FormatReader *r, Arena *arena, uint64_t max, Str *s, const char *what);

#endif
