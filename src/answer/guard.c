/* Prompts that cannot be broken out of.
 *
 * Rendering gives one text, in which the special tokens of the template and those that somebody typed look alike. So before rendering
 * a mark (a noncharacter of Unicode that the request does not contain) is put inside each special token that was typed. The rendered
 * text is then tokenised with special tokens recognised, which finds exactly those of the template; the stretches between them that
 * carry a mark are tokenised again without the mark, as ordinary characters. Another mark stands for the zero byte, at which the rendered
 * text would end. */
#include "answer/inside.h"

#include <string.h>

ErrCode answer_guard_open(AnswerGuard *g, const sluice_model *model, Err *err) {
    sluice_info info;
    sluice_get_info(model, &info);
    size_t n = 0;
    g->model = model;
    for (int32_t id = 0; id < info.vocab; id++) n += sluice_is_special(model, id);
    g->specials = MEM_NEW(Str, n ? n : 1);
    for (int32_t id = 0; id < info.vocab; id++)
        if (sluice_is_special(model, id)) answer_token_bytes(model, id, &g->texts);
    if (!g->specials || g->texts.failed) return err_no_memory(err, g->texts.len, "the special tokens");
    const char *at = g->texts.ptr;
    for (int32_t id = 0; id < info.vocab; id++) {
        if (!sluice_is_special(model, id)) continue;
        size_t len = sluice_token_text(model, id, NULL, 0);
        if (len) g->first[(unsigned char)*at] = true;
        if (len) g->specials[g->n++] = str_make(at, len);
        at += len;
    }
    return ERR_OK;
}

void answer_guard_close(AnswerGuard *g) {
    buf_free(&g->texts);
    mem_free(g->specials);
}

/* ---- marking ------------------------------------------------------------------------------------------------------- */

/* The longest special token that stands here. */
static Str special_at(const AnswerGuard *g, Str text, size_t at) {
    Str best = {"", 0};
    if (!g->first[(unsigned char)text.ptr[at]]) return best;
    for (size_t i = 0; i < g->n; i++) {
        Str s = g->specials[i];
        if (s.len > best.len && s.len <= text.len - at && memcmp(text.ptr + at, s.ptr, s.len) == 0) best = s;
    }
    return best;
}

static ErrCode put_marked(const AnswerGuard *g, AnswerMark *mark, Str text, bool assistant, Buf *out, Err *err) {
    for (size_t at = 0; at < text.len; at++) {
        if (!text.ptr[at]) {
            buf_put(out, mark->zero, ANSWER_MARK_LEN);
            mark->used = true;
            continue;
        }
        Str token = special_at(g, text, at);
        buf_putc(out, text.ptr[at]);
        if (!token.len || (assistant && (str_eq_c(token, "<think>") || str_eq_c(token, "</think>")))) continue;
        size_t first = 1; /* bytes of its first character */
        while (first < token.len && ((unsigned char)token.ptr[first] & 0xC0) == 0x80) buf_putc(out, text.ptr[at + first++]);
        at += first - 1;
        if (first == token.len)
            return err_set(err, ERR_UNSUPPORTED, "a message contains '%.*s', which this model reserves; leave it out", (int)token.len,
                           token.ptr);
        buf_put(out, mark->bytes, ANSWER_MARK_LEN);
        mark->used = true;
    }
    return ERR_OK;
}

static json_t *copy_string(const AnswerGuard *g, AnswerMark *mark, Str text, bool assistant, Err *err) {
    Buf marked = {0};
    json_t *copy = NULL;
    buf_puts(&marked, "");
    if (!put_marked(g, mark, text, assistant, &marked, err)) {
        copy = marked.failed ? NULL : json_stringn_nocheck(marked.ptr, marked.len);
        if (!copy) err_no_memory(err, text.len, "a message");
    }
    buf_free(&marked);
    return copy;
}

