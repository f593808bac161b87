/* Chat prompts that cannot be broken out of.
 *
 * Rendering gives one text, in which the special tokens of the template and those that a user typed look alike. So before rendering
 * a mark (a noncharacter of Unicode that the text does not contain) is put inside each special token that the user typed. The
 * rendered text is then tokenised with special tokens recognised, which finds exactly those of the template; the stretches between
 * them that carry a mark are tokenised again without the mark, as ordinary characters. */
#include "cli/prompt.h"
#include "cli/io.h"

#include <string.h>

enum { MARK_LEN = 3 };

typedef struct Guard {
    const Opened *e;
    char mark[MARK_LEN + 1];
    bool used;
} Guard;

static ErrCode ids_add(TextIds *list, const int32_t *ids, size_t n, Err *err) {
    if (list->n + n > list->cap) {
        size_t cap = 2 * (list->n + n) + 64;
        int32_t *more = mem_resize(list->ids, cap, sizeof *more);
        if (!more) return err_no_memory(err, cap * sizeof *more, "token ids");
        list->ids = more;
        list->cap = cap;
    }
    if (n) memcpy(list->ids + list->n, ids, n * sizeof *ids);
    list->n += n;
    return ERR_OK;
}

/* The token is one that only counts when special tokens are recognised. A token whose text is not valid UTF-8 is never special. */
static bool is_special(const Opened *e, int32_t id) {
    Buf text = {0};
    opened_token_text(e, id, &text);
    int32_t *with = NULL, *without = NULL;
    size_t n_with = 0, n_without = 0;
    bool special = !text.failed && text.len > 0 && !opened_tokenize(e, text.ptr, text.len, 0, &with, &n_with, NULL) &&
                   !opened_tokenize(e, text.ptr, text.len, SLUICE_NO_SPECIAL, &without, &n_without, NULL) && n_with == 1 &&
                   with[0] == id && !(n_without == 1 && without[0] == id);
    sluice_free(with);
    sluice_free(without);
    buf_free(&text);
    return special;
}

/* Puts the mark after the first character of every occurrence of `token` in text. */
static ErrCode put_marks(const Guard *g, Buf *text, Str token, Err *err) {
    size_t first = 1;
    while (first < token.len && ((unsigned char)token.ptr[first] & 0xC0) == 0x80) first++;
    if (first >= token.len)
        return err_set(err, ERR_UNSUPPORTED, "the prompt contains '%.*s', which this model reserves; leave it out or use --raw",
                       (int)token.len, token.ptr);
    Buf marked = {0};
    for (size_t i = 0; i < text->len;) {
        if (text->len - i >= token.len && memcmp(text->ptr + i, token.ptr, token.len) == 0) {
            buf_put(&marked, text->ptr + i, first);
            buf_put(&marked, g->mark, MARK_LEN);
            buf_put(&marked, text->ptr + i + first, token.len - first);
            i += token.len;
        } else {
            buf_putc(&marked, text->ptr[i++]);
        }
    }
    if (marked.failed) {
        buf_free(&marked);
        return err_no_memory(err, text->len, "the prompt");
    }
    buf_free(text);
    *text = marked;
    return ERR_OK;
}

/* Marks special tokens in text until tokenising with and without them gives the same. */
static ErrCode guard_text(Guard *g, Buf *text, Err *err) {
    for (int round = 0; round < 32; round++) {
        int32_t *with = NULL, *without = NULL;
        size_t n = 0, n_without = 0;
        ErrCode code = opened_tokenize(g->e, text->ptr, text->len, 0, &with, &n, err);
        if (!code) code = opened_tokenize(g->e, text->ptr, text->len, SLUICE_NO_SPECIAL, &without, &n_without, err);
        bool same = !code && n == n_without && memcmp(with, without, n * sizeof *with) == 0;
        for (size_t i = 0; !code && !same && i < n; i++) {
            if (!is_special(g->e, with[i])) continue;
            Buf token = {0};
            opened_token_text(g->e, with[i], &token);
            code = put_marks(g, text, str_make(token.ptr, token.len), err);
            buf_free(&token);
            g->used = true;
            break; /* one kind of token per round */
        }
        sluice_free(with);
        sluice_free(without);
        if (code || same) return code;
    }
    return err_set(err, ERR_UNSUPPORTED, "the prompt contains too many kinds of special tokens to be read as plain text; use --raw");
}

