/* The buffered reader of headers: see reader.h. */
#include "format/reader.h"

#include <string.h>

enum { FORMAT_READER_BYTES = 64 * 1024 };

ErrCode format_reader_init(FormatReader *r, const OsFile *file, const FormatFile *where, Err *err) {
    memset(r, 0, sizeof *r);
    r->file = file;
    r->path = where->path;
    r->at = where->base;
    r->end = where->size;
    r->limit = r->end - r->at > FORMAT_HEADER_MAX ? r->at + FORMAT_HEADER_MAX : r->end;
    r->err = err;
    r->buf = mem_new(FORMAT_READER_BYTES, 1);
    return r->buf ? ERR_OK : err_no_memory(err, FORMAT_READER_BYTES, "reading a header");
}

void format_reader_free(FormatReader *r) {
    mem_free(r->buf);
    r->buf = NULL;
}

static ErrCode too_short(const FormatReader *r, const char *what) {
    if (r->limit < r->end)
        return format_bad(r->err, r->path, r->at, "%s would make the header longer than %llu MiB; the file is damaged", what,
                          (unsigned long long)(FORMAT_HEADER_MAX >> 20));
    return format_bad(r->err, r->path, r->at, "the file ends inside %s (at %llu); it is truncated or damaged, fetch it again", what,
                      (unsigned long long)r->end);
}

static ErrCode fill(FormatReader *r) {
    uint64_t left = r->limit - r->at;
    uint32_t n = left < FORMAT_READER_BYTES ? (uint32_t)left : FORMAT_READER_BYTES;
    ErrCode code = os_pread(r->file, r->path, r->buf, n, r->at, r->err);
    r->next = 0;
    r->have = code ? 0 : n;
    return code;
}

ErrCode format_reader_bytes(FormatReader *r, void *dst, uint64_t n, const char *what) {
    if (n > r->limit - r->at) return too_short(r, what);
    uint8_t *out = dst;
    while (n > 0) {
        if (r->next == r->have) {
            ErrCode code = fill(r);
            if (code) return code;
        }
        uint32_t take = r->have - r->next;
        if (take > n) take = (uint32_t)n;
        memcpy(out, r->buf + r->next, take);
        r->next += take;
        r->at += take;
        out += take;
        n -= take;
    }
    return ERR_OK;
}

ErrCode format_reader_u32(FormatReader *r, uint32_t *v, const char *what) {
    uint8_t b[4] = {0};
    ErrCode code = format_reader_bytes(r, b, 4, what);
    if (!code) *v = (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
    return code;
}

ErrCode format_reader_u64(FormatReader *r, uint64_t *v, const char *what) {
    uint32_t lo = 0, hi = 0;
    ErrCode code = format_reader_u32(r, &lo, what);
    if (!code) code = format_reader_u32(r, &hi, what);
    if (!code) *v = (uint64_t)hi << 32 | lo;
    return code;
}

ErrCode format_reader_room(FormatReader *r, uint64_t n, uint64_t min_bytes, const char *what) {
    if (n <= (r->limit - r->at) / min_bytes) return ERR_OK;
    return format_bad(r->err, r->path, r->at, "%llu %s cannot be in the %llu bytes that follow; the file is truncated or damaged",
                      (unsigned long long)n, what, (unsigned long long)(r->limit - r->at));
}

ErrCode format_reader_str(FormatReader *r, Arena *arena, uint64_t max, Str *s, const char *what) {
    uint64_t at = r->at, len = 0;
    ErrCode code = format_reader_u64(r, &len, what);
    if (code) return code;
    if (len > max)
        return format_bad(r->err, r->path, at, "%s is %llu bytes long, more than the %llu allowed", what, (unsigned long long)len,
                          (unsigned long long)max);
    if (len > r->limit - r->at) return too_short(r, what);
    char *own = arena_alloc(arena, (size_t)len + 1, 1);
    if (!own) return err_no_memory(r->err, len + 1, "a string of the header");
    *s = str_make(own, (size_t)len);
    return format_reader_bytes(r, own, len, what);
}
