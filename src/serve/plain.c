/* What is answered without computing: health, the list of models, ids and text. */
#include "serve/http.h"
#include "text/text.h"

#include <string.h>

json_t *serve_body_json(ServeVisit *v) {
    Err err = {0};
    if (v->body.len == 0) {
        (void)serve_refuse(&v->no, 400, NULL, "the body is empty; a JSON object is expected");
        return NULL;
    }
    static const char mark[] = "\xEF\xBB\xBF"; /* some clients begin with a byte order mark; the RFC lets it be ignored */
    size_t skip = v->body.len >= 3 && v->body.ptr && memcmp(v->body.ptr, mark, 3) == 0 ? 3 : 0;
    if (!v->body.failed && !serve_hold(v, serve_purse_json(v->body.ptr, v->body.len), "the JSON of the body")) return NULL;
    json_t *body = v->body.failed ? NULL : text_json_load(v->body.ptr + skip, v->body.len - skip, &err);
    if (!body) (void)serve_refuse(&v->no, 400, NULL, "the body is no JSON: %.500s", err.text);
    buf_free(&v->body);
    if (!body || json_is_object(body)) return body;
    (void)serve_refuse(&v->no, 400, NULL, "the body must be a JSON object");
    json_decref(body);
    return NULL;
}

void serve_health(ServeVisit *v) {
    bool loading = serve_phase(v->serve) == SERVE_LOADING;
    serve_reply_json(v, loading ? 503 : 200, json_pack("{s:s}", "status", loading ? "loading" : "ok"));
}

static json_t *model_json(const ServeModel *m) {
    return json_pack("{s:s,s:s,s:I,s:s,s:i,s:i}", "id", m->name, "object", "model", "created", (json_int_t)m->created, "owned_by", "sluice",
                     "context_length", m->info.ctx, "vocab", m->info.vocab);
}

void serve_models(ServeVisit *v) {
    serve_reply_json(v, 200, json_pack("{s:s,s:[o]}", "object", "list", "data", model_json(&v->serve->model)));
}

void serve_model(ServeVisit *v) {
    const char *name = v->path + strlen("/v1/models/");
    if (strcmp(name, v->serve->model.name) == 0) {
        serve_reply_json(v, 200, model_json(&v->serve->model));
        return;
    }
    (void)serve_refuse(&v->no, 404, "model", "there is no model '%.100s' here, only '%.100s'", name, v->serve->model.name);
    v->no.code = "model_not_found";
    serve_reply_refusal(v);
}

/* ---- ids and text ------------------------------------------------------------------------------------------------ */

enum { ID_BYTES = 80 /* of one id as JSON and as text */ };

typedef struct Words {
    Str text;
    json_t *ids;
    bool plain, has_text;
} Words;

static bool read_text(ServeReading *r, const char *name, json_t *value) {
    Words *w = r->own;
    w->has_text = true;
    return serve_want_text(r, name, value, &w->text);
}
static bool read_special(ServeReading *r, const char *name, json_t *value) {
    bool special = true;
    bool ok = serve_want_bool(r, name, value, &special);
    ((Words *)r->own)->plain = !special;
    return ok;
}
static bool read_no_special(ServeReading *r, const char *name, json_t *value) {
    return serve_want_bool(r, name, value, &((Words *)r->own)->plain);
}
static bool read_ids(ServeReading *r, const char *name, json_t *value) {
    ((Words *)r->own)->ids = value;
    return json_is_array(value) || serve_refuse(r->no, 400, name, "'%s' must be a list of token ids", name);
}

static bool read_words(ServeVisit *v, json_t *body, const ServeField *fields, size_t n, Words *w) {
    ServeReading r = {.model = &v->serve->model, .no = &v->no, .own = w};
    return body && serve_read_fields(&r, body, fields, n);
}

