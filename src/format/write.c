/* Writing a safetensors file: tensors of wide elements first, so that each lies aligned to its element, as readers that map the
 * file like it. */
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

/* The type's name and the tensor's size, or what is wrong with it. */
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

ErrCode format_write_safetensors(const char *path, const FormatOut *tensors, size_t n, Err *err) {
    static const uint32_t widths[] = {8, 4, 2, 1};
    Buf header = {0}, data = {0};
    StrMap names = {0};
    ErrCode code = ERR_OK;
    buf_puts(&header, "12345678{"); /* the length goes to the front at the end */
    for (size_t w = 0; w < COUNT_OF(widths); w++)
        for (size_t i = 0; i < n && !code; i++) {
            const FormatOut *o = &tensors[i];
            uint64_t bytes = 0;
            bool existed = false;
            code = measure(o, path, &bytes, err);
            if (code || quant_traits(o->type)->block_bytes != widths[w]) continue;
            if (!strmap_put(&names, str_c(o->name), 0, &existed)) {
                code = existed ? err_set(err, ERR_USAGE, "%s: two tensors are named '%s'", path, o->name)
                               : err_no_memory(err, strlen(o->name), "a safetensors file");
                continue;
            }
            if (header.len > 9) buf_putc(&header, ',');
            put_entry(&header, o, data.len, data.len + bytes);
            buf_put(&data, o->data, (size_t)bytes);
        }
    buf_putc(&header, '}');
    while (!header.failed && header.len % 8) buf_putc(&header, ' ');
    if (!code && !header.failed) {
        uint64_t len = header.len - 8;
        for (int i = 0; i < 8; i++) header.ptr[i] = (char)(len >> (8 * i) & 0xFF);
    }
    buf_put(&header, data.ptr, data.len);
    if (!code && (header.failed || data.failed)) code = err_no_memory(err, header.len + data.len, "a safetensors file");
    if (!code) code = os_write_file(path, header.ptr, header.len, err);
    strmap_free(&names);
    buf_free(&header);
    buf_free(&data);
    return code;
}
