/* Requests without their connection: the body as each API reads it, rendered and cut into tokens, with the rule it asks for; then an
 * answer as that API writes it (src/serve/openai_*.c, anthropic*.c, ask.c, fields.c, text.c, rule.c).
 *
 * Input: a byte for the endpoint, the JSON of the body, and after a line "----" the bytes of an answer.
 * Property: an ask whose numbers are within their bounds, or a refusal with a status of 4xx that can be written as JSON; what a stream
 * says is JSON line by line, and so is the answer as a whole. */
#include "fuzz/fuzz.h"

#include "fuzz/served.h"
#include "serve/http.h"
#include "support/recording.h"
#include "text/text.h"

enum { CONTEXT = 512, CHOICES_TOLD = 3 };

static const ServeShape *const shapes[] = {&SERVE_OPENAI_CHAT, &SERVE_OPENAI_COMPLETIONS, &SERVE_OPENAI_RESPONSES, &SERVE_ANTHROPIC,
                                           &SERVE_ANTHROPIC_COUNT};
static Serve serve;

static void open_once(void) {
    static ServeConfig config = {.parallel = 2, .model_name = "tiny", .host = "127.0.0.1"};
    Err err = {0};
    sluice_options o = check_options(served_model("shapes.gguf"));
    o.ctx = CONTEXT;
    o.text_bytes = 1 << 20;
    serve.config = &config;
    serve.model = (ServeModel){.model = open_or_fail(&o), .name = config.model_name, .created = 1};
    sluice_get_info(serve.model.model, &serve.model.info);
    sluice_sampling_default(serve.model.model, &serve.model.sampling);
    serve_purse_open(&serve.purse, 0);
    serve.prompts = answer_prompts_new(serve.model.model, 1 << 16, &err);
    assert_non_null(serve.prompts);
    assert_int_equal(pthread_mutex_init(&serve.text, NULL), 0);
}

/* ---- what was read ----------------------------------------------------------------------------------------------- */

static void check_refusal(const ServeShape *shape, const ServeRefusal *no) {
    Buf out = {0};
    if (no->status < 400 || no->status > 499) fail_msg("status %d: %s", no->status, no->text);
    fuzz_sentence(no->text);
    json_t *error = shape->error(no);
    if (!error) fail_msg("no JSON of field '%s': %s", no->field, no->text);
    assert_true(text_json_put(error, &out));
    json_decref(error);
    buf_free(&out);
}

static void check_ask(const ServeAsk *ask) {
    assert_in_range(ask->n_prompts, 1, 1 << 20);
    assert_in_range(ask->choices, 1, SERVE_MOST_CHOICES);
    assert_in_range(ask->n_stops, 0, SERVE_MOST_STOPS);
    assert_in_range(ask->logprobs + 1, 0, SERVE_MOST_LOGPROBS + 1);
    assert_true(ask->max_tokens >= -1);
    for (size_t i = 0; i < ask->n_prompts; i++) {
        assert_in_range(ask->prompts[i].n, 1, CONTEXT);
        for (size_t k = 0; k < ask->prompts[i].n; k++) assert_in_range(ask->prompts[i].ids[k], 0, serve.model.info.vocab - 1);
    }
    for (size_t i = 0; i < ask->n_stops; i++) assert_true(ask->stops[i].len > 0);
}

/* ---- an answer ----------------------------------------------------------------------------------------------------- */

typedef struct Telling {
    const ServeShape *shape;
    ServeReply reply;
    ServeAnswer answer;
    ServeLikely rows[1 + SERVE_MOST_LOGPROBS];
    FuzzBytes in;
} Telling;

/* Each "data:" is JSON, and nothing else stands in a stream but "event:" and comments. */
static void check_stream(const Buf *out) {
    for (size_t at = 0; at < out->len;) {
        const char *line = out->ptr + at, *end = memchr(line, '\n', out->len - at);
        if (!end) fail_msg("a line without an end: %s", line);
        Str s = str_make(line, (size_t)(end - line));
        at += s.len + 1;
        Err err = {0};
        if (s.len == 0 || str_starts(s, "event: ") || str_starts(s, ":") || str_eq_c(s, "data: [DONE]")) continue;
        if (!str_starts(s, "data: ")) fail_msg("a stream says %.*s", (int)s.len, s.ptr);
        json_t *value = text_json_load(s.ptr + 6, s.len - 6, &err);
        if (!value) fail_msg("%.*s: %s", (int)s.len, s.ptr, err.text);
        json_decref(value);
    }
}

