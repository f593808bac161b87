/* A client of the Model Context Protocol over stdio: a server is a program that reads and writes JSON-RPC, one message a line. It is asked
 * for its tools when it starts, and called. What servers may ask of clients (sampling, roots, questions to the user) is declined. */
#include "tools/mcp.h"

#include "text/text.h"

#include <string.h>

enum { MOST_OF_A_LINE = 64 << 20, MOST_PAGES = 100, STEP_NS = 20000000 };
static const uint64_t START_NS = UINT64_C(60000000000), GOODBYE_NS = UINT64_C(2000000000);

struct ToolsServer {
    char *name;
    OsChild child;
    Buf heard;             /* up to the end of the last whole line it was read */
    Buf to_send;
    int64_t last_id;       /* of our requests */
    json_t *reply;         /* to the last one */
    bool failed;           /* it says what is no JSON-RPC, or without end; or memory */
};

/* ---- messages ---------------------------------------------------------------------------------------------------- */

/* Takes the message over. */
static void send_message(ToolsServer *s, json_t *message) {
    if (!message || !text_json_put(message, &s->to_send)) s->failed = true;
    buf_putc(&s->to_send, '\n');
    s->failed = s->failed || s->to_send.failed;
    json_decref(message);
}

/* A request of the server: it may ask whether we live. */
static void answer_request(ToolsServer *s, json_t *id, const char *method) {
    json_t *reply = strcmp(method, "ping") == 0
                        ? json_pack("{s:s,s:O,s:{}}", "jsonrpc", "2.0", "id", id, "result")
                        : json_pack("{s:s,s:O,s:{s:i,s:s}}", "jsonrpc", "2.0", "id", id, "error", "code", -32601, "message",
                                    "this client offers nothing of its own");
    send_message(s, reply);
}

static void take_line(ToolsServer *s, const char *line, size_t len) {
    Err err = {0};
    if (strspn(line, " \r\n") >= len) return;
    json_t *message = text_json_load(line, len, &err), *id = json_object_get(message, "id");
    const char *method = json_string_value(json_object_get(message, "method"));
    if (!json_is_object(message)) {
        log_debug("%s says what is no message: %.*s", s->name, (int)(len < 200 ? len : 200), line);
    } else if (method && id) {
        answer_request(s, id, method);
    } else if (!method && json_is_integer(id) && json_integer_value(id) == s->last_id && !s->reply) {
        s->reply = json_incref(message);
    } /* else a notification, or an answer that nobody waits for any more */
    json_decref(message);
}

static void hear(void *user, bool is_err, const char *bytes, size_t len) {
    (void)is_err;
    ToolsServer *s = user;
    size_t from = s->heard.len;
    buf_put(&s->heard, bytes, len);
    s->failed = s->failed || s->heard.failed || s->heard.len > MOST_OF_A_LINE;
    if (s->failed || !memchr(s->heard.ptr + from, '\n', len)) return;
    size_t at = 0;
    for (char *end; (end = memchr(s->heard.ptr + at, '\n', s->heard.len - at)); at = (size_t)(end - s->heard.ptr) + 1)
        take_line(s, s->heard.ptr + at, (size_t)(end - s->heard.ptr) - at);
    memmove(s->heard.ptr, s->heard.ptr + at, s->heard.len - at);
    s->heard.len -= at;
}

/* Sends and hears what there is; false: the server is gone. */
static bool move(ToolsServer *s) {
    Str input = str_make(s->to_send.ptr ? s->to_send.ptr : "", s->to_send.len);
    size_t before = input.len;
    bool open = os_child_move(&s->child, &input, STEP_NS, hear, s);
    size_t sent = before - input.len, left = s->to_send.len - sent; /* replies that hear() has added are behind it */
    if (sent && left) memmove(s->to_send.ptr, s->to_send.ptr + sent, left);
    s->to_send.len = left;
    return open && s->child.in >= 0 && !s->failed;
}

/* ---- requests ---------------------------------------------------------------------------------------------------- */

