/* A GGUF model of one or several files. The parts of a split one are named STEM-00001-of-0000N.gguf; each has its own header
 * with split.no, split.count and split.tensors.count, and tensors of its own (the first often has none). The metadata stands in
 * the first part. Whichever part the user names, all are opened, in order. */
#include "format/gguf.h"

#include <string.h>

enum { SPLIT_SUFFIX_BYTES = 20 }; /* "-00001-of-00003.gguf" */

typedef struct Split {
    uint64_t no, count, tensors; /* no counts from 0; count 1: not split */
} Split;

static bool five_digits(const char *s, uint32_t *v) {
    *v = 0;
    for (int i = 0; i < 5; i++) {
        if (s[i] < '0' || s[i] > '9') return false;
        *v = *v * 10 + (uint32_t)(s[i] - '0');
    }
    return true;
}

/* Takes a part's path apart: the stem's length, the number (from 1) and the count. */
static bool split_name(const char *path, size_t *stem, uint32_t *no, uint32_t *count) {
    size_t len = strlen(path);
    if (len < SPLIT_SUFFIX_BYTES) return false;
    const char *s = path + len - SPLIT_SUFFIX_BYTES;
    *stem = len - SPLIT_SUFFIX_BYTES;
    return s[0] == '-' && five_digits(s + 1, no) && memcmp(s + 6, "-of-", 4) == 0 && five_digits(s + 10, count) &&
           strcmp(s + 15, ".gguf") == 0;
}

static ErrCode split_key(const GgufPart *p, const char *name, uint64_t *v, bool *there, Err *err) {
    const FormatKey *k = format_gguf_part_key(p, name);
    *there = k != NULL;
    if (!k || (!k->is_array && format_key_u64(k, 0, v))) return ERR_OK;
    return err_set(err, ERR_FORMAT, "%s: the key %s is not a whole number", p->reader.path, name);
}

static ErrCode split_of(const GgufPart *p, Split *s, Err *err) {
    bool has_no = false, has_count = false, has_tensors = false;
    *s = (Split){0, 1, 0};
    ErrCode code = split_key(p, "split.count", &s->count, &has_count, err);
    if (!code) code = split_key(p, "split.no", &s->no, &has_no, err);
    if (!code) code = split_key(p, "split.tensors.count", &s->tensors, &has_tensors, err);
    if (code) return code;
    if (!has_count && (has_no || has_tensors))
        return err_set(err, ERR_FORMAT, "%s: the keys of a split file are incomplete: split.count is missing", p->reader.path);
    if (!has_count || s->count == 1) return ERR_OK;
    if (!has_no || !has_tensors)
        return err_set(err, ERR_FORMAT, "%s: the keys of a split file are incomplete: %s is missing", p->reader.path,
                       has_no ? "split.tensors.count" : "split.no");
    if (s->count == 0 || s->count > 65535 || s->no >= s->count)
        return err_set(err, ERR_FORMAT, "%s: split.no %llu and split.count %llu do not fit together", p->reader.path,
                       (unsigned long long)s->no, (unsigned long long)s->count);
    return ERR_OK;
}

static ErrCode check_name(const GgufPart *p, const Split *s, size_t *stem, Err *err) {
    uint32_t no = 0, count = 0;
    if (!split_name(p->reader.path, stem, &no, &count))
        return err_set(err, ERR_FORMAT,
                       "%s: part %llu of %llu of a split model, but its name does not end in -%05llu-of-%05llu.gguf, so the other "
                       "parts cannot be found; give the parts their original names",
                       p->reader.path, (unsigned long long)s->no + 1, (unsigned long long)s->count, (unsigned long long)s->no + 1,
                       (unsigned long long)s->count);
    if (no != s->no + 1 || count != s->count)
        return err_set(err, ERR_FORMAT, "%s: the name says part %u of %u, but split.no and split.count say part %llu of %llu",
                       p->reader.path, no, count, (unsigned long long)s->no + 1, (unsigned long long)s->count);
    return ERR_OK;
}

