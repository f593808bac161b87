/* cli/tensor_file: a safetensors file whose tensors are written piece by piece, in any order, because they may be larger than
 * memory ([T, vocab] logits). Written under a temporary name, synced, renamed: a file that exists is whole. */
#ifndef CLI_TENSOR_FILE_H
#define CLI_TENSOR_FILE_H

#include "format/format.h"

enum { TENSOR_FILE_MAX = 8 };

typedef struct TensorFile {
    const char *path;
    char *temporary;   /* NULL: an unnamed file, copied to standard output or to a special file at the end */
    int fd;
    uint64_t begin[TENSOR_FILE_MAX + 1]; /* [n + 1] where the data of each tensor begin, and the end */
    Err err;           /* the first failure; later writes do nothing */
} TensorFile;

/* Names, types and shapes come from `tensors`, their data is not looked at. path "-": standard output. */
ErrCode tensor_file_create(TensorFile *f, const char *path, const FormatOut *tensors, int n, Err *err);
/* Bytes `at`.. of a tensor, counted from its start. */
void tensor_file_put(TensorFile *f, int tensor, uint64_t at, const void *data, uint64_t bytes);
/* Syncs and renames; or, with keep false or after a failed write, leaves nothing behind. */
ErrCode tensor_file_finish(TensorFile *f, bool keep, Err *err);

#endif
