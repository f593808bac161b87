/* A tiny GGUF writer for tests, independent of the reader under test. Everything is appended; nothing is checked, so that tests
 * can write nonsense too. */
#ifndef TESTS_GGUF_WRITER_H
#define TESTS_GGUF_WRITER_H

#include "base/base.h"

typedef struct GgufWriter {
    uint32_t version;       /* 3 */
    uint32_t alignment;     /* 32; written as general.alignment only by gguf_u32 */
    uint64_t n_tensors, n_keys;
    Buf keys, infos, data;
} GgufWriter;

void gguf_begin(GgufWriter *w);
void gguf_u32(GgufWriter *w, const char *name, uint32_t v);
void gguf_u16(GgufWriter *w, const char *name, uint16_t v);
void gguf_i32(GgufWriter *w, const char *name, int32_t v);
void gguf_f32(GgufWriter *w, const char *name, float v);
void gguf_bool(GgufWriter *w, const char *name, bool v);
void gguf_str(GgufWriter *w, const char *name, const char *v);
/* kind: the file's number of the element kind; bytes: the packed elements */
void gguf_array(GgufWriter *w, const char *name, uint32_t kind, uint64_t count, const void *bytes, size_t len);
void gguf_strings(GgufWriter *w, const char *name, const char *const *v, uint64_t count);
/* ne: innermost first, as the file has it; data is padded to the alignment. */
void gguf_tensor(GgufWriter *w, const char *name, uint32_t ggml_type, int n_dims, const uint64_t *ne, const void *data, size_t bytes);
/* The whole file; frees the parts. */
Buf gguf_end(GgufWriter *w);

void put_u16(Buf *b, uint16_t v);
void put_u32(Buf *b, uint32_t v);
void put_u64(Buf *b, uint64_t v);
void put_gguf_str(Buf *b, const char *s, size_t len);

/* Writes bytes to temp_dir()/name and returns that path (one of a few static buffers used in turn). */
const char *write_temp(const char *name, const void *bytes, size_t len);

#endif