/* The first part's keys become the model's. */
static ErrCode read_first(FormatModel *m, uint32_t file, Split *s, size_t *stem, Err *err) {
    GgufPart p = {.arena = &m->inner->metadata, .names = &m->inner->keys};
    ErrCode code = format_gguf_part_read(&p, m, file, err);
    m->keys = p.keys;
    m->n_keys = p.n_keys;
    if (!code) code = split_of(&p, s, err);
    if (!code && s->count > 1) code = check_name(&p, s, stem, err);
    return code;
}

/* Later parts repeat only the split keys, which must agree; their other keys are dropped. */
static ErrCode read_later(FormatModel *m, uint32_t file, const Split *first, Err *err) {
    Arena arena = {0};
    StrMap names = {0};
    GgufPart p = {.arena = &arena, .names = &names};
    Split s = {0};
    size_t stem;
    ErrCode code = format_gguf_part_read(&p, m, file, err);
    if (!code) code = split_of(&p, &s, err);
    if (!code && s.count == 1)
        code = err_set(err, ERR_FORMAT, "%s: part %u of %llu by its name, but it has no split keys", p.reader.path, file + 1,
                       (unsigned long long)first->count);
    if (!code) code = check_name(&p, &s, &stem, err);
    if (!code && s.tensors != first->tensors)
        code = err_set(err, ERR_FORMAT, "%s: split.tensors.count is %llu, but %llu in the first part; the parts are not of one model",
                       p.reader.path, (unsigned long long)s.tensors, (unsigned long long)first->tensors);
    mem_free(p.keys);
    strmap_free(&names);
    arena_free(&arena);
    return code;
}

static ErrCode add_part(FormatModel *m, const char *path, size_t stem, uint64_t no, uint64_t count, Err *err) {
    Buf name = {0};
    buf_put(&name, path, stem);
    buf_printf(&name, "-%05llu-of-%05llu.gguf", (unsigned long long)no, (unsigned long long)count);
    ErrCode code = name.failed ? err_no_memory(err, stem, "a path") : format_add_file(m, name.ptr, err);
    buf_free(&name);
    if (code && code != ERR_MEMORY)
        err_prefix(err, "part %llu of %llu of a split model", (unsigned long long)no, (unsigned long long)count);
    return code;
}

static ErrCode read_others(FormatModel *m, const char *path, size_t stem, const Split *first, Err *err) {
    ErrCode code = ERR_OK;
    for (uint32_t i = 1; i < first->count && !code; i++) {
        code = add_part(m, path, stem, i + 1, first->count, err);
        if (!code) code = read_later(m, i, first, err);
    }
    if (!code && m->n_tensors != first->tensors)
        code = err_set(err, ERR_FORMAT,
                       "%s: split.tensors.count is %llu, but the %llu parts hold %u tensors; a part is damaged or of another model",
                       path, (unsigned long long)first->tensors, (unsigned long long)first->count, m->n_tensors);
    return code;
}

/* The user may name a later part: then its number and count come from its name, and the reading starts with the first. */
ErrCode format_gguf_open(FormatModel *m, const char *path, uint64_t base, uint64_t bytes, bool embedded, Err *err) {
    Split s = {0, 1, 0};
    size_t stem = 0;
    uint32_t no = 0, count = 0;
    bool later = !embedded && split_name(path, &stem, &no, &count) && no > 1 && no <= count;
    ErrCode code = later ? add_part(m, path, stem, 1, count, err) : format_add_file(m, path, err);
    if (code) return code;
    if (embedded) {
        FormatFile *f = &m->files[0];
        uint64_t end;
        if (!add_u64(base, bytes, &end) || end > f->size)
            return err_set(err, ERR_FORMAT, "%s: the embedded model should lie at %llu with %llu bytes, but the file ends at %llu",
                           f->path, (unsigned long long)base, (unsigned long long)bytes, (unsigned long long)f->size);
        f->base = base;
        f->size = end;
    }
    code = read_first(m, 0, &s, &stem, err);
    if (!code && later && s.count == 1)
        return err_set(err, ERR_FORMAT, "%s: part 1 of %u by its name, but it has no split keys", m->files[0].path, count);
    if (code || s.count == 1) return code;
    if (embedded) return err_set(err, ERR_UNSUPPORTED, "%s: an embedded model cannot be split", path);
    return read_others(m, path, stem, &s, err);
}
