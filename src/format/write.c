/* The header of a safetensors file: which tensors follow, one after the other. */
#include "format/inner.h"

#include <string.h>

static void put_json_string(Buf *b, const char *s) {
    buf_putc(b, '"');
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        if (c == '"' || c == '\\') buf_printf(b, "\\%c", c);
        else if (c < 0x20) buf_printf(b, "\\u%04x", c);
        else buf_putc(b, (char)c);
    }
    buf_putc(b, '"');
}

/* The tensor's size, or what is wrong with it. */
static ErrCode measure(const FormatOut *o, const char *path, uint64_t *bytes, Err *err) {
    const QuantTraits *q = quant_traits(o->type);
    if (!q || !q->safetensors || o->n_dims < 0 || o->n_dims > FORMAT_MAX_DIMS)
        return err_set(err, ERR_USAGE, "%s: tensor '%s' has a type or shape that safetensors cannot hold", path, o->name);
    *bytes = q->block_bytes;
    for (int i = 0; i < o->n_dims; i++)
        if (!mul_u64(*bytes, o->dims[i], bytes))
            return err_set(err, ERR_USAGE, "%s: the dimensions of tensor '%s' overflow", path, o->name);
    return ERR_OK;
}

static void put_entry(Buf *b, const FormatOut *o, uint64_t begin, uint64_t end) {
    put_json_string(b, o->name);
    buf_printf(b, ":{\"dtype\":\"%s\",\"shape\":[", quant_traits(o->type)->safetensors);
    for (int i = 0; i < o->n_dims; i++) buf_printf(b, "%s%llu", i ? "," : "", (unsigned long long)o->dims[i]);
    buf_printf(b, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)begin, (unsigned long long)end);
}

static ErrCode put_entries(Buf *b, const char *path, const FormatOut *tensors, size_t n, uint64_t *at, Err *err) {
    StrMap names = {0};
    uint64_t end = at[0] = 0;
    ErrCode code = ERR_OK;
    for (size_t i = 0; i < n && !code; i++) {
        const FormatOut *o = &tensors[i];
        uint64_t bytes = 0;
        bool existed = false;
        code = measure(o, path, &bytes, err);
        if (code) break;
        if (!strmap_put(&names, str_c(o->name), 0, &existed))
            code = existed ? err_set(err, ERR_USAGE, "%s: two tensors are named '%s'", path, o->name)
                           : err_no_memory(err, strlen(o->name), "a safetensors file");
        at[i] = end;
        at[i + 1] = end += bytes;
        if (i) buf_putc(b, ',');
        put_entry(b, o, at[i], end);
    }
    strmap_free(&names);
    return code;
}

ErrCode format_safetensors_header(const char *path, const FormatOut *tensors, size_t n, Buf *header, uint64_t *begin, Err *err) {
    buf_clear(header);
    buf_puts(header, "12345678{"); /* the length goes to the front at the end */
    ErrCode code = put_entries(header, path, tensors, n, begin, err);
    buf_putc(header, '}');
    while (!header->failed && header->len % 8) buf_putc(header, ' ');
    if (!code && header->failed) code = err_no_memory(err, header->len, "a safetensors file");
    if (code) return code;
    uint64_t len = header->len - 8;
    for (int i = 0; i < 8; i++) header->ptr[i] = (char)(len >> (8 * i) & 0xFF);
    for (size_t i = 0; i <= n; i++) begin[i] += header->len;
    return ERR_OK;
}