typedef enum Asked { ASKED_ANSWERED, ASKED_GONE, ASKED_LATE, ASKED_STOPPED } Asked;

/* Asks and waits: *reply is the whole message, the caller's. Takes params over. */
static Asked ask(ToolsServer *s, const char *method, json_t *params, uint64_t limit_ns, json_t **reply) {
    uint64_t start = os_now_ns();
    *reply = NULL;
    json_decref(s->reply);
    s->reply = NULL;
    if (s->failed || s->child.in < 0) {
        json_decref(params);
        return ASKED_GONE;
    }
    send_message(s, json_pack("{s:s,s:I,s:s,s:o}", "jsonrpc", "2.0", "id", (json_int_t)++s->last_id, "method", method, "params", params));
    while (!s->reply) {
        if (!move(s) && !s->reply) return ASKED_GONE;
        bool late = os_now_ns() - start > limit_ns, stopped = os_interrupted();
        if (s->reply || !(late || stopped)) continue;
        send_message(s, json_pack("{s:s,s:s,s:{s:I,s:s}}", "jsonrpc", "2.0", "method", "notifications/cancelled", "params", "requestId",
                                  (json_int_t)s->last_id, "reason", late ? "it takes too long" : "the user stopped it"));
        (void)move(s);
        return stopped ? ASKED_STOPPED : ASKED_LATE;
    }
    *reply = s->reply;
    s->reply = NULL;
    return ASKED_ANSWERED;
}

static const char *error_of(const json_t *reply) {
    const char *text = json_string_value(json_object_get(json_object_get(reply, "error"), "message"));
    return text ? text : "an answer without a result";
}

/* The same while it starts: everything but a result is an error. */
static json_t *ask_result(ToolsServer *s, const char *method, json_t *params, Err *err) {
    json_t *reply;
    Asked asked = ask(s, method, params, START_NS, &reply);
    json_t *result = json_incref(json_object_get(reply, "result"));
    if (asked == ASKED_STOPPED) err_set(err, ERR_INTERRUPTED, "interrupted");
    else if (asked == ASKED_GONE)
        err_set(err, ERR_STATE, "the MCP server %.100s has ended, or speaks no MCP; --verbose shows what it writes", s->name);
    else if (asked == ASKED_LATE)
        err_set(err, ERR_STATE, "the MCP server %.100s did not answer %s within 60 seconds; --verbose shows what it writes", s->name,
                method);
    else if (!result) err_set(err, ERR_STATE, "the MCP server %.100s refuses %s: %.300s", s->name, method, error_of(reply));
    json_decref(reply);
    return result;
}

/* ---- beginning and end ------------------------------------------------------------------------------------------- */

static ErrCode greet(ToolsServer *s, Err *err) {
    json_t *params = json_pack("{s:s,s:{},s:{s:s,s:s}}", "protocolVersion", "2025-06-18", "capabilities", "clientInfo", "name", "sluice",
                               "version", "1");
    json_t *result = ask_result(s, "initialize", params, err);
    if (!result) return err->code;
    json_decref(result); /* of whatever version: tools are the same in all of them */
    send_message(s, json_pack("{s:s,s:s}", "jsonrpc", "2.0", "method", "notifications/initialized"));
    return ERR_OK;
}

ToolsServer *tools_mcp_start(const char *name, const char *const *argv, const char *const *env, bool verbose, Err *err) {
    ToolsServer *s = MEM_NEW(ToolsServer, 1);
    if (s) s->name = mem_strdup(name);
    if (!s || !s->name) {
        mem_free(s);
        err_no_memory(err, sizeof *s, "an MCP server");
        return NULL;
    }
    OsChildSpec spec = {.argv = argv, .env = env, .err = verbose ? OS_CHILD_ERR_OURS : OS_CHILD_ERR_DROPPED};
    ErrCode code = os_child_start(&s->child, &spec, err);
    if (code) (void)err_prefix(err, "the MCP server %.100s", name);
    if (!code) code = greet(s, err);
    if (!code) return s;
    tools_mcp_stop(s);
    return NULL;
}

