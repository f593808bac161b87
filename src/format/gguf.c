/* GGUF v2 and v3: the header of one file -> keys and tensors.
 *
 *   magic "GGUF", u32 version, u64 n_tensors, u64 n_keys
 *   n_keys    times: string name, u32 kind, value          (an array: u32 element kind, u64 count, elements)
 *   n_tensors times: string name, u32 n_dims, u64 ne[n_dims] (innermost first), u32 type, u64 offset (from the data start)
 *   data, from the end of the above rounded up to general.alignment
 *
 * A string is u64 length and bytes; all numbers are little-endian. Split files are put together in gguf_split.c. */
#include "format/gguf.h"

#include <string.h>

enum {
    GGUF_MAX_DIMS = 4,
    GGUF_DEFAULT_ALIGNMENT = 32,
    GGUF_MAX_ALIGNMENT = 16 << 20,
    GGUF_MIN_KEY_BYTES = 8 + 1 + 4 + 1,         /* one byte of name, one of value */
    GGUF_MIN_TENSOR_BYTES = 8 + 1 + 4 + 4 + 8,  /* one byte of name, no dimensions */
};

/* Bytes of one value; 0 for strings and arrays, which have no fixed size, and for kinds that do not exist. */
static uint32_t value_bytes(uint32_t kind) {
    switch (kind) {
    case FORMAT_U8: case FORMAT_I8: case FORMAT_BOOL: return 1;
    case FORMAT_U16: case FORMAT_I16: return 2;
    case FORMAT_U32: case FORMAT_I32: case FORMAT_F32: return 4;
    case FORMAT_U64: case FORMAT_I64: case FORMAT_F64: return 8;
    default: return 0;
    }
}

/* ---- keys ---- */

static ErrCode read_numbers(GgufPart *p, FormatKey *k, const char *shown) {
    FormatReader *r = &p->reader;
    uint32_t size = value_bytes(k->kind);
    uint64_t at = r->at;
    ErrCode code = format_reader_room(r, k->count, size, "array elements");
    if (code) return code;
    uint8_t *data = arena_alloc(p->arena, (size_t)(k->count * size), 8);
    if (!data) return err_no_memory(r->err, k->count * size, "an array of the header");
    k->data = data;
    code = format_reader_bytes(r, data, k->count * size, "the value of a key");
    if (code || k->kind != FORMAT_BOOL) return code;
    for (uint64_t i = 0; i < k->count; i++)
        if (data[i] > 1)
            return format_bad(r->err, r->path, at + i, "a truth value of key '%s' is %u, neither 0 nor 1", shown, data[i]);
    return ERR_OK;
}

static ErrCode read_strings(GgufPart *p, FormatKey *k) {
    FormatReader *r = &p->reader;
    ErrCode code = format_reader_room(r, k->count, 8, "strings");
    if (code) return code;
    Str *strings = arena_alloc(p->arena, (size_t)k->count * sizeof *strings, 8);
    if (!strings) return err_no_memory(r->err, k->count * sizeof *strings, "an array of the header");
    k->data = strings;
    for (uint64_t i = 0; i < k->count && !code; i++)
        code = format_reader_str(r, p->arena, FORMAT_HEADER_MAX, &strings[i], "a string value");
    return code;
}

static ErrCode read_value(GgufPart *p, FormatKey *k, const char *shown) {
    FormatReader *r = &p->reader;
    uint64_t at = r->at;
    uint32_t kind = 0;
    ErrCode code = format_reader_u32(r, &kind, "the kind of a value");
    k->count = 1;
    if (!code && kind == FORMAT_ARRAY) {
        k->is_array = true;
        at = r->at;
        code = format_reader_u32(r, &kind, "the kind of an array");
        if (!code && kind == FORMAT_ARRAY)
            return format_bad(r->err, r->path, at, "key '%s' is an array of arrays, which is not supported", shown);
        if (!code) code = format_reader_u64(r, &k->count, "the length of an array");
    }
    if (code) return code;
    k->kind = (FormatValueKind)kind;
    if (kind == FORMAT_STRING) return read_strings(p, k);
    if (!value_bytes(kind)) return format_bad(r->err, r->path, at, "key '%s' has the unknown value kind %u", shown, kind);
    return read_numbers(p, k, shown);
}

