/* What the readers of this room share: the table they fill, and the words for what is wrong with a file. Private. */
#ifndef FORMAT_INNER_H
#define FORMAT_INNER_H

#include "format/format.h"

enum {
    FORMAT_NAME_MAX = 65535,  /* bytes of a tensor name or key; ggml allows 63 and 65535 */
    FORMAT_SHOWN_BYTES = 100, /* room for a name in a sentence */
};
/* No header of a real model comes near this (the largest are about 20 MB), so a larger one is damage or malice. */
#define FORMAT_HEADER_MAX (UINT64_C(256) << 20)

typedef struct FormatInner {
    Arena arena;     /* paths, names of tensors */
    Arena metadata;  /* keys and their values */
    Buf texts[5];    /* the folder's JSON files */
    StrMap tensors;  /* name -> index into FormatModel.tensors */
    StrMap keys;     /* name -> index into FormatModel.keys */
    OsFile *handles; /* [n_files], beside FormatModel.files */
} FormatInner;

FormatModel *format_model_new(const char *path, FormatKind kind, Err *err);
/* Opens path (a regular file) and appends it; its index is m->n_files - 1. */
ErrCode format_add_file(FormatModel *m, const char *path, Err *err);
/* A pipe, socket or device is refused before opening it could wait for ever. */
ErrCode format_refuse_special(const char *path, Err *err);
/* True for a link that leads nowhere too: that is an incomplete download, not an absent file. */
bool format_exists(const char *path);
/* Makes room for n more tensors. */
ErrCode format_reserve_tensors(FormatModel *m, uint64_t n, Err *err);
/* Appends one tensor into reserved room; `at` is where its description stands in the file. Refuses a name seen before. */
ErrCode format_add_tensor(FormatModel *m, const FormatTensor *t, uint64_t at, Err *err);
/* Refuses tensors from `first` on (all of one file) that share a byte. With `whole`, they must also fill [begin, end) without a
 * gap, as safetensors demands. */
ErrCode format_check_spans(const FormatModel *m, uint32_t first, uint64_t begin, uint64_t end, bool whole, Err *err);
/* elements and bytes of a tensor from type and dims; names what is wrong. Fills t->bytes. */
ErrCode format_measure(FormatTensor *t, const char *path, uint64_t at, Err *err);

/* "PATH: at offset N: ...", ERR_FORMAT. */
ErrCode format_bad(Err *err, const char *path, uint64_t offset, const char *fmt, ...) BASE_PRINTF(4, 5);
/* A name for a sentence: cut when long, '?' for what a terminal should not see. Returns out. */
const char *format_shown(Str name, char out[FORMAT_SHOWN_BYTES]);
/* True for a name that is UTF-8 without control characters. */
bool format_name_ok(Str name);

/* The readers. */
ErrCode format_gguf_open(FormatModel *m, const char *path, uint64_t base, uint64_t bytes, bool embedded, Err *err);
ErrCode format_folder_open(FormatModel *m, const char *folder, Err *err);
ErrCode format_safetensors_read(FormatModel *m, uint32_t file, Err *err);

#endif
