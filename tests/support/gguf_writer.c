#include "support/gguf_writer.h"

#include "support/support.h"

#include <stdio.h>
#include <string.h>

static void put_le(Buf *b, uint64_t v, int bytes) {
    for (int i = 0; i < bytes; i++) buf_putc(b, (char)(v >> (8 * i) & 0xFF));
}

void put_u16(Buf *b, uint16_t v) { put_le(b, v, 2); }
void put_u32(Buf *b, uint32_t v) { put_le(b, v, 4); }
void put_u64(Buf *b, uint64_t v) { put_le(b, v, 8); }

void put_gguf_str(Buf *b, const char *s, size_t len) {
    put_u64(b, len);
    buf_put(b, s, len);
}

void gguf_begin(GgufWriter *w) {
    memset(w, 0, sizeof *w);
    w->version = 3;
    w->alignment = 32;
}

static void key(GgufWriter *w, const char *name, uint32_t kind) {
    put_gguf_str(&w->keys, name, strlen(name));
    put_u32(&w->keys, kind);
    w->n_keys++;
}

void gguf_u32(GgufWriter *w, const char *name, uint32_t v) {
    key(w, name, 4);
    put_u32(&w->keys, v);
}

void gguf_u16(GgufWriter *w, const char *name, uint16_t v) {
    key(w, name, 2);
    put_u16(&w->keys, v);
}

void gguf_i32(GgufWriter *w, const char *name, int32_t v) {
    key(w, name, 5);
    put_u32(&w->keys, (uint32_t)v);
}

void gguf_f32(GgufWriter *w, const char *name, float v) {
    uint32_t bits;
    memcpy(&bits, &v, 4);
    key(w, name, 6);
    put_u32(&w->keys, bits);
}

void gguf_bool(GgufWriter *w, const char *name, bool v) {
    key(w, name, 7);
    buf_putc(&w->keys, v ? 1 : 0);
}

void gguf_str(GgufWriter *w, const char *name, const char *v) {
    key(w, name, 8);
    put_gguf_str(&w->keys, v, strlen(v));
}

void gguf_array(GgufWriter *w, const char *name, uint32_t kind, uint64_t count, const void *bytes, size_t len) {
    key(w, name, 9);
    put_u32(&w->keys, kind);
    put_u64(&w->keys, count);
    buf_put(&w->keys, bytes, len);
}

void gguf_strings(GgufWriter *w, const char *name, const char *const *v, uint64_t count) {
    gguf_array(w, name, 8, count, "", 0);
    for (uint64_t i = 0; i < count; i++) put_gguf_str(&w->keys, v[i], strlen(v[i]));
}

static void pad(Buf *b, size_t to) {
    while (b->len % to) buf_putc(b, 0);
}

void gguf_tensor(GgufWriter *w, const char *name, uint32_t ggml_type, int n_dims, const uint64_t *ne, const void *data, size_t bytes) {
    put_gguf_str(&w->infos, name, strlen(name));
    put_u32(&w->infos, (uint32_t)n_dims);
    for (int i = 0; i < n_dims; i++) put_u64(&w->infos, ne[i]);
    put_u32(&w->infos, ggml_type);
    put_u64(&w->infos, w->data.len);
    buf_put(&w->data, data, bytes);
    pad(&w->data, w->alignment);
    w->n_tensors++;
}

Buf gguf_end(GgufWriter *w) {
    Buf out = {0};
    buf_put(&out, "GGUF", 4);
    put_u32(&out, w->version);
    put_u64(&out, w->n_tensors);
    put_u64(&out, w->n_keys);
    buf_put(&out, w->keys.ptr, w->keys.len);
    buf_put(&out, w->infos.ptr, w->infos.len);
    if (w->n_tensors) pad(&out, w->alignment);
    buf_put(&out, w->data.ptr, w->data.len);
    buf_free(&w->keys);
    buf_free(&w->infos);
    buf_free(&w->data);
    return out;
}

const char *write_temp(const char *name, const void *bytes, size_t len) {
    static char paths[8][256];
    static unsigned turn;
    char *path = paths[turn++ % COUNT_OF(paths)];
    snprintf(path, sizeof paths[0], "%s/%s", temp_dir(), name);
    remove(path); /* a new file: cutting an old one to nothing makes some file systems write it out at once */
    FILE *f = fopen(path, "wb");
    if (!f || (len && fwrite(bytes, 1, len, f) != len) || fclose(f) != 0) {
        print_error("cannot write %s\n", path);
        fail();
    }
    return path;
}
