/* OpenAI's /v1/completions: a text, or ids, is continued. With echo and logprobs it tells how likely a given text is. */
#include "serve/shapes.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- reading ----------------------------------------------------------------------------------------------------- */

static bool out_of_memory(ServeReading *r) { return serve_refuse(r->no, 500, NULL, "out of memory while reading the request"); }

static bool read_ids(ServeReading *r, const char *name, const json_t *list, ServePrompt *prompt) {
    size_t n = json_array_size(list);
    prompt->ids = MEM_NEW(int32_t, n ? n : 1);
    if (!prompt->ids) return out_of_memory(r);
    for (; prompt->n < n; prompt->n++) {
        int64_t id;
        if (!serve_want_int(r, name, json_array_get(list, prompt->n), 0, r->model->info.vocab - 1, &id)) return false;
        prompt->ids[prompt->n] = (int32_t)id;
    }
    return n > 0 || serve_refuse(r->no, 400, name, "'%s' has no tokens; there is nothing to continue", name);
}

static bool read_text(ServeReading *r, const char *name, const json_t *value, Str *text) {
    if (!serve_want_text(r, name, value, text)) return false;
    return text->len > 0 || serve_refuse(r->no, 400, name, "'%s' is empty; there is nothing to continue", name);
}

/* A text, a list of texts, a list of ids, or a list of lists of ids. */
static bool read_prompt(ServeReading *r, const char *name, json_t *value) {
    ServeAsk *ask = r->ask;
    const json_t *first = json_array_get(value, 0);
    bool many = json_is_array(value) && !json_is_integer(first), texts = json_is_string(many ? first : value);
    ask->n_prompts = many ? json_array_size(value) : 1;
    if (ask->n_prompts == 0) return serve_refuse(r->no, 400, name, "'%s' is an empty list; there is nothing to continue", name);
    if (ask->n_prompts > SERVE_MOST_CHOICES)
        return serve_refuse(r->no, 400, name, "'%s' has %zu prompts; at most %d are taken at once", name, ask->n_prompts,
                            SERVE_MOST_CHOICES);
    ask->prompts = MEM_NEW(ServePrompt, ask->n_prompts);
    if (texts) ask->texts = MEM_NEW(Str, ask->n_prompts);
    if (!ask->prompts || (texts && !ask->texts)) return out_of_memory(r);
    for (size_t i = 0; i < ask->n_prompts; i++) {
        const json_t *one = many ? json_array_get(value, i) : value;
        if (!texts && !json_is_array(one))
            return serve_refuse(r->no, 400, name, "'%s' must be a string, a list of strings, a list of token ids or a list of such lists",
                                name);
        if (!(texts ? read_text(r, name, one, &ask->texts[i]) : read_ids(r, name, one, &ask->prompts[i]))) return false;
    }
    return true;
}

static bool read_echo(ServeReading *r, const char *name, json_t *value) { return serve_want_bool(r, name, value, &r->ask->echo); }

static bool read_logprobs(ServeReading *r, const char *name, json_t *value) {
    int64_t v = 0;
    if (json_is_false(value)) return true;
    if (!serve_want_int(r, name, value, 0, SERVE_MOST_LOGPROBS, &v)) return false;
    r->ask->logprobs = (int)v;
    return true;
}

static bool read_best_of(ServeReading *r, const char *name, json_t *value) {
    int64_t v = 0;
    bool ok = serve_want_int(r, name, value, 1, SERVE_MOST_CHOICES, &v);
    *(int64_t *)r->own = v;
    return ok;
}

static const ServeField fields[] = {
    {"model", serve_field_idle}, {"user", serve_field_idle}, {"metadata", serve_field_idle}, {"store", serve_field_idle},
    {"prompt", read_prompt}, {"echo", read_echo}, {"logprobs", read_logprobs}, {"best_of", read_best_of},
    {"max_tokens", serve_field_max_tokens}, {"n", serve_field_n}, {"seed", serve_field_seed}, {"stop", serve_field_stop},
    {"stream", serve_field_stream}, {"stream_options", serve_field_stream_options},
    {"temperature", serve_field_temperature}, {"top_p", serve_field_top_p}, {"top_k", serve_field_top_k}, {"min_p", serve_field_min_p},
    {"presence_penalty", serve_field_presence}, {"frequency_penalty", serve_field_frequency},
    {"repetition_penalty", serve_field_repeat}, {"repeat_penalty", serve_field_repeat},
    {"suffix", serve_field_empty}, {"logit_bias", serve_field_empty},
};