static ErrCode read_key(GgufPart *p) {
    FormatReader *r = &p->reader;
    uint64_t at = r->at;
    char shown[FORMAT_SHOWN_BYTES];
    FormatKey *k = &p->keys[p->n_keys];
    ErrCode code = format_reader_str(r, p->arena, FORMAT_NAME_MAX, &k->name, "the name of a key");
    if (code) return code;
    format_shown(k->name, shown);
    if (k->name.len == 0) return format_bad(r->err, r->path, at, "a key has an empty name");
    if (!format_name_ok(k->name)) return format_bad(r->err, r->path, at, "the key name '%s' is not clean UTF-8", shown);
    code = read_value(p, k, shown);
    if (code) return code;
    bool existed;
    if (strmap_put(p->names, k->name, p->n_keys, &existed)) p->n_keys++;
    else if (existed) return format_bad(r->err, r->path, at, "the key '%s' is there twice", shown);
    else return err_no_memory(r->err, k->name.len, "the metadata keys");
    return ERR_OK;
}

static ErrCode read_keys(GgufPart *p, uint64_t n) {
    FormatReader *r = &p->reader;
    ErrCode code = format_reader_room(r, n, GGUF_MIN_KEY_BYTES, "metadata keys");
    if (code) return code;
    p->keys = mem_new((size_t)n, sizeof *p->keys);
    if (!p->keys || !strmap_reserve(p->names, (uint32_t)n)) return err_no_memory(r->err, n * sizeof *p->keys, "the metadata keys");
    for (uint64_t i = 0; i < n && !code; i++) code = read_key(p);
    return code;
}

const FormatKey *format_gguf_part_key(const GgufPart *p, const char *name) {
    uint32_t i;
    return strmap_get(p->names, str_c(name), &i) ? &p->keys[i] : NULL;
}

static ErrCode read_alignment(GgufPart *p) {
    p->alignment = GGUF_DEFAULT_ALIGNMENT;
    const FormatKey *k = format_gguf_part_key(p, "general.alignment");
    if (!k) return ERR_OK;
    uint64_t v = 0;
    if (k->is_array || !format_key_u64(k, 0, &v) || v == 0 || v > GGUF_MAX_ALIGNMENT || (v & (v - 1)))
        return err_set(p->reader.err, ERR_FORMAT, "%s: general.alignment is %llu; it must be a power of two, at most %d",
                       p->reader.path, (unsigned long long)v, GGUF_MAX_ALIGNMENT);
    p->alignment = v;
    return ERR_OK;
}

/* ---- tensors ---- */

static ErrCode read_type(FormatReader *r, FormatTensor *t, const char *shown) {
    uint64_t at = r->at;
    uint32_t id = 0;
    ErrCode code = format_reader_u32(r, &id, "the type of a tensor");
    if (code) return code;
    if (quant_from_ggml(id, &t->type)) {
        t->type_name = quant_traits(t->type)->name;
        return ERR_OK;
    }
    const char *known = quant_ggml_unsupported_name(id);
    if (!known) return format_bad(r->err, r->path, at, "tensor '%s' has the unknown type %u", shown, id);
    return err_set(r->err, ERR_UNSUPPORTED,
                   "%s: at offset %llu: tensor '%s' has type %s, which is not supported; use a file of another type", r->path,
                   (unsigned long long)at, shown, known);
}

static ErrCode read_tensor(GgufPart *p, FormatModel *m) {
    FormatReader *r = &p->reader;
    FormatTensor t = {.file = p->file, .n_dims = 0};
    uint64_t at = r->at;
    char shown[FORMAT_SHOWN_BYTES];
    ErrCode code = format_reader_str(r, &m->inner->arena, FORMAT_NAME_MAX, &t.name, "the name of a tensor");
    if (code) return code;
    format_shown(t.name, shown);
    if (t.name.len == 0) return format_bad(r->err, r->path, at, "a tensor has an empty name");
    if (!format_name_ok(t.name)) return format_bad(r->err, r->path, at, "the tensor name '%s' is not clean UTF-8", shown);

    uint32_t n_dims = 0;
    uint64_t ne[GGUF_MAX_DIMS], dims_at = r->at;
    code = format_reader_u32(r, &n_dims, "the shape of a tensor");
    if (code) return code;
    if (n_dims > GGUF_MAX_DIMS)
        return format_bad(r->err, r->path, dims_at, "tensor '%s' has %u dimensions, more than %d", shown, n_dims, GGUF_MAX_DIMS);
    for (uint32_t i = 0; i < n_dims && !code; i++) {
        code = format_reader_u64(r, &ne[i], "the shape of a tensor");
        if (!code && ne[i] == 0) return format_bad(r->err, r->path, dims_at, "tensor '%s' has a dimension of 0", shown);
    }
    if (!code) code = read_type(r, &t, shown);
    if (!code) code = format_reader_u64(r, &t.offset, "the offset of a tensor");
    if (code) return code;
    if (t.offset % p->alignment)
        return format_bad(r->err, r->path, r->at - 8, "tensor '%s' begins at %llu of the data, not a multiple of the alignment %llu",
                          shown, (unsigned long long)t.offset, (unsigned long long)p->alignment);
    t.n_dims = (int)n_dims;
    for (uint32_t i = 0; i < FORMAT_MAX_DIMS; i++) t.dims[i] = i < n_dims ? ne[n_dims - 1 - i] : 1;
    code = format_measure(&t, r->path, dims_at, r->err);
    return code ? code : format_add_tensor(m, &t, at, r->err);
}

