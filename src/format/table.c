/* The table that every reader fills: files, tensors by name, and the checks that hold for every layout. */
#define _POSIX_C_SOURCE 200809L
#include "format/inner.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* ---- words ---- */

ErrCode format_bad(Err *err, const char *path, uint64_t offset, const char *fmt, ...) {
    char text[sizeof err->text];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    return err_set(err, ERR_FORMAT, "%s: at offset %llu: %s", path, (unsigned long long)offset, text);
}

const char *format_shown(Str name, char out[FORMAT_SHOWN_BYTES]) {
    size_t room = FORMAT_SHOWN_BYTES - 4; /* "..." and the NUL */
    size_t n = name.len < room ? name.len : room;
    bool utf8 = utf8_valid(name.ptr, name.len);
    if (utf8 && n < name.len) /* do not cut a character in two */
        while (n > 0 && ((unsigned char)name.ptr[n] & 0xC0) == 0x80) n--;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)name.ptr[i];
        out[i] = c < 0x20 || c == 0x7F || (c >= 0x80 && !utf8) ? '?' : (char)c;
    }
    memcpy(out + n, n < name.len ? "..." : "", n < name.len ? 4 : 1);
    return out;
}

bool format_name_ok(Str name) {
    for (size_t i = 0; i < name.len; i++)
        if ((unsigned char)name.ptr[i] < 0x20 || name.ptr[i] == 0x7F) return false;
    return utf8_valid(name.ptr, name.len);
}

/* ---- building ---- */

FormatModel *format_model_new(const char *path, FormatKind kind, Err *err) {
    FormatModel *m = MEM_NEW(FormatModel, 1);
    FormatInner *inner = MEM_NEW(FormatInner, 1);
    if (!m || !inner) {
        mem_free(m);
        mem_free(inner);
        err_no_memory(err, sizeof *m + sizeof *inner, "the tensor table");
        return NULL;
    }
    m->kind = kind;
    m->inner = inner;
    m->path = arena_strndup(&inner->arena, path, strlen(path));
    if (!m->path) {
        err_no_memory(err, strlen(path), "a path");
        format_close(m);
        return NULL;
    }
    return m;
}

/* Opening a FIFO waits until somebody writes to it, so the kind is asked before the file is opened. */
ErrCode format_refuse_special(const char *path, Err *err) {
    struct stat st;
    if (stat(path, &st) != 0 || S_ISREG(st.st_mode) || S_ISBLK(st.st_mode) || S_ISDIR(st.st_mode))
        return ERR_OK; /* os_open has the words for these */
    return err_set(err, ERR_IO, "%s: is a special file (a pipe, socket or device), not a regular file", path);
}

bool format_exists(const char *path) {
    struct stat st;
    return lstat(path, &st) == 0;
}

ErrCode format_add_file(FormatModel *m, const char *path, Err *err) {
    FormatInner *inner = m->inner;
    uint32_t n = m->n_files;
    FormatFile *files = mem_resize(m->files, (size_t)n + 1, sizeof *files);
    if (files) m->files = files;
    OsFile *handles = mem_resize(inner->handles, (size_t)n + 1, sizeof *handles);
    if (handles) inner->handles = handles;
    char *own = arena_strndup(&inner->arena, path, strlen(path));
    if (!files || !handles || !own) return err_no_memory(err, (n + 1) * (sizeof *files + sizeof *handles), "the file table");
    ErrCode code = format_refuse_special(path, err);
    if (!code) code = os_open(&handles[n], own, false, err);
    if (code) return code;
    files[n] = (FormatFile){own, 0, handles[n].size};
    m->n_files = n + 1;
    return ERR_OK;
}

ErrCode format_reserve_tensors(FormatModel *m, uint64_t n, Err *err) {
    uint64_t total = m->n_tensors + n;
    if (total > UINT32_MAX / 2) return err_set(err, ERR_FORMAT, "%s: %llu tensors are too many", m->path, (unsigned long long)total);
    FormatTensor *tensors = mem_resize(m->tensors, (size_t)total, sizeof *tensors);
    if (tensors) m->tensors = tensors;
    if (!tensors || !strmap_reserve(&m->inner->tensors, (uint32_t)total))
        return err_no_memory(err, total * sizeof *tensors, "the tensor table");
    return ERR_OK;
}

