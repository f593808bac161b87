/* The split of a text into words by the tokenizer's own regular expression, run by PCRE2. The patterns are written for
 * Oniguruma; where the two differ the pattern is rewritten (\s is exactly Unicode's White_Space here) or refused by name. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "text/tokenizer_parts.h"

#include <pcre2.h>
#include <string.h>

#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define SPACES "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

static const char *named_pattern(TextSplit split) {
    switch (split) {
    case TEXT_SPLIT_NONE: return NULL;
    case TEXT_SPLIT_QWEN2:
        return CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|" SPACES;
    case TEXT_SPLIT_QWEN35:
        return CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|" SPACES;
    }
    return NULL;
}

/* ---- from Oniguruma to PCRE2 ---- */

/* The 25 characters of White_Space, as class members; and all others. */
#define WHITE "\\t-\\r \\x{85}\\x{A0}\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}\\x{202F}\\x{205F}\\x{3000}"
#define NOT_WHITE                                                                                                              \
    "\\x{0}-\\x{8}\\x{E}-\\x{1F}\\x{21}-\\x{84}\\x{86}-\\x{9F}\\x{A1}-\\x{167F}\\x{1681}-\\x{1FFF}\\x{200B}-\\x{2027}"         \
    "\\x{202A}-\\x{202E}\\x{2030}-\\x{205E}\\x{2060}-\\x{2FFF}\\x{3001}-\\x{10FFFF}"

/* One escape at p (after the backslash at p[-1]); returns how many bytes of p it takes, 0 when it may not be used. */
static size_t put_escape(const char *p, bool in_class, Buf *out) {
    if (*p == 's' || *p == 'S') {
        if (!in_class) buf_puts(out, *p == 's' ? "[" : "[^");
        buf_puts(out, *p == 'S' && in_class ? NOT_WHITE : WHITE);
        if (!in_class) buf_putc(out, ']');
        return 1;
    }
    size_t n = 1;
    if (*p == 'p' || *p == 'P') { /* \p{Name} */
        const char *close = p[1] == '{' ? strchr(p, '}') : NULL;
        if (!close) return 0;
        n = (size_t)(close - p) + 1;
    } else if (*p == 0 || (unsigned char)*p >= 0x80 || (*p >= '0' && *p <= '9')) {
        return 0;
    } else if (((*p | 32) >= 'a' && (*p | 32) <= 'z') && !strchr("rntfvd", *p)) {
        return 0; /* \w, \b, \h and others mean something else in the two languages */
    }
    if (*p == 'v') {
        buf_puts(out, "\\x{B}"); /* one character there, a whole class here */
        return 1;
    }
    buf_putc(out, '\\');
    buf_put(out, p, n);
    return n;
}

static ErrCode refuse(Err *err, const char *pattern, const char *p, size_t n) {
    return err_set(err, ERR_UNSUPPORTED, "the split pattern uses \"%.*s\" at position %zu, which is not supported", (int)n, p,
                   (size_t)(p - pattern));
}

static ErrCode translate(const char *pattern, Buf *out, Err *err) {
    bool in_class = false;
    for (const char *p = pattern; *p; p++) {
        if (*p == '\\') {
            size_t n = put_escape(p + 1, in_class, out);
            if (!n) return refuse(err, pattern, p, p[1] ? 2 : 1);
            p += n;
            continue;
        }
        if (in_class) {
            if (*p == '[' || (*p == '&' && p[1] == '&')) return refuse(err, pattern, p, *p == '[' ? 1 : 2);
            if (*p == ']') in_class = false;
        } else if (*p == '[') {
            in_class = true;
            if (p[1] == '^') buf_putc(out, *p++);
            if (p[1] == ']') return refuse(err, pattern, p, 2);
        } else if (*p == '^' || *p == '$') {
            return refuse(err, pattern, p, 1); /* of lines there, of the text here */
        } else if (*p == '{' && p[1] == ',') {
            return refuse(err, pattern, p, 2); /* from zero on there, just these characters here */
        } else if (*p == '(' && (p[1] == '*' || p[1] == '?')) {
            bool known = p[1] == '?' && (p[2] == ':' || p[2] == '!' || p[2] == '=' || (p[2] == 'i' && p[3] == ':'));
            if (!known) return refuse(err, pattern, p, p[1] == '?' && p[2] ? 3 : 2);
        } else if (*p == '}' && p[1] == '+') {
            return refuse(err, pattern, p, 2); /* greedy twice there, possessive here */
        }
        buf_putc(out, *p);
    }
    if (out->failed) return err_no_memory(err, strlen(pattern) * 8, "the split pattern");
    return ERR_OK;
}

/* ---- compiling ---- */

static void *take(size_t bytes, void *unused) {
    (void)unused;
    return mem_new(1, bytes);
}

static void give(void *ptr, void *unused) {
    (void)unused;
    mem_free(ptr);
}

static ErrCode compile(TextSplitter *s, const char *pattern, Err *err) {
    int code;
    size_t at;
    pcre2_compile_context *context = pcre2_compile_context_create(s->memory);
    if (!context) return err_no_memory(err, 0, "the split pattern");
    pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    s->code = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP, &code, &at, context);
    pcre2_compile_context_free(context);
    if (s->code) return ERR_OK;
    if (code == PCRE2_ERROR_HEAP_FAILED) return err_no_memory(err, 0, "the split pattern");
    char why[160] = "";
    pcre2_get_error_message(code, (PCRE2_UCHAR *)why, sizeof why);
    return err_set(err, ERR_FORMAT, "the split pattern does not compile: %s (position %zu after rewriting)", why, at);
}