/* One stretch between special tokens: as it is, or again without its marks. */
static ErrCode add_stretch(const Guard *g, const int32_t *ids, size_t n, TextIds *out, Err *err) {
    Buf text = {0}, plain = {0};
    for (size_t i = 0; i < n; i++) opened_token_text(g->e, ids[i], &text);
    bool marked = false;
    for (size_t i = 0; i < text.len;) {
        if (text.len - i >= MARK_LEN && memcmp(text.ptr + i, g->mark, MARK_LEN) == 0) {
            marked = true;
            i += MARK_LEN;
        } else {
            buf_putc(&plain, text.ptr[i++]);
        }
    }
    ErrCode code;
    if (text.failed || plain.failed) {
        code = err_no_memory(err, text.len, "the prompt");
    } else if (!marked) {
        code = ids_add(out, ids, n, err);
    } else {
        int32_t *again = NULL;
        size_t n_again = 0;
        code = opened_tokenize(g->e, plain.ptr, plain.len, SLUICE_NO_SPECIAL, &again, &n_again, err);
        if (!code) code = ids_add(out, again, n_again, err);
        sluice_free(again);
    }
    buf_free(&text);
    buf_free(&plain);
    return code;
}

static ErrCode tokenize_rendered(const Guard *g, const char *rendered, TextIds *out, Err *err) {
    int32_t *ids = NULL;
    size_t n = 0, begin = 0;
    ErrCode code = opened_tokenize(g->e, rendered, strlen(rendered), 0, &ids, &n, err);
    if (!code && !g->used) {
        code = ids_add(out, ids, n, err);
    } else if (!code) {
        for (size_t i = 0; !code && i <= n; i++) {
            if (i < n && !is_special(g->e, ids[i])) continue;
            code = add_stretch(g, ids + begin, i - begin, out, err);
            if (!code && i < n) code = ids_add(out, &ids[i], 1, err);
            begin = i + 1;
        }
    }
    sluice_free(ids);
    return code;
}

/* The request in the form of `sluice render`. */
static bool put_request(const Buf *system, const Buf *text, PromptThink think, Buf *out) {
    json_t *messages = json_array(), *kwargs = json_pack("{s:b}", "add_generation_prompt", 1);
    if (system->len)
        json_array_append_new(messages, json_pack("{s:s,s:s%}", "role", "system", "content", system->ptr, system->len));
    json_array_append_new(messages, json_pack("{s:s,s:s%}", "role", "user", "content", text->ptr ? text->ptr : "", text->len));
    if (think != THINK_DEFAULT) json_object_set_new(kwargs, "enable_thinking", json_boolean(think == THINK_ON));
    json_t *request = json_pack("{s:o,s:n,s:o}", "messages", messages, "tools", "kwargs", kwargs);
    bool ok = json_write(request, out);
    json_decref(request);
    return ok;
}

/* The first noncharacter U+FDD0.. that neither text contains. */
static bool choose_mark(Guard *g, const Buf *a, const Buf *b) {
    for (int i = 0; i < 32; i++) {
        memcpy(g->mark, (const char[]){(char)0xEF, (char)0xB7, (char)(0x90 + i), 0}, sizeof g->mark);
        if (!(a->ptr && strstr(a->ptr, g->mark)) && !(b->ptr && strstr(b->ptr, g->mark))) return true;
    }
    return false;
}

ErrCode prompt_chat(const Opened *e, const char *system, const char *text, size_t len, PromptThink think, TextIds *out, Err *err) {
    if (memchr(text, 0, len)) return err_set(err, ERR_FORMAT, "the prompt contains a zero byte; is it a text?");
    Guard g = {.e = e};
    Buf user = {0}, sys = {0};
    buf_put(&user, text, len);
    if (system) buf_puts(&sys, system);
    ErrCode code = user.failed || sys.failed ? err_no_memory(err, len, "the prompt") : ERR_OK;
    if (!code && !choose_mark(&g, &user, &sys)) code = err_set(err, ERR_UNSUPPORTED, "the prompt contains all of U+FDD0..U+FDEF");
    if (!code && guard_text(&g, &user, err)) code = err_prefix(err, "the prompt");
    if (!code && sys.len && guard_text(&g, &sys, err)) code = err_prefix(err, "--system");
    if (!code) {
        Buf request = {0};
        sluice_error failure = {0};
        bool ok = put_request(&sys, &user, think, &request);
        char *rendered = ok ? sluice_render(e->model, request.ptr, &failure) : NULL;
        if (!ok) code = err_no_memory(err, len, "the chat request");
        else if (!rendered) code = opened_error(&failure, err);
        else code = tokenize_rendered(&g, rendered, out, err);
        sluice_free(rendered);
        buf_free(&request);
    }
    buf_free(&user);
    buf_free(&sys);
    return code;
}
