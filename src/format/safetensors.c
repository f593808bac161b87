/* One safetensors file: u64 length, a JSON header {"name": {"dtype", "shape", "data_offsets": [begin, end]}, ...}, then the
 * data, which the tensors fill without gap or overlap. */
#include "format/json.h"

#include <string.h>

/* Types without a decoder here: they are described as plain integers of their size, so that a folder opens in which nobody
 * asks for them; whoever does sees a type that cannot be a weight, and the file's own name for it. */
static const struct {
    const char *name;
    QuantType as;
} sized_types[] = {
    {"BOOL", QUANT_U8}, {"F8_E4M3", QUANT_U8}, {"F8_E5M2", QUANT_U8}, {"F8_E8M0", QUANT_U8}, {"U8", QUANT_U8}, {"I8", QUANT_I8},
    {"U16", QUANT_I16}, {"I16", QUANT_I16},    {"U32", QUANT_I32},    {"I32", QUANT_I32},    {"U64", QUANT_I64}, {"I64", QUANT_I64},
    {"F64", QUANT_F64},
};

static bool find_dtype(Str dtype, FormatTensor *t) {
    if (quant_from_safetensors(dtype, &t->type)) {
        t->type_name = quant_traits(t->type)->safetensors;
        return true;
    }
    for (size_t i = 0; i < COUNT_OF(sized_types); i++)
        if (str_eq_c(dtype, sized_types[i].name)) {
            t->type = sized_types[i].as;
            t->type_name = sized_types[i].name;
            return true;
        }
    return false;
}

enum { HAS_DTYPE = 1, HAS_SHAPE = 2, HAS_OFFSETS = 4, HAS_ALL = 7 };

typedef struct Entry {
    FormatTensor tensor;
    uint64_t begin, end; /* relative to the data */
    unsigned has;
} Entry;

static ErrCode read_dtype(FormatJson *j, Entry *e, Buf *scratch) {
    char name[FORMAT_SHOWN_BYTES], dtype[FORMAT_SHOWN_BYTES];
    uint64_t at = j->base + j->at;
    ErrCode code = format_json_string(j, scratch);
    if (code || find_dtype(format_buf_str(scratch), &e->tensor)) return code;
    return err_set(j->err, ERR_UNSUPPORTED, "%s: at offset %llu: tensor '%s' has the dtype '%s', which is not supported yet", j->path,
                   (unsigned long long)at, format_shown(e->tensor.name, name), format_shown(format_buf_str(scratch), dtype));
}

static ErrCode read_shape(FormatJson *j, Entry *e) {
    FormatTensor *t = &e->tensor;
    char shown[FORMAT_SHOWN_BYTES];
    bool more = true;
    ErrCode code = format_json_array(j);
    for (;;) {
        if (!code) code = format_json_item(j, &more);
        if (code || !more) return code;
        if (t->n_dims == FORMAT_MAX_DIMS)
            return format_bad(j->err, j->path, j->base + j->at, "tensor '%s' has more than %d dimensions", format_shown(t->name, shown),
                              FORMAT_MAX_DIMS);
        code = format_json_u64(j, &t->dims[t->n_dims]);
        t->n_dims++;
    }
}

static ErrCode read_offsets(FormatJson *j, Entry *e) {
    bool more = false;
    ErrCode code = format_json_array(j);
    if (!code) code = format_json_item(j, &more);
    if (!code) code = format_json_u64(j, &e->begin);
    if (!code) code = format_json_item(j, &more);
    if (!code) code = format_json_u64(j, &e->end);
    if (!code) code = format_json_item(j, &more);
    if (!code && more) code = format_json_bad(j, "data_offsets has more than two numbers");
    return code;
}

static ErrCode read_entry(FormatJson *j, Entry *e, Buf *scratch) {
    bool more = true;
    ErrCode code = format_json_object(j);
    for (;;) {
        if (!code) code = format_json_key(j, &more, scratch);
        if (code || !more) return code;
        unsigned field = str_eq_c(format_buf_str(scratch), "dtype")          ? HAS_DTYPE
                         : str_eq_c(format_buf_str(scratch), "shape")        ? HAS_SHAPE
                         : str_eq_c(format_buf_str(scratch), "data_offsets") ? HAS_OFFSETS
                                                                             : 0;
        if (e->has & field) return format_json_bad(j, "a tensor has the same entry twice");
        e->has |= field;
        if (field == HAS_DTYPE) code = read_dtype(j, e, scratch);
        else if (field == HAS_SHAPE) code = read_shape(j, e);
        else if (field == HAS_OFFSETS) code = read_offsets(j, e);
        else code = format_json_skip(j);
    }
}

