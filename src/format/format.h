/* format: files on disk -> one table in memory.
 *
 * What this is    readers for GGUF v2/v3 (also split) and Hugging Face safetensors folders (also sharded). Whatever the layout,
 *                 the result is the same table: tensor name, type, shape, file, offset, length; beside it the metadata as it
 *                 stands in the file (GGUF keys, or the folder's JSON files).
 * Who owns what   the FormatModel owns every string and table until format_close. Tensor bytes are never read here except
 *                 through format_read.
 * What may fail   everything a hostile file can do: truncation anywhere, huge counts, overlapping or out-of-range offsets, bad
 *                 UTF-8, duplicate names, wrong alignment, unknown types. Each gives one sentence with file and offset; no
 *                 crash, no hang, no allocation larger than a small multiple of the file's own size.
 * Threads         opening: one thread. A finished FormatModel is read-only and may be shared.
 * Promise         every tensor of an open model lies wholly inside its file. Checked by tests/unit/test_format.c and the
 *                 malformed-file corpus of tests/fault/.
 */
#ifndef FORMAT_FORMAT_H
#define FORMAT_FORMAT_H

#include "base/base.h"
#include "os/os.h"
#include "quant/quant.h"

enum { FORMAT_MAX_DIMS = 6 }; /* GGUF has at most 4; the vision tensors of a folder have 5 */

typedef enum FormatKind { FORMAT_GGUF, FORMAT_SAFETENSORS } FormatKind;

typedef struct FormatTensor {
    Str name;                      /* NUL-terminated too */
    QuantType type;                /* a safetensors type without a row of its own (F8_E4M3, U32) is a plain integer of its size */
    const char *type_name;         /* as the file calls it: "Q4_K", "BF16", "F8_E4M3" */
    int n_dims;                    /* 0: one number */
    uint64_t dims[FORMAT_MAX_DIMS]; /* outermost first, as in HF: a matrix is [rows = out, cols = in]; unused ones are 1 */
    uint32_t file;                 /* index into FormatModel.files */
    uint64_t offset;               /* absolute, in that file */
    uint64_t bytes;
} FormatTensor;

typedef struct FormatFile {
    const char *path;
    uint64_t base;  /* where the model begins in the file (an embedded model does not begin at 0) */
    uint64_t size;  /* end of what belongs to the model, absolute */
} FormatFile;

/* ---- GGUF metadata ---- */
typedef enum FormatValueKind { FORMAT_U8, FORMAT_I8, FORMAT_U16, FORMAT_I16, FORMAT_U32, FORMAT_I32, FORMAT_F32, FORMAT_BOOL,
    FORMAT_STRING, FORMAT_ARRAY, FORMAT_U64, FORMAT_I64, FORMAT_F64 } FormatValueKind; /* the file's own numbering */

typedef struct FormatKey {
    Str name;
    FormatValueKind kind;  /* of the value, or of the elements when is_array */
    bool is_array;
    uint64_t count;        /* elements; 1 for a scalar */
    const void *data;      /* scalars and numeric arrays: packed little-endian values, unaligned; strings: const Str[count] */
} FormatKey;

typedef struct FormatModel {
    FormatKind kind;
    const char *path;      /* what the user named */
    FormatFile *files;     /* [n_files] */
    uint32_t n_files;
    FormatTensor *tensors; /* [n_tensors], in the order of the headers, file after file */
    uint32_t n_tensors;
    FormatKey *keys;       /* [n_keys], GGUF only; of a split file: those of the first part */
    uint32_t n_keys;
    /* safetensors folder only: the folder's JSON files as text (NUL-terminated), {NULL,0} where absent */
    Str config_json, generation_config_json, tokenizer_json, tokenizer_config_json, chat_template;
    struct FormatInner *inner;
} FormatModel;

/* Opens a GGUF file (any shard of a split one is accepted), or a folder with config.json and safetensors. A folder whose
 * config.json says that its weights are quantised (FP8, GPTQ, MLX, ...) is refused with ERR_UNSUPPORTED. */
FormatModel *format_open(const char *path, Err *err);
/* Opens a GGUF that lies inside another file, e.g. the executable: bytes [offset, offset + bytes) of path. */
FormatModel *format_open_embedded(const char *path, uint64_t offset, uint64_t bytes, Err *err);
void format_close(FormatModel *m);
/* Frees the keys and the JSON texts (10 to 20 MB in real models) once everything that is needed was taken from them; tensors,
 * files and format_read stay. format_key finds nothing any more. */
void format_drop_metadata(FormatModel *m);

const FormatTensor *format_tensor(const FormatModel *m, const char *name); /* NULL: absent */
uint64_t format_tensor_count(const FormatTensor *t);                       /* elements */

const FormatKey *format_key(const FormatModel *m, const char *name); /* NULL: absent */
/* Scalars of any integer, float or bool kind, converted when exact; false: absent or of another kind. i indexes arrays. */
bool format_key_u64(const FormatKey *k, uint64_t i, uint64_t *value);
bool format_key_f64(const FormatKey *k, uint64_t i, double *value);
bool format_key_str(const FormatKey *k, uint64_t i, Str *value);

/* Reads bytes of a tensor, [from, from + bytes) relative to its start. Buffered, positional, retried until whole. */
ErrCode format_read(const FormatModel *m, const FormatTensor *t, uint64_t from, uint64_t bytes, void *dst, Err *err);
/* Releases the page cache behind bytes of a file that were copied to memory of our own. */
void format_drop_cache(const FormatModel *m, uint32_t file, uint64_t offset, uint64_t bytes);

/* Says which model this is: of its metadata (not yet dropped), its table of tensors, the sizes of its files, and a few pages of weights,
 * so that a model tuned further is another one. Not of where the files lie, what they are called, or when they were written. */
ErrCode format_hash(const FormatModel *m, uint64_t *hash, Err *err);

/* A tensor that is to be written. */
typedef struct FormatOut {
    const char *name;
    QuantType type; /* QUANT_F32, QUANT_I32, ... a type with a safetensors name */
    int n_dims;
    uint64_t dims[FORMAT_MAX_DIMS]; /* outermost first */
    const void *data; /* for the caller; not looked at here */
} FormatOut;
/* All of a safetensors file that stands before the data, which follow in the order of `tensors`; begin: [n + 1], where in the file those of
 * each begin, and where the last ones end. ERR_USAGE, with the path, says which of them cannot be held. */
ErrCode format_safetensors_header(const char *path, const FormatOut *tensors, size_t n, Buf *header, uint64_t *begin, Err *err);

/* Opens one single safetensors file (no config needed), e.g. a file of input ids. */
FormatModel *format_open_safetensors_file(const char *path, Err *err);

#endif
