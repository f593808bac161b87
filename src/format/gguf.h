/* One GGUF file while it is read. Private. */
#ifndef FORMAT_GGUF_H
#define FORMAT_GGUF_H

#include "format/reader.h"

typedef struct GgufPart {
    FormatReader reader;
    uint32_t file;       /* index into FormatModel.files */
    Arena *arena;        /* where keys and values go */
    StrMap *names;       /* key name -> index into keys */
    FormatKey *keys;     /* [n_keys], on the heap */
    uint32_t n_keys;
    uint64_t alignment;
} GgufPart;

/* Reads the header of m->files[file]; tensors are appended to m, keys stay in the part. arena and names must be set. */
ErrCode format_gguf_part_read(GgufPart *p, FormatModel *m, uint32_t file, Err *err);
const FormatKey *format_gguf_part_key(const GgufPart *p, const char *name); /* NULL: absent */

#endif