/* Checks one entry against itself and the file, and makes its offset absolute. */
static ErrCode place(FormatJson *j, Entry *e, uint64_t at, uint64_t data, uint64_t data_bytes) {
    FormatTensor *t = &e->tensor;
    char shown[FORMAT_SHOWN_BYTES];
    format_shown(t->name, shown);
    if (e->has != HAS_ALL)
        return format_bad(j->err, j->path, at, "tensor '%s' has no %s", shown,
                          !(e->has & HAS_DTYPE)   ? "dtype"
                          : !(e->has & HAS_SHAPE) ? "shape"
                                                  : "data_offsets");
    ErrCode code = format_measure(t, j->path, at, j->err);
    if (code) return code;
    if (e->begin > e->end)
        return format_bad(j->err, j->path, at, "tensor '%s' ends at %llu before it begins at %llu", shown, (unsigned long long)e->end,
                          (unsigned long long)e->begin);
    if (e->end - e->begin != t->bytes)
        return format_bad(j->err, j->path, at, "tensor '%s' has %llu bytes by its data_offsets but %llu by its dtype and shape", shown,
                          (unsigned long long)(e->end - e->begin), (unsigned long long)t->bytes);
    if (e->end > data_bytes)
        return format_bad(j->err, j->path, at,
                          "tensor '%s' reaches to %llu of the data, past the end of the file (%llu bytes of data); it is truncated or "
                          "damaged, fetch it again",
                          shown, (unsigned long long)e->end, (unsigned long long)data_bytes);
    t->offset = data + e->begin;
    return ERR_OK;
}

static ErrCode skip_metadata(FormatJson *j, Buf *scratch) {
    bool more = true;
    ErrCode code = format_json_object(j);
    for (;;) {
        if (!code) code = format_json_key(j, &more, scratch);
        if (code || !more) return code;
        code = format_json_string(j, scratch);
    }
}

/* Every tensor costs at least this many bytes of header, so growing by doubling stays a small multiple of it. */
static ErrCode make_room(FormatModel *m, uint32_t *room, Err *err) {
    if (*room > 0) return ERR_OK;
    uint32_t more = m->n_tensors < 64 ? 64 : m->n_tensors;
    ErrCode code = format_reserve_tensors(m, more, err);
    if (!code) *room = more;
    return code;
}

static ErrCode read_header(FormatModel *m, FormatJson *j, uint32_t file, uint64_t data_bytes, Buf *scratch) {
    uint32_t room = 0;
    uint64_t data = j->base + j->len;
    bool more = true, seen_metadata = false;
    ErrCode code = format_json_object(j);
    for (;;) {
        if (!code) code = format_json_key(j, &more, scratch);
        if (code) return code;
        if (!more) return format_json_end(j);
        uint64_t at = j->key_at;
        Str key = format_buf_str(scratch);
        if (str_eq_c(key, "__metadata__")) {
            if (seen_metadata) return format_json_bad(j, "__metadata__ is there twice");
            seen_metadata = true;
            code = skip_metadata(j, scratch);
            continue;
        }
        char shown[FORMAT_SHOWN_BYTES];
        if (key.len == 0) return format_bad(j->err, j->path, at, "a tensor has an empty name");
        if (key.len > FORMAT_NAME_MAX || !format_name_ok(key))
            return format_bad(j->err, j->path, at, "the tensor name '%s' is too long or has control characters", format_shown(key, shown));
        Entry e = {.tensor = {.file = file}};
        for (int i = 0; i < FORMAT_MAX_DIMS; i++) e.tensor.dims[i] = 1;
        char *own = arena_strndup(&m->inner->arena, key.ptr, key.len);
        if (!own) return err_no_memory(j->err, key.len, "a tensor name");
        e.tensor.name = str_make(own, key.len);
        code = read_entry(j, &e, scratch);
        if (!code) code = place(j, &e, at, data, data_bytes);
        if (!code) code = make_room(m, &room, j->err);
        if (!code) code = format_add_tensor(m, &e.tensor, at, j->err);
        room--;
    }
}

ErrCode format_safetensors_read(FormatModel *m, uint32_t file, Err *err) {
    const FormatFile *f = &m->files[file];
    const OsFile *handle = &m->inner->handles[file];
    uint8_t b[8];
    uint64_t len = 0;
    if (f->size < 8) return format_bad(err, f->path, 0, "a safetensors file begins with an 8-byte length, but this one has %llu bytes",
                                       (unsigned long long)f->size);
    ErrCode code = os_pread(handle, f->path, b, 8, 0, err);
    if (code) return code;
    for (int i = 8; i-- > 0;) len = len << 8 | b[i];
    if (len > f->size - 8 || len > FORMAT_HEADER_MAX)
        return format_bad(err, f->path, 0, "the header is said to have %llu bytes, but %s; not a safetensors file, or it is truncated",
                          (unsigned long long)len, len > f->size - 8 ? "the file ends before" : "256 MiB is the most that is read");
    char *text = mem_new((size_t)len + 1, 1);
    if (!text) return err_no_memory(err, len, "a safetensors header");
    FormatJson j = {.text = text, .len = (size_t)len, .path = f->path, .base = 8, .err = err};
    Buf scratch = {0};
    uint32_t first = m->n_tensors;
    code = os_pread(handle, f->path, text, len, 8, err);
    if (!code) code = read_header(m, &j, file, f->size - 8 - len, &scratch);
    if (!code) code = format_check_spans(m, first, 8 + len, f->size, true, err);
    buf_free(&scratch);
    mem_free(text);
    return code;
}