void tools_mcp_stop(ToolsServer *s) {
    if (!s) return;
    uint64_t start = os_now_ns();
    os_child_end_input(&s->child); /* which asks it to end */
    Str none = {"", 0};
    while (s->child.pid && !os_child_ended(&s->child) && os_now_ns() - start < GOODBYE_NS) {
        buf_clear(&s->heard);
        (void)os_child_move(&s->child, &none, STEP_NS, hear, s);
    }
    os_child_end(&s->child);
    json_decref(s->reply);
    buf_free(&s->heard);
    buf_free(&s->to_send);
    mem_free(s->name);
    mem_free(s);
}

const char *tools_mcp_name(const ToolsServer *s) { return s->name; }

/* ---- tools ------------------------------------------------------------------------------------------------------- */

json_t *tools_mcp_list(ToolsServer *s, Err *err) {
    json_t *all = json_array(), *cursor = NULL;
    for (int page = 0; page < MOST_PAGES; page++) {
        json_t *params = cursor ? json_pack("{s:O}", "cursor", cursor) : json_object(), *result = ask_result(s, "tools/list", params, err);
        bool ok = result && json_array_extend(all, json_object_get(result, "tools")) == 0;
        if (result && !ok) err_set(err, ERR_FORMAT, "the MCP server %.100s lists no tools", s->name);
        json_decref(cursor);
        cursor = ok && json_is_string(json_object_get(result, "nextCursor")) ? json_incref(json_object_get(result, "nextCursor")) : NULL;
        json_decref(result);
        if (!ok) {
            json_decref(all);
            return NULL;
        }
        if (!cursor) break;
    }
    json_decref(cursor);
    return all;
}

/* Text as it is; what is no text is named. */
static void put_content(const json_t *content, ToolsOutput *out) {
    for (size_t i = 0; i < json_array_size(content); i++) {
        const json_t *item = json_array_get(content, i), *text = json_object_get(item, "text");
        const char *type = json_string_value(json_object_get(item, "type"));
        if (!text) text = json_object_get(json_object_get(item, "resource"), "text");
        if (i && text && out->total) tools_output_put(out, "\n", 1);
        if (json_is_string(text)) tools_output_put(out, json_string_value(text), json_string_length(text));
        else tools_output_note(out, "content of the type %.40s is left out", type ? type : "unknown");
    }
}

static ToolsEnd put_result(const json_t *reply, ToolsOutput *out) {
    const json_t *result = json_object_get(reply, "result"), *content = json_object_get(result, "content");
    const json_t *other = json_object_get(result, "structuredContent");
    Buf text = {0};
    if (!result) {
        tools_output_note(out, "%.1000s", error_of(reply));
        return TOOLS_FAILED;
    }
    if (json_array_size(content)) put_content(content, out);
    else if (other && text_json_put(other, &text)) tools_output_put(out, text.ptr, text.len);
    buf_free(&text);
    bool bad = json_is_true(json_object_get(result, "isError"));
    if (!out->total && !out->notes.len) tools_output_note(out, bad ? "it failed and said nothing" : "it succeeded and said nothing");
    return bad ? TOOLS_FAILED : TOOLS_DONE;
}

ToolsEnd tools_mcp_call(ToolsServer *s, const char *name, const json_t *arguments, uint64_t limit_ns, ToolsOutput *out) {
    json_t *reply, *params = json_pack("{s:s,s:O}", "name", name, "arguments", arguments);
    Asked asked = ask(s, "tools/call", params, limit_ns, &reply);
    ToolsEnd end = asked == ASKED_STOPPED ? TOOLS_STOPPED : TOOLS_FAILED;
    if (asked == ASKED_ANSWERED) end = put_result(reply, out);
    if (asked == ASKED_GONE) tools_output_note(out, "the MCP server %.100s has ended", s->name);
    if (asked == ASKED_LATE) tools_output_note(out, "given up: it took longer than %g seconds", (double)limit_ns * 1e-9);
    if (asked == ASKED_STOPPED) tools_output_note(out, "the user stopped this call with Ctrl-C");
    json_decref(reply);
    return end;
}