void serve_tokenize(ServeVisit *v) {
    /* content is what llama.cpp calls it, prompt and text what others do */
    static const ServeField fields[] = {
        {"content", read_text}, {"text", read_text}, {"prompt", read_text}, {"model", serve_field_idle},
        {"parse_special", read_special}, {"no_special", read_no_special}, {"add_special", serve_field_empty},
        {"add_special_tokens", serve_field_idle}}; /* vLLM's name: no model here adds any */
    Words w = {.text = {"", 0}};
    ServePrompt p = {0};
    json_t *body = serve_body_json(v);
    bool ok = read_words(v, body, fields, COUNT_OF(fields), &w);
    if (ok && !w.has_text) ok = serve_refuse(&v->no, 400, "content", "'content' is missing: the text to be cut into tokens");
    ok = ok && serve_text_tokenize(v->serve, w.text.ptr, w.text.len, w.plain ? SLUICE_NO_SPECIAL : 0, &p, &v->no);
    ok = ok && serve_hold(v, ID_BYTES * p.n, "the list of ids");
    json_t *ids = ok ? json_array() : NULL;
    for (size_t i = 0; ok && i < p.n; i++) json_array_append_new(ids, json_integer(p.ids[i]));
    if (ok) serve_reply_json(v, 200, json_pack("{s:o,s:I}", "tokens", ids, "count", (json_int_t)p.n));
    else serve_reply_refusal(v);
    sluice_free(p.ids);
    json_decref(body);
}

static bool join(ServeVisit *v, const Words *w, Buf *text) {
    TextStream stream = {{0}, 0};
    Buf piece = {0};
    ServeReading r = {.model = &v->serve->model, .no = &v->no};
    bool ok = true;
    for (size_t i = 0; ok && i < json_array_size(w->ids); i++) {
        int64_t id;
        ok = serve_want_int(&r, "tokens", json_array_get(w->ids, i), 0, v->serve->model.info.vocab - 1, &id);
        buf_clear(&piece);
        if (ok) serve_token_bytes(&v->serve->model, (int32_t)id, &piece);
        if (ok) text_stream_put(&stream, piece.ptr ? piece.ptr : "", piece.len, text);
    }
    text_stream_end(&stream, text);
    buf_free(&piece);
    return ok;
}

void serve_detokenize(ServeVisit *v) {
    static const ServeField fields[] = {{"tokens", read_ids}, {"ids", read_ids}, {"model", serve_field_idle}};
    Words w = {.text = {"", 0}};
    Buf text = {0};
    json_t *body = serve_body_json(v);
    bool ok = read_words(v, body, fields, COUNT_OF(fields), &w);
    if (ok && !w.ids) ok = serve_refuse(&v->no, 400, "tokens", "'tokens' is missing: the list of ids to be joined");
    if (ok && join(v, &w, &text)) {
        json_t *content = serve_json_text(text.ptr, text.len);
        serve_reply_json(v, 200, json_pack("{s:o,s:O,s:O}", "content", content, "text", content, "prompt", content));
    } else {
        serve_reply_refusal(v);
    }
    buf_free(&text);
    json_decref(body);
}

/* As vLLM has it: lm-evaluation-harness asks for it, and then for ids, instead of fetching a tokenizer. Of several tokens that end a text
 * the first, which stands between documents, is the one to begin with where there is no context. */
void serve_tokenizer_info(ServeVisit *v) {
    const ServeModel *m = &v->serve->model;
    const char *source = sluice_chat_template(m->model);
    Buf end = {0};
    for (int32_t id = 0; id < m->info.vocab && !end.len; id++)
        if (sluice_is_stop(m->model, id)) serve_token_bytes(m, id, &end);
    json_t *token = end.len ? serve_json_text(end.ptr, end.len) : json_null();
    serve_reply_json(v, 200, json_pack("{s:s,s:o,s:n,s:n,s:s?}", "tokenizer_class", "sluice", "eos_token", token, "bos_token", "pad_token",
                                       "chat_template", source));
    buf_free(&end);
}

/* What a browser asks before it lets a page call us. */
void serve_preflight(ServeVisit *v) {
    v->status = 204;
    v->answered = true;
    struct MHD_Response *response = MHD_create_response_from_buffer(0, (char *)"", MHD_RESPMEM_PERSISTENT);
    v->lost = !response;
    if (!response) return;
    serve_guard_headers(v, response);
    MHD_add_response_header(response, "Allow", v->no.allow);
    if (v->serve->config->cors) {
        MHD_add_response_header(response, "Access-Control-Allow-Methods", "GET, POST, OPTIONS");
        /* clients add headers of their own kind (x-stainless-lang); none means anything to us that it must not */
        const char *wanted = MHD_lookup_connection_value(v->connection, MHD_HEADER_KIND, "Access-Control-Request-Headers");
        MHD_add_response_header(response, "Access-Control-Allow-Headers",
                                wanted && *wanted ? wanted : "authorization, content-type, x-api-key, anthropic-version, anthropic-beta");
        MHD_add_response_header(response, "Access-Control-Max-Age", "600");
    }
    v->lost = MHD_queue_response(v->connection, 204, response) == MHD_NO;
    MHD_destroy_response(response);
}
