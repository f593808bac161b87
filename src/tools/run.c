/* A program is run for a call: it reads its input, its output is kept as far as there is room, and when its time is over, or somebody
 * pressed Ctrl-C, it ends with all that it has started. */
#include "tools/inside.h"

enum { STEP_NS = 20000000, LAST_WORDS_NS = 100000000, MOST_ERRORS = 4096 };

typedef struct Hearing {
    ToolsOutput *out, errors;
} Hearing;

static void hear(void *user, bool is_err, const char *bytes, size_t len) {
    Hearing *h = user;
    tools_output_put(is_err ? &h->errors : h->out, bytes, len);
}

/* Until it has ended, its output too. What it left running in the background may hold the output open: that is not waited for. */
static ToolsEnd attend(const ToolsRun *run, OsChild *c, Hearing *h) {
    Str input = run->input;
    uint64_t start = os_now_ns(), ended = 0;
    for (bool open = true;;) {
        if (c->in >= 0 && !input.len) os_child_end_input(c);
        open = os_child_move(c, &input, open ? STEP_NS : STEP_NS / 20, hear, h);
        uint64_t now = os_now_ns();
        bool gone = os_child_ended(c);
        if (gone && !open) return TOOLS_DONE;
        if (gone && !ended) ended = now;
        if (gone && now - ended > LAST_WORDS_NS) return TOOLS_DONE;
        if (os_interrupted()) return TOOLS_STOPPED;
        if (now - start > run->limit_ns && !gone) return TOOLS_FAILED;
    }
}

ToolsEnd tools_run(const ToolsRun *run, ToolsOutput *out) {
    Err err = {0};
    OsChild child;
    OsChildSpec spec = {.argv = run->argv, .folder = run->folder, .err = run->together ? OS_CHILD_ERR_WITH_OUT : OS_CHILD_ERR_APART};
    if (os_child_start(&child, &spec, &err)) {
        tools_output_note(out, "%s", err.text);
        return TOOLS_FAILED;
    }
    Hearing h = {.out = out, .errors = {.most = MOST_ERRORS}};
    ToolsEnd end = attend(run, &child, &h);
    os_child_end(&child);
    Buf errors = {0};
    tools_output_end(&h.errors, &errors);
    if (end == TOOLS_STOPPED) tools_output_note(out, "the user stopped this call with Ctrl-C");
    if (end == TOOLS_FAILED) tools_output_note(out, "stopped: it took longer than %g seconds", (double)run->limit_ns * 1e-9);
    if (end == TOOLS_DONE && child.status != 0) {
        end = TOOLS_FAILED;
        while (errors.len && errors.ptr[errors.len - 1] == '\n') errors.len--;
        if (errors.len) buf_put(&out->notes, errors.ptr, errors.len);
        tools_output_note(out, "exit status %d", child.status);
    }
    buf_free(&errors);
    if (end == TOOLS_DONE && !out->total) tools_output_note(out, "it succeeded and said nothing");
    return end;
}
