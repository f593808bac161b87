/* The door: opening, closing, finding, reading. */
#include "format/inner.h"

#include <math.h>
#include <string.h>

static FormatModel *closed_unless_ok(FormatModel *m, ErrCode code) {
    if (code == ERR_OK) return m;
    format_close(m);
    return NULL;
}

FormatModel *format_open(const char *path, Err *err) {
    bool folder = os_is_dir(path);
    FormatModel *m = format_model_new(path, folder ? FORMAT_SAFETENSORS : FORMAT_GGUF, err);
    if (!m) return NULL;
    Str name = str_c(path);
    if (!folder && (str_ends(name, ".safetensors") || str_ends(name, ".json"))) {
        err_set(err, ERR_USAGE, "%s: one file of a model folder; name the folder instead", path);
        return closed_unless_ok(m, ERR_USAGE);
    }
    return closed_unless_ok(m, folder ? format_folder_open(m, path, err) : format_gguf_open(m, path, 0, 0, false, err));
}

FormatModel *format_open_embedded(const char *path, uint64_t offset, uint64_t bytes, Err *err) {
    FormatModel *m = format_model_new(path, FORMAT_GGUF, err);
    return m ? closed_unless_ok(m, format_gguf_open(m, path, offset, bytes, true, err)) : NULL;
}

FormatModel *format_open_safetensors_file(const char *path, Err *err) {
    FormatModel *m = format_model_new(path, FORMAT_SAFETENSORS, err);
    if (!m) return NULL;
    ErrCode code = format_add_file(m, path, err);
    return closed_unless_ok(m, code ? code : format_safetensors_read(m, 0, err));
}

void format_drop_metadata(FormatModel *m) {
    static const Str none = {NULL, 0};
    FormatInner *inner = m->inner;
    for (size_t i = 0; i < COUNT_OF(inner->texts); i++) buf_free(&inner->texts[i]);
    m->config_json = m->generation_config_json = m->tokenizer_json = m->tokenizer_config_json = m->chat_template = none;
    strmap_free(&inner->keys);
    arena_free(&inner->metadata);
    mem_free(m->keys);
    m->keys = NULL;
    m->n_keys = 0;
}

void format_close(FormatModel *m) {
    if (!m) return;
    FormatInner *inner = m->inner;
    format_drop_metadata(m);
    for (uint32_t i = 0; i < m->n_files; i++) os_close(&inner->handles[i]);
    strmap_free(&inner->tensors);
    arena_free(&inner->arena);
    mem_free(inner->handles);
    mem_free(inner);
    mem_free(m->files);
    mem_free(m->tensors);
    mem_free(m);
}

/* ---- finding ---- */

const FormatTensor *format_tensor(const FormatModel *m, const char *name) {
    uint32_t i;
    return strmap_get(&m->inner->tensors, str_c(name), &i) ? &m->tensors[i] : NULL;
}

uint64_t format_tensor_count(const FormatTensor *t) {
    uint64_t n = 1;
    for (int i = 0; i < t->n_dims; i++) n *= t->dims[i]; /* format_measure saw that this fits */
    return n;
}

const FormatKey *format_key(const FormatModel *m, const char *name) {
    uint32_t i;
    return strmap_get(&m->inner->keys, str_c(name), &i) ? &m->keys[i] : NULL;
}

/* ---- values ---- */

/* One number, whatever its kind: whole (sign and magnitude) or real. */
typedef struct Number {
    bool whole, negative;
    uint64_t magnitude;
    double real;
} Number;

static uint64_t little_endian(const uint8_t *p, int bytes) {
    uint64_t v = 0;
    for (int i = bytes; i-- > 0;) v = v << 8 | p[i];
    return v;
}

static Number whole(uint64_t v, int bits) { /* bits > 0: two's complement of that width */
    Number n = {.whole = true, .magnitude = v};
    if (bits && (v >> (bits - 1) & 1)) {
        n.negative = true;
        n.magnitude = (~v + 1) & (UINT64_MAX >> (64 - bits));
    }
    return n;
}

static Number real(double v) { return (Number){.real = v}; }

static bool number_at(const FormatKey *k, uint64_t i, Number *n) {
    if (i >= k->count) return false;
    const uint8_t *p = k->data;
    union {
        uint32_t u;
        float f;
    } single;
    union {
        uint64_t u;
        double f;
    } twice;
    switch (k->kind) {
    case FORMAT_U8: case FORMAT_BOOL: *n = whole(p[i], 0); return true;
    case FORMAT_I8: *n = whole(p[i], 8); return true;
    case FORMAT_U16: *n = whole(little_endian(p + i * 2, 2), 0); return true;
    case FORMAT_I16: *n = whole(little_endian(p + i * 2, 2), 16); return true;
    case FORMAT_U32: *n = whole(little_endian(p + i * 4, 4), 0); return true;
    case FORMAT_I32: *n = whole(little_endian(p + i * 4, 4), 32); return true;
    case FORMAT_U64: *n = whole(little_endian(p + i * 8, 8), 0); return true;
    case FORMAT_I64: *n = whole(little_endian(p + i * 8, 8), 64); return true;
    case FORMAT_F32:
        single.u = (uint32_t)little_endian(p + i * 4, 4);
        *n = real((double)single.f);
        return true;
    case FORMAT_F64:
        twice.u = little_endian(p + i * 8, 8);
        *n = real(twice.f);
        return true;
    case FORMAT_STRING: case FORMAT_ARRAY: break;
    }
    return false;
}

bool format_key_u64(const FormatKey *k, uint64_t i, uint64_t *value) {
    Number n;
    if (!k || !number_at(k, i, &n)) return false;
    if (n.whole) {
        if (n.negative) return false;
        *value = n.magnitude;
        return true;
    }
    if (!(n.real >= 0 && n.real < 0x1p64) || floor(n.real) != n.real) return false;
    *value = (uint64_t)n.real;
    return true;
}

bool format_key_f64(const FormatKey *k, uint64_t i, double *value) {
    Number n;
    if (!k || !number_at(k, i, &n)) return false;
    if (n.whole) {
        n.real = (double)n.magnitude;
        if (n.real >= 0x1p64 || (uint64_t)n.real != n.magnitude) return false;
        if (n.negative) n.real = -n.real;
    }
    *value = n.real;
    return true;
}

bool format_key_str(const FormatKey *k, uint64_t i, Str *value) {
    if (!k || k->kind != FORMAT_STRING || i >= k->count) return false;
    *value = ((const Str *)k->data)[i];
    return true;
}

/* ---- reading ---- */

ErrCode format_read(const FormatModel *m, const FormatTensor *t, uint64_t from, uint64_t bytes, void *dst, Err *err) {
    const FormatFile *f = &m->files[t->file];
    char shown[FORMAT_SHOWN_BYTES];
    if (from > t->bytes || bytes > t->bytes - from)
        return err_set(err, ERR_RANGE, "%s: bytes %llu to %llu of tensor '%s' were asked for, but it has %llu", f->path,
                       (unsigned long long)from, (unsigned long long)(from + bytes), format_shown(t->name, shown),
                       (unsigned long long)t->bytes);
    ErrCode code = os_pread(&m->inner->handles[t->file], f->path, dst, bytes, t->offset + from, err);
    if (code) err_prefix(err, "tensor '%s'", format_shown(t->name, shown));
    return code;
}

void format_drop_cache(const FormatModel *m, uint32_t file, uint64_t offset, uint64_t bytes) {
    os_drop_cache(&m->inner->handles[file], offset, bytes);
}