enum { DEFAULT_MAX_TOKENS = 16 }; /* as OpenAI has it */

static bool read(const ServeModel *model, json_t *body, ServeAsk *ask, ServeRefusal *no) {
    int64_t best_of = 1;
    ServeReading r = {.model = model, .ask = ask, .no = no, .own = &best_of};
    ask->max_tokens = DEFAULT_MAX_TOKENS;
    if (!serve_read_fields(&r, body, fields, COUNT_OF(fields))) return false;
    if (best_of > 1 && best_of != ask->choices) /* the best n of n are all */
        return serve_refuse(no, 400, "best_of", "'best_of' is %d; it may be 1 or what n is", (int)best_of);
    if (ask->n_prompts == 0) return serve_refuse(no, 400, "prompt", "'prompt' is missing");
    if (ask->n_prompts * (size_t)ask->choices > SERVE_MOST_CHOICES)
        return serve_refuse(no, 400, "n", "%zu prompts with n %d are more than %d choices", ask->n_prompts, ask->choices,
                            SERVE_MOST_CHOICES);
    if (ask->max_tokens == 0 && !ask->echo)
        return serve_refuse(no, 400, "max_tokens", "'max_tokens' is 0, which asks for nothing unless the prompt is echoed");
    return true;
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

/* A token as a word of JSON: its text, or its bytes where it is a part of a character. */
static json_t *token_word(const ServeModel *model, int32_t id) {
    Buf bytes = {0}, word = {0};
    serve_token_bytes(model, id, &bytes);
    if (utf8_valid(bytes.ptr ? bytes.ptr : "", bytes.len)) {
        buf_put(&word, bytes.ptr ? bytes.ptr : "", bytes.len);
    } else {
        buf_puts(&word, "bytes:");
        for (size_t i = 0; bytes.ptr && i < bytes.len; i++) buf_printf(&word, "\\x%02x", (unsigned char)bytes.ptr[i]);
    }
    json_t *value = serve_json_text(word.ptr, word.len);
    buf_free(&bytes);
    buf_free(&word);
    return value;
}

static size_t characters(const ServeModel *model, int32_t id) {
    Buf bytes = {0};
    serve_token_bytes(model, id, &bytes);
    size_t n = 0;
    for (size_t i = 0; i < bytes.len; i++) n += ((unsigned char)bytes.ptr[i] & 0xC0) != 0x80;
    buf_free(&bytes);
    return n;
}

static json_t *logprob(double value) { return isnan(value) ? json_null() : json_real(value); }

/* The likeliest tokens, and the token itself, which need not be one of them. */
static json_t *alternatives(const ServeModel *model, const ServeLikely *row, int n_top) {
    if (isnan(row[0].logprob)) return json_null();
    json_t *all = json_object();
    for (int n = 0; n <= n_top; n++) {
        int i = n < n_top ? n + 1 : 0;
        if (row[i].id < 0) continue;
        json_t *word = token_word(model, row[i].id);
        /* of two tokens with one text the likelier stays */
        if (word && !json_object_get(all, json_string_value(word)))
            json_object_set_new_nocheck(all, json_string_value(word), json_real(row[i].logprob));
        json_decref(word);
    }
    return all;
}

/* OpenAI's four lists. *offset: characters of the choice before these tokens. */
static json_t *rows_json(const ServeModel *model, const ServeLikely *rows, size_t n, int n_top, int64_t *offset) {
    json_t *tokens = json_array(), *logprobs = json_array(), *top = json_array(), *offsets = json_array();
    for (size_t i = 0; i < n; i++) {
        const ServeLikely *row = rows + i * (size_t)(1 + n_top);
        json_array_append_new(tokens, token_word(model, row->id));
        json_array_append_new(logprobs, logprob(row->logprob));
        json_array_append_new(top, alternatives(model, row, n_top));
        json_array_append_new(offsets, json_integer(*offset));
        *offset += (int64_t)characters(model, row->id);
    }
    return json_pack("{s:o,s:o,s:o,s:o}", "tokens", tokens, "token_logprobs", logprobs, "top_logprobs", top, "text_offset", offsets);
}

static json_t *frame(const ServeReply *reply, json_t *choices) {
    return json_pack("{s:o,s:s,s:I,s:s,s:o}", "id", serve_json_id(reply, "cmpl-"), "object", "text_completion", "created",
                     (json_int_t)reply->created, "model", reply->model->name, "choices", choices);
}

static json_t *choice(int index, json_t *text, json_t *rows, const char *finish) {
    return json_pack("{s:i,s:o,s:o,s:s?}", "index", index, "text", text, "logprobs", rows, "finish_reason", finish);
}

json_t *serve_openai_usage(const ServeUsage *u) {
    return json_pack("{s:i,s:i,s:i,s:{s:i},s:{s:i}}", "prompt_tokens", u->prompt, "completion_tokens", u->answer, "total_tokens",
                     u->prompt + u->answer, "prompt_tokens_details", "cached_tokens", u->cached, "completion_tokens_details",
                     "reasoning_tokens", u->reasoning);
}

const char *serve_openai_finish(ServeFinish finish) {
    return finish == SERVE_LENGTH ? "length" : finish == SERVE_TOOL_CALLS ? "tool_calls" : "stop";
}

/* While streaming: where each choice is, in characters. */
typedef struct Own {
    int64_t offset[SERVE_MOST_CHOICES];
} Own;

static void stream(ServeReply *reply, const ServeEvent *e, Buf *out) {
    Own *own = reply->own;
    bool usage = reply->ask->stream_usage;
    if (e->kind == SERVE_FAILED) {
        serve_put_event(out, NULL, serve_openai_error(e->refusal));
    } else if (e->kind == SERVE_DONE) {
        json_t *last = usage ? frame(reply, json_array()) : NULL;
        if (last) {
            json_object_set_new(last, "usage", serve_openai_usage(&e->usage));
            serve_put_event(out, NULL, last);
        }
        buf_puts(out, "data: [DONE]\n\n");
    } else if (e->kind == SERVE_TEXT || e->kind == SERVE_FINISH) {
        bool logprobs = reply->ask->logprobs >= 0 && e->n_rows > 0;
        json_t *rows = logprobs ? rows_json(reply->model, e->rows, e->n_rows, e->n_top, &own->offset[e->choice]) : json_null();
        const char *finish = e->kind == SERVE_FINISH ? serve_openai_finish(e->finish) : NULL;
        json_t *chunk = frame(reply, json_pack("[o]", choice(e->choice, serve_json_str(e->text), rows, finish)));
        if (usage && chunk) json_object_set_new(chunk, "usage", json_null());
        serve_put_event(out, NULL, chunk);
    }
}

static json_t *whole(ServeReply *reply, const ServeAnswer *a) {
    json_t *choices = json_array();
    for (size_t i = 0; i < a->n_choices; i++) {
        const ServeChoice *c = &a->choices[i];
        int64_t offset = 0;
        json_t *rows = reply->ask->logprobs >= 0 ? rows_json(reply->model, c->rows, c->n_rows, a->n_top, &offset) : json_null();
        json_array_append_new(choices, choice((int)i, serve_json_text(c->text.ptr, c->text.len), rows, serve_openai_finish(c->finish)));
    }
    json_t *answer = frame(reply, choices);
    if (answer) json_object_set_new(answer, "usage", serve_openai_usage(&a->usage));
    return answer;
}

const ServeShape SERVE_OPENAI_COMPLETIONS = {
    .read = read, .stream = stream, .whole = whole, .error = serve_openai_error, .alive = ": still working\n\n", .own_bytes = sizeof(Own)};
