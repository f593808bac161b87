/* --trace-requests: one file per computed request, a line of JSON for each thing: the request, its prompts as ids and text, the events
 * that were told, the ids that were sampled. */
#include "serve/http.h"
#include "text/text.h"
#include "os/os.h"

#include <inttypes.h>
#include <stdio.h>

static void put_line(Buf *out, json_t *value) {
    if (!text_json_put(value, out)) buf_puts(out, "{\"error\":\"cannot be written\"}");
    buf_putc(out, '\n');
    json_decref(value);
}

static json_t *ids_json(const int32_t *ids, size_t n) {
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) json_array_append_new(list, json_integer(ids[i]));
    return list;
}

static json_t *text_json(const ServeModel *model, const int32_t *ids, size_t n) {
    Buf text = {0};
    for (size_t i = 0; i < n; i++) serve_token_bytes(model, ids[i], &text);
    json_t *value = serve_json_text(text.ptr, text.len);
    buf_free(&text);
    return value;
}

void serve_trace_begin(ServeVisit *v) {
    if (!v->serve->config->trace_dir) return;
    const ServeAsk *ask = &v->job->ask;
    put_line(&v->trace, json_pack("{s:s,s:s,s:O,s:I}", "line", "request", "path", v->path, "body", ask->body, "seed",
                                  (json_int_t)ask->seed));
    for (size_t i = 0; i < ask->n_prompts; i++) {
        const ServePrompt *p = &ask->prompts[i];
        put_line(&v->trace, json_pack("{s:s,s:o,s:o}", "line", "prompt", "ids", ids_json(p->ids, p->n), "text",
                                      text_json(&v->serve->model, p->ids, p->n)));
    }
}

void serve_trace_event(ServeVisit *v, const ServeEvent *e) {
    static const char *const kinds[] = {"begin", "text", "reasoning", "tool_begin", "tool_args", "tool_end", "finish", "done", "failed"};
    if (!v->serve->config->trace_dir) return;
    json_t *line = json_pack("{s:s,s:s,s:i,s:o,s:f}", "line", "event", "kind", kinds[e->kind], "choice", e->choice, "text",
                             serve_json_str(e->kind == SERVE_TOOL_BEGIN ? e->tool_name : e->text), "ms",
                             (double)(os_now_ns() - v->began_ns) * 1e-6);
    if (line && e->refusal) json_object_set_new(line, "error", json_string(e->refusal->text));
    put_line(&v->trace, line);
    if (e->kind != SERVE_DONE) return;
    for (size_t i = 0; i < v->job->n; i++) {
        const ServeSequence *s = &v->job->sequences[i];
        put_line(&v->trace, json_pack("{s:s,s:i,s:o}", "line", "sampled", "choice", s->choice, "ids", ids_json(s->sampled, s->n_sampled)));
    }
}

void serve_trace_end(ServeVisit *v) {
    Err err = {0};
    char path[1200];
    const char *folder = v->serve->config->trace_dir;
    if (!folder || !v->job) return;
    snprintf(path, sizeof path, "%.1100s/%" PRIi64 "-%016" PRIx64 ".jsonl", folder, v->reply.created, v->reply.number);
    if (v->trace.failed || os_make_folder(folder, &err) || os_write_private(path, v->trace.ptr, v->trace.len, &err))
        log_warn("--trace-requests: %s", err.code ? err.text : "out of memory");
    buf_free(&v->trace);
}
