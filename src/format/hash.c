/* Which model this is, in 64 bits. */
#include "format/inner.h"

#include <xxhash.h>

enum { HASH_SAMPLES = 64, HASH_SAMPLE_BYTES = 4096 };

static void put_u64(XXH3_state_t *h, uint64_t v) { XXH3_64bits_update(h, &v, sizeof v); }

static void put_str(XXH3_state_t *h, Str s) {
    put_u64(h, s.len); /* so that "ab" "c" is not "a" "bc" */
    if (s.len) XXH3_64bits_update(h, s.ptr, s.len);
}

static size_t value_bytes(FormatValueKind kind) {
    switch (kind) {
    case FORMAT_U8: case FORMAT_I8: case FORMAT_BOOL: return 1;
    case FORMAT_U16: case FORMAT_I16: return 2;
    case FORMAT_U32: case FORMAT_I32: case FORMAT_F32: return 4;
    case FORMAT_U64: case FORMAT_I64: case FORMAT_F64: return 8;
    case FORMAT_STRING: case FORMAT_ARRAY: break;
    }
    return 0;
}

static void put_metadata(XXH3_state_t *h, const FormatModel *m) {
    for (uint32_t i = 0; i < m->n_keys; i++) {
        const FormatKey *k = &m->keys[i];
        put_str(h, k->name);
        put_u64(h, (uint64_t)k->kind);
        put_u64(h, k->count);
        if (k->kind == FORMAT_STRING)
            for (uint64_t s = 0; s < k->count; s++) put_str(h, ((const Str *)k->data)[s]);
        else if (k->count) XXH3_64bits_update(h, k->data, (size_t)k->count * value_bytes(k->kind));
    }
    const Str texts[] = {m->config_json, m->generation_config_json, m->tokenizer_json, m->tokenizer_config_json, m->chat_template};
    for (size_t i = 0; i < COUNT_OF(texts); i++) put_str(h, texts[i]);
}

static void put_tables(XXH3_state_t *h, const FormatModel *m) {
    for (uint32_t i = 0; i < m->n_files; i++) put_u64(h, m->files[i].size - m->files[i].base);
    for (uint32_t i = 0; i < m->n_tensors; i++) {
        const FormatTensor *t = &m->tensors[i];
        put_str(h, t->name);
        put_u64(h, (uint64_t)t->type);
        for (int d = 0; d < FORMAT_MAX_DIMS; d++) put_u64(h, t->dims[d]);
        put_u64(h, t->file);
        put_u64(h, t->offset - m->files[t->file].base);
        put_u64(h, t->bytes);
    }
}

/* From the middle of tensors, evenly over all of them: a model tuned further has the same headers. */
static ErrCode put_samples(XXH3_state_t *h, const FormatModel *m, Err *err) {
    char sample[HASH_SAMPLE_BYTES];
    ErrCode code = ERR_OK;
    for (uint64_t i = 0; i < HASH_SAMPLES && i < m->n_tensors && !code; i++) {
        uint64_t n = m->n_tensors < HASH_SAMPLES ? m->n_tensors : HASH_SAMPLES;
        const FormatTensor *t = &m->tensors[i * m->n_tensors / n];
        uint64_t bytes = t->bytes < sizeof sample ? t->bytes : sizeof sample;
        code = format_read(m, t, (t->bytes - bytes) / 2, bytes, sample, err);
        if (!code) XXH3_64bits_update(h, sample, (size_t)bytes);
    }
    return code;
}

ErrCode format_hash(const FormatModel *m, uint64_t *hash, Err *err) {
    XXH3_state_t *h = XXH3_createState();
    if (!h) return err_no_memory(err, 576, "a hash");
    XXH3_64bits_reset(h);
    put_metadata(h, m);
    put_tables(h, m);
    ErrCode code = put_samples(h, m, err);
    *hash = XXH3_64bits_digest(h);
    XXH3_freeState(h);
    return code;
}