ErrCode text_splitter_new(TextSplitter *s, TextSplit split, const char *pattern, Err *err) {
    memset(s, 0, sizeof *s);
    if (!pattern) pattern = named_pattern(split);
    if (!pattern) return ERR_OK;
    if (!utf8_valid(pattern, strlen(pattern))) return err_set(err, ERR_FORMAT, "the split pattern is not valid UTF-8");
    Buf rewritten = {0};
    ErrCode code = translate(pattern, &rewritten, err);
    if (code == ERR_OK && !rewritten.len) code = err_set(err, ERR_FORMAT, "the split pattern is empty");
    if (code == ERR_OK && !(s->memory = pcre2_general_context_create(take, give, NULL)))
        code = err_no_memory(err, 0, "the split pattern");
    if (code == ERR_OK) code = compile(s, rewritten.ptr, err);
    /* Machine code where the system allows it; without it the interpreter gives the same words, more slowly. */
    if (code == ERR_OK) s->jit = pcre2_jit_compile(s->code, PCRE2_JIT_COMPLETE) == 0;
    buf_free(&rewritten);
    if (code != ERR_OK) text_splitter_free(s);
    return code;
}

void text_splitter_free(TextSplitter *s) {
    pcre2_code_free(s->code);
    pcre2_general_context_free(s->memory);
    memset(s, 0, sizeof *s);
}

uint64_t text_splitter_bytes(const TextSplitter *s) {
    size_t size = 0, jit = 0;
    if (s->code) {
        pcre2_pattern_info(s->code, PCRE2_INFO_SIZE, &size);
        pcre2_pattern_info(s->code, PCRE2_INFO_JITSIZE, &jit);
    }
    return size + jit;
}

/* ---- walking over a text ---- */

ErrCode text_split_begin(TextSplitRun *run, const TextSplitter *s, size_t text_bytes_max, Err *err) {
    memset(run, 0, sizeof *run);
    run->splitter = s;
    if (!s->code) return ERR_OK;
    run->match = pcre2_match_data_create(1, s->memory);
    run->context = pcre2_match_context_create(s->memory);
    if (!run->match || !run->context) return err_no_memory(err, 0, "the split of a text");
    /* Giving back a run of spaces costs one step for each; a pattern that needs far more than that is out of hand. */
    uint64_t limit = 1000000 + (uint64_t)text_bytes_max * 16;
    pcre2_set_match_limit(run->context, limit > UINT32_MAX ? UINT32_MAX : (uint32_t)limit);
    return ERR_OK;
}

void text_split_end(TextSplitRun *run) {
    pcre2_match_data_free(run->match);
    pcre2_match_context_free(run->context);
    memset(run, 0, sizeof *run);
}

void text_split_text(TextSplitRun *run, const char *text, size_t len) {
    run->text = text;
    run->len = len;
    run->at = run->search = 0;
    run->pending = false;
}

/* The match at or after `search`, > 0; 0 for none; < 0 for PCRE2's errors. */
static int match_once(TextSplitRun *run) {
    const TextSplitter *s = run->splitter;
    PCRE2_SPTR text = (PCRE2_SPTR)run->text;
    int found = PCRE2_ERROR_JIT_STACKLIMIT;
    /* The text is known to be valid UTF-8. Checking it again for each word would cost its length each time. */
    if (s->jit) found = pcre2_jit_match(s->code, text, run->len, run->search, PCRE2_NO_UTF_CHECK, run->match, run->context);
    /* A very long word can overflow the machine code's small stack; the interpreter keeps its stack on the heap. */
    if (found == PCRE2_ERROR_JIT_STACKLIMIT)
        found = pcre2_match(s->code, text, run->len, run->search, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, run->match, run->context);
    if (found >= 0) return 1; /* 0: more groups than this match data can hold, which nobody asked for */
    return found == PCRE2_ERROR_NOMATCH ? 0 : found;
}

/* Finds the next match and makes it pending; without one, `search` becomes the end. */
static ErrCode find_match(TextSplitRun *run, Err *err) {
    int found = match_once(run);
    if (found == PCRE2_ERROR_NOMEMORY || found == PCRE2_ERROR_HEAPLIMIT) return err_no_memory(err, 0, "the split of a text");
    if (found < 0) {
        char why[160] = "";
        pcre2_get_error_message(found, (PCRE2_UCHAR *)why, sizeof why);
        return err_set(err, ERR_UNSUPPORTED, "the split pattern fails near byte %zu of the text: %s", run->search, why);
    }
    run->pending = found > 0;
    if (!run->pending) {
        run->search = run->len + 1;
        return ERR_OK;
    }
    const size_t *ends = pcre2_get_ovector_pointer(run->match);
    size_t start = run->match_start = ends[0], end = run->match_end = run->search = ends[1];
    if (end == start) run->search += end < run->len ? (size_t)text_utf8_char(run->text + end, run->len - end) : 1;
    return ERR_OK;
}

/* Matches and the text between them are words alike ("Isolated"). An empty match ends a word and is none itself. */
ErrCode text_split_next(TextSplitRun *run, size_t *start, size_t *n, Err *err) {
    *n = 0;
    if (!run->splitter->code) run->search = run->len + 1;
    while (run->at < run->len) {
        *start = run->at;
        if (!run->pending && run->search <= run->len) {
            ErrCode code = find_match(run, err);
            if (code != ERR_OK) return code;
        }
        size_t end = run->len;
        if (run->pending && run->at < run->match_start) {
            end = run->match_start;
        } else if (run->pending) {
            end = run->match_end;
            run->pending = false;
        }
        *n = end - run->at;
        run->at = end;
        if (*n) return ERR_OK;
    }
    return ERR_OK;
}
