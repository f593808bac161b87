/* An answer from ids: bytes become characters, those reasoning, calls and content, and content is searched for stop strings
 * (src/answer/answer.c, src/text/stream.c, on calls*.c).
 *
 * Input: a byte of flags, a byte that says how the text is cut into tokens, stop strings (a line each, until an empty one), then the
 * bytes of the answer.
 * Property: what is told is whole characters and the same whatever tokens spell it; of a stop string nothing is told, and the first one
 * ends the answer. */
#include "fuzz/fuzz.h"

#include "answer/answer.h"
#include "fuzz/served.h"
#include "support/recording.h"

enum { PARTS = 1, THINKS = 2, INSIDE = 4, MOST_STOPS = 4 };

static sluice_model *model;
static int32_t id_of_byte[256];
static json_t *tools;

static void open_once(void) {
    sluice_options o = check_options(served_model("answers.gguf"));
    o.ctx = 16;
    model = open_or_fail(&o);
    for (int32_t id = 0; id < 256; id++) {
        char byte;
        assert_int_equal(sluice_token_text(model, id, &byte, 1), 1);
        id_of_byte[(unsigned char)byte] = id;
    }
    tools = json_pack("[{s:s,s:{s:{s:{s:s}}}}]", "name", "add", "parameters", "properties", "n", "type", "integer");
    assert_non_null(tools);
}

/* One of the few tokens of several bytes that stand here, or the byte's own. */
static int32_t id_at(Str text, size_t at, bool long_ones, size_t *n) {
    char bytes[64];
    for (int32_t id = MAKE_ENDOFTEXT - 1; long_ones && id >= 256; id--) {
        *n = sluice_token_text(model, id, bytes, sizeof bytes);
        if (*n && *n <= text.len - at && memcmp(bytes, text.ptr + at, *n) == 0) return id;
    }
    *n = 1;
    return id_of_byte[(unsigned char)text.ptr[at]];
}

typedef struct Told {
    Buf text; /* kinds and texts, neighbours joined */
    Buf content;
    AnswerFinish finish;
    Str stop;
} Told;

static void note(Told *t, const Answer *a, TextEventKind *last) {
    const TextEvents *e = answer_events(a);
    for (size_t i = 0; i < e->n; i++) {
        TextEventKind kind = e->items[i].kind;
        Str s = text_events_text(e, i);
        if (!utf8_valid(s.ptr ? s.ptr : "", s.len)) fail_msg("half a character is told: %.*s", (int)s.len, s.ptr);
        if (kind != *last || kind > TEXT_CONTENT) buf_printf(&t->text, "\x01%d", (int)kind);
        buf_put(&t->text, s.ptr, s.len);
        if (kind == TEXT_CONTENT) buf_put(&t->content, s.ptr, s.len);
        *last = kind;
    }
}

static Told answer(const AnswerSpec *spec, Str text, bool long_ones) {
    Err err = {0};
    Told t = {0};
    TextEventKind last = TEXT_CALL_END;
    Answer *a = answer_new(spec, &err);
    assert_non_null(a);
    for (size_t at = 0, n; at < text.len && !answer_finish(a); at += n) {
        answer_take(a, id_at(text, at, long_ones, &n), NULL);
        note(&t, a, &last);
        answer_told(a);
    }
    answer_end(a, ANSWER_STOP);
    note(&t, a, &last);
    assert_false(answer_failed(a));
    t.finish = answer_finish(a);
    for (size_t i = 0; i < spec->n_stops; i++)
        if (str_eq_c(answer_stop(a), spec->stops[i].ptr)) t.stop = spec->stops[i];
    answer_free(a);
    return t;
}

static void check_stops(const AnswerSpec *spec, const Told *t) {
    for (size_t i = 0; i < spec->n_stops; i++)
        if (t->content.len && strstr(t->content.ptr, spec->stops[i].ptr) && !spec->parts)
            fail_msg("'%s' is told, and '%s' stops", t->content.ptr, spec->stops[i].ptr);
    assert_true((t->finish == ANSWER_STOP_STRING) == (t->stop.len > 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    FuzzBytes in = {bytes, n};
    if (!model) open_once();
    unsigned flags = fuzz_byte(&in);
    char lines[MOST_STOPS][32];
    Str stops[MOST_STOPS];
    size_t n_stops = 0;
    for (unsigned c = 1, len = 0; n_stops < MOST_STOPS && c; len = 0) {
        while (len < sizeof lines[0] - 1 && (c = fuzz_byte(&in)) && c != '\n') lines[n_stops][len++] = (char)c;
        lines[n_stops][len] = 0;
        if (!len) break;
        utf8_clean(lines[n_stops]); /* as they come in JSON */
        stops[n_stops] = str_make(lines[n_stops], len);
        n_stops++;
    }
    TextCallsSpec parts = {.form = TEXT_FORM_QWEN_XML, .thinks = flags & THINKS, .inside_think = flags & INSIDE, .tools = tools};
    AnswerSpec spec = {.model = model, .parts = flags & PARTS ? &parts : NULL, .stops = stops, .n_stops = n_stops, .max_tokens = -1,
                       .likely = -1};
    Told a = answer(&spec, fuzz_rest(&in), false), b = answer(&spec, fuzz_rest(&in), true);
    assert_int_equal(a.finish, b.finish);
    assert_ptr_equal(a.stop.ptr, b.stop.ptr);
    assert_int_equal(a.text.len, b.text.len);
    if (a.text.len) assert_memory_equal(a.text.ptr, b.text.ptr, a.text.len);
    check_stops(&spec, &a);
    buf_free(&a.text), buf_free(&a.content);
    buf_free(&b.text), buf_free(&b.content);
    return 0;
}