static bool copy_members(const AnswerGuard *g, AnswerMark *mark, const json_t *object, bool assistant, json_t *out, Err *err) {
    for (void *it = json_object_iter((json_t *)object); it; it = json_object_iter_next((json_t *)object, it)) {
        Buf key = {0};
        buf_puts(&key, "");
        bool ok = !put_marked(g, mark, str_c(json_object_iter_key(it)), assistant, &key, err);
        json_t *value = ok ? answer_guard_copy(g, mark, json_object_iter_value(it), assistant, err) : NULL;
        if (value && (key.failed || json_object_set_new_nocheck(out, key.ptr, value))) ok = (err_no_memory(err, 0, "a message"), false);
        buf_free(&key);
        if (!ok || !value) return false;
    }
    return true;
}

json_t *answer_guard_copy(const AnswerGuard *g, AnswerMark *mark, const json_t *value, bool assistant, Err *err) {
    if (json_is_string(value))
        return copy_string(g, mark, str_make(json_string_value(value), json_string_length(value)), assistant, err);
    if (!json_is_array(value) && !json_is_object(value)) return json_incref((json_t *)value);
    json_t *out = json_is_array(value) ? json_array() : json_object();
    bool ok = out != NULL;
    if (!ok) err_no_memory(err, 0, "a message");
    for (size_t i = 0; ok && i < json_array_size(value); i++) {
        json_t *one = answer_guard_copy(g, mark, json_array_get(value, i), assistant, err);
        ok = one && json_array_append_new(out, one) == 0;
    }
    if (ok && json_is_object(value)) ok = copy_members(g, mark, value, assistant, out, err);
    if (ok) return out;
    json_decref(out);
    return NULL;
}

/* ---- tokenising ---------------------------------------------------------------------------------------------------- */

static ErrCode tokenize(const sluice_model *model, Str text, unsigned flags, TextIds *out, Err *err) {
    sluice_error failure = {0};
    int32_t *ids = NULL;
    size_t n;
    if (text.len == 0) return ERR_OK;
    if (sluice_tokenize(model, text.ptr, text.len, flags, &ids, &n, &failure))
        return err_set(err, (ErrCode)failure.code, "%s", failure.message);
    ErrCode code = answer_ids_put(out, ids, n) ? ERR_OK : err_no_memory(err, n * sizeof *ids, "the prompt");
    sluice_free(ids);
    return code;
}

/* One stretch between special tokens: as it is, or again without its marks. */
static ErrCode put_stretch(const AnswerGuard *g, const AnswerMark *mark, const int32_t *ids, size_t n, TextIds *out, Err *err) {
    Buf text = {0}, plain = {0};
    for (size_t i = 0; i < n; i++) answer_token_bytes(g->model, ids[i], &text);
    size_t done = 0;
    for (size_t at = 0; at + ANSWER_MARK_LEN <= text.len; at++) {
        bool zero = memcmp(text.ptr + at, mark->zero, ANSWER_MARK_LEN) == 0;
        if (!zero && memcmp(text.ptr + at, mark->bytes, ANSWER_MARK_LEN) != 0) continue;
        buf_put(&plain, text.ptr + done, at - done);
        if (zero) buf_putc(&plain, 0);
        done = at + ANSWER_MARK_LEN;
        at = done - 1;
    }
    ErrCode code;
    if (done) buf_put(&plain, text.ptr + done, text.len - done);
    if (text.failed || plain.failed) code = err_no_memory(err, text.len, "the prompt");
    else if (done) code = tokenize(g->model, str_make(plain.ptr, plain.len), SLUICE_NO_SPECIAL, out, err);
    else code = answer_ids_put(out, ids, n) ? ERR_OK : err_no_memory(err, n * sizeof *ids, "the prompt");
    buf_free(&text);
    buf_free(&plain);
    return code;
}

ErrCode answer_guard_tokenize(const AnswerGuard *g, const AnswerMark *mark, Str text, TextIds *out, Err *err) {
    if (!mark->used) return tokenize(g->model, text, 0, out, err);
    TextIds all = {0};
    ErrCode code = tokenize(g->model, text, 0, &all, err);
    for (size_t i = 0, begin = 0; !code && i <= all.n; i++) {
        if (i < all.n && !sluice_is_special(g->model, all.ids[i])) continue;
        code = put_stretch(g, mark, all.ids + begin, i - begin, out, err);
        if (!code && i < all.n && !answer_ids_put(out, &all.ids[i], 1)) code = err_no_memory(err, 0, "the prompt");
        begin = i + 1;
    }
    text_ids_free(&all);
    return code;
}