ErrCode format_add_tensor(FormatModel *m, const FormatTensor *t, uint64_t at, Err *err) {
    bool existed;
    if (!strmap_put(&m->inner->tensors, t->name, m->n_tensors, &existed)) {
        if (!existed) return err_no_memory(err, t->name.len, "the tensor table");
        uint32_t first = 0;
        strmap_get(&m->inner->tensors, t->name, &first);
        char shown[FORMAT_SHOWN_BYTES];
        return format_bad(err, m->files[t->file].path, at, "a second tensor is named '%s' (the first is in %s)",
                          format_shown(t->name, shown), m->files[m->tensors[first].file].path);
    }
    m->tensors[m->n_tensors++] = *t;
    return ERR_OK;
}

/* ---- checks ---- */

ErrCode format_measure(FormatTensor *t, const char *path, uint64_t at, Err *err) {
    const QuantTraits *q = quant_traits(t->type);
    char shown[FORMAT_SHOWN_BYTES];
    uint64_t row = t->n_dims ? t->dims[t->n_dims - 1] : 1, elements = 1, rows = 1;
    bool fits = true, empty = false;
    for (int i = 0; i < t->n_dims; i++) {
        uint64_t n = t->dims[i] ? t->dims[i] : 1; /* the rest of an empty tensor's shape must make sense too */
        empty = empty || t->dims[i] == 0;
        fits = fits && mul_u64(elements, n, &elements);
        if (i + 1 < t->n_dims) rows = elements;
    }
    fits = fits && mul_u64(row / q->block_elems, q->block_bytes, &t->bytes) && mul_u64(t->bytes, rows, &t->bytes);
    if (empty) t->bytes = 0;
    if (!fits) return format_bad(err, path, at, "the dimensions of tensor '%s' overflow", format_shown(t->name, shown));
    if (row % q->block_elems)
        return format_bad(err, path, at, "the rows of tensor '%s' have %llu elements, not a multiple of the %u of a %s block",
                          format_shown(t->name, shown), (unsigned long long)row, q->block_elems, t->type_name);
    return ERR_OK;
}

static int by_offset(const void *a, const void *b) {
    const FormatTensor *const *x = a, *const *y = b;
    if ((*x)->offset != (*y)->offset) return (*x)->offset < (*y)->offset ? -1 : 1;
    if ((*x)->bytes != (*y)->bytes) return (*x)->bytes < (*y)->bytes ? -1 : 1; /* empty tensors first */
    return 0;
}

static ErrCode check_sorted(const FormatModel *m, const FormatTensor **sorted, uint32_t n, uint64_t begin, uint64_t end, bool whole,
                            Err *err) {
    char a[FORMAT_SHOWN_BYTES], b[FORMAT_SHOWN_BYTES];
    const FormatTensor *last = NULL;
    uint64_t at = begin;
    for (uint32_t i = 0; i < n; i++) {
        const FormatTensor *t = sorted[i];
        const char *path = m->files[t->file].path;
        if (t->bytes == 0) continue;
        if (t->offset < at)
            return format_bad(err, path, t->offset, "tensor '%s' overlaps tensor '%s'", format_shown(t->name, a),
                              format_shown(last ? last->name : t->name, b));
        if (whole && t->offset > at)
            return format_bad(err, path, at, "%llu bytes before tensor '%s' belong to no tensor",
                              (unsigned long long)(t->offset - at), format_shown(t->name, a));
        at = t->offset + t->bytes;
        last = t;
    }
    if (whole && at != end)
        return format_bad(err, m->files[m->n_files - 1].path, at, "the last tensor ends here but %llu more bytes follow",
                          (unsigned long long)(end - at));
    return ERR_OK;
}

ErrCode format_check_spans(const FormatModel *m, uint32_t first, uint64_t begin, uint64_t end, bool whole, Err *err) {
    uint32_t n = m->n_tensors - first;
    const FormatTensor **sorted = mem_new(n, sizeof *sorted);
    if (!sorted) return err_no_memory(err, (uint64_t)n * sizeof *sorted, "checking a tensor table");
    bool ascending = true;
    for (uint32_t i = 0; i < n; i++) {
        sorted[i] = &m->tensors[first + i];
        if (i > 0 && by_offset(&sorted[i - 1], &sorted[i]) > 0) ascending = false;
    }
    if (!ascending) qsort(sorted, n, sizeof *sorted, by_offset);
    ErrCode code = check_sorted(m, sorted, n, begin, end, whole, err);
    mem_free(sorted);
    return code;
}