/* Offsets in the file count from the data start, which is known only after the last description. */
static ErrCode place_tensors(GgufPart *p, FormatModel *m, uint32_t first) {
    const FormatReader *r = &p->reader;
    uint64_t base = m->files[p->file].base;
    uint64_t data = base + align_up(r->at - base, p->alignment);
    char shown[FORMAT_SHOWN_BYTES];
    for (uint32_t i = first; i < m->n_tensors; i++) {
        FormatTensor *t = &m->tensors[i];
        uint64_t end;
        if (!add_u64(t->offset, data, &t->offset) || !add_u64(t->offset, t->bytes, &end))
            return format_bad(r->err, r->path, data, "the place of tensor '%s' overflows", format_shown(t->name, shown));
        if (end > r->end)
            return format_bad(r->err, r->path, t->offset,
                              "tensor '%s' (%llu bytes) reaches past the end of the file at %llu; it is truncated or damaged, "
                              "fetch it again", format_shown(t->name, shown), (unsigned long long)t->bytes, (unsigned long long)r->end);
    }
    return format_check_spans(m, first, data, r->end, false, r->err);
}

static ErrCode read_tensors(GgufPart *p, FormatModel *m, uint64_t n) {
    uint32_t first = m->n_tensors;
    ErrCode code = format_reader_room(&p->reader, n, GGUF_MIN_TENSOR_BYTES, "tensors");
    if (!code) code = format_reserve_tensors(m, n, p->reader.err);
    for (uint64_t i = 0; i < n && !code; i++) code = read_tensor(p, m);
    return code ? code : place_tensors(p, m, first);
}

/* ---- the whole header ---- */

static ErrCode read_magic(FormatReader *r) {
    char magic[4];
    uint64_t at = r->at;
    uint32_t version = 0;
    ErrCode code = format_reader_bytes(r, magic, 4, "the first four bytes");
    if (code) return code;
    if (memcmp(magic, "GGUF", 4) != 0) {
        if (memcmp(magic, "lmgg", 4) == 0 || memcmp(magic, "tjgg", 4) == 0 || memcmp(magic, "fmgg", 4) == 0)
            return err_set(r->err, ERR_UNSUPPORTED, "%s: a GGML file from before GGUF; it is not supported, use a GGUF file", r->path);
        char shown[FORMAT_SHOWN_BYTES];
        return format_bad(r->err, r->path, at, "not a GGUF file: it begins with '%s' instead of 'GGUF'",
                          format_shown(str_make(magic, 4), shown));
    }
    code = format_reader_u32(r, &version, "the version");
    if (code || version == 2 || version == 3) return code;
    if (version != 0 && (version & 0xFFFF) == 0)
        return err_set(r->err, ERR_UNSUPPORTED, "%s: a big-endian GGUF file; only little-endian ones are supported", r->path);
    return err_set(r->err, ERR_UNSUPPORTED, "%s: at offset %llu: GGUF version %u is not supported, only 2 and 3; use a newer file",
                   r->path, (unsigned long long)(at + 4), version);
}

ErrCode format_gguf_part_read(GgufPart *p, FormatModel *m, uint32_t file, Err *err) {
    FormatReader *r = &p->reader;
    uint64_t n_tensors = 0, n_keys = 0;
    p->file = file;
    ErrCode code = format_reader_init(r, &m->inner->handles[file], &m->files[file], err);
    if (!code) code = read_magic(r);
    if (!code) code = format_reader_u64(r, &n_tensors, "the number of tensors");
    if (!code) code = format_reader_u64(r, &n_keys, "the number of keys");
    if (!code) code = read_keys(p, n_keys);
    if (!code) code = read_alignment(p);
    if (!code) code = read_tensors(p, m, n_tensors);
    format_reader_free(r);
    return code;
}