static void tell(Telling *t, ServeEvent *e) {
    Buf out = {0};
    if (t->reply.ask->logprobs >= 0 && (e->kind == SERVE_TEXT || e->kind == SERVE_FINISH)) {
        e->n_top = t->reply.ask->logprobs;
        e->rows = t->rows;
        e->n_rows = 1;
    }
    if (t->shape->stream) t->shape->stream(&t->reply, e, &out);
    assert_false(out.failed);
    check_stream(&out);
    assert_true(serve_answer_add(&t->answer, e));
    buf_free(&out);
}

/* Some bytes of the answer, as one event and what belongs to it. */
static bool tell_some(Telling *t, int choice, int *tool) {
    static const ServeEventKind kinds[] = {SERVE_TEXT, SERVE_REASONING, SERVE_TOOL_BEGIN};
    unsigned what = fuzz_byte(&t->in), n = fuzz_byte(&t->in) % 32;
    ServeEvent e = {.kind = kinds[what % COUNT_OF(kinds)], .choice = choice};
    Str left = fuzz_rest(&t->in);
    e.text = str_make(left.ptr, n < left.len ? n : left.len);
    t->in.ptr += e.text.len;
    t->in.len -= e.text.len;
    if (e.kind != SERVE_TOOL_BEGIN) {
        tell(t, &e);
        return t->in.len > 0;
    }
    e.tool = (*tool)++;
    e.tool_id = str_c("call_1");
    e.tool_name = e.text;
    tell(t, &e);
    e.kind = SERVE_TOOL_ARGS;
    e.text = str_c("{\"a\": 1}");
    tell(t, &e);
    e.kind = SERVE_TOOL_END;
    tell(t, &e);
    return t->in.len > 0;
}

static void tell_all(const ServeShape *shape, const ServeAsk *ask, FuzzBytes in) {
    Telling t = {.shape = shape, .in = in, .reply = {.model = &serve.model, .ask = ask, .number = 7, .created = 1}};
    for (int i = 0; i <= SERVE_MOST_LOGPROBS; i++) t.rows[i] = (ServeLikely){.logprob = -0.5 * i, .id = i * 14};
    if (shape->own_bytes) t.reply.own = mem_new(1, shape->own_bytes);
    assert_true(serve_answer_init(&t.answer, ask));
    int n = ask->choices * (int)ask->n_prompts;
    for (int choice = 0; choice < n && choice < CHOICES_TOLD; choice++) {
        int tool = 0;
        tell(&t, &(ServeEvent){.kind = SERVE_BEGIN, .choice = choice, .usage = {.prompt = 3}});
        while (tell_some(&t, choice, &tool) && t.in.len % 7 != 0) {}
        ServeFinish finish = (ServeFinish)(fuzz_byte(&t.in) % 4);
        Str stop = finish == SERVE_STOP_STRING ? str_c("stop") : str_c("");
        tell(&t, &(ServeEvent){.kind = SERVE_FINISH, .choice = choice, .finish = finish, .stop = stop, .usage = {3, 1, 2, 1}});
    }
    tell(&t, &(ServeEvent){.kind = SERVE_DONE, .usage = {3, 1, 2, 1}});
    Buf out = {0};
    json_t *whole = shape->whole(&t.reply, &t.answer);
    assert_non_null(whole);
    assert_true(text_json_put(whole, &out));
    json_decref(whole);
    buf_free(&out);
    serve_answer_free(&t.answer);
    if (t.reply.own && shape->close) shape->close(t.reply.own);
    mem_free(t.reply.own);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    FuzzBytes in = {bytes, n};
    if (!serve.config) open_once();
    const ServeShape *shape = shapes[fuzz_byte(&in) % COUNT_OF(shapes)];
    Str text = fuzz_part(&in);
    Err err = {0};
    json_t *body = text_json_load(text.ptr, text.len, &err);
    if (!body) {
        fuzz_sentence(err.text);
        return 0;
    }
    ServeAsk ask;
    ServeRefusal no = {0};
    serve_ask_init(&ask, &serve.model, body);
    if (!shape->read(&serve.model, body, &ask, &no) || !serve_text_prompts(&serve, &ask, &no)) {
        check_refusal(shape, &no);
    } else {
        check_ask(&ask);
        if (shape->whole) tell_all(shape, &ask, in);
    }
    serve_ask_free(&ask);
    json_decref(body);
    return 0;
}
