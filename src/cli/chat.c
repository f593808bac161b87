/* sluice chat: the conversation in the terminal, from the options of the command line. */
#include "chat/chat.h"
#include "cli/commands.h"
#include "cli/io.h"
#include "cli/opened.h"
#include "cli/state.h"
#include "text/text.h"

#include <stdlib.h>
#include <string.h>

static ErrCode feed(void *user, const int32_t *ids, size_t n, Err *err) { return opened_feed(user, ids, n, err); }

static ErrCode check(const Options *o, const Opened *e, Err *err) {
    if (opt_given(o, OPT_QUESTIONS) && opt_given(o, OPT_RESUME))
        return err_set(err, ERR_USAGE, "--resume goes on with a conversation, -f answers the lines of a file: one of the two");
    if (opt_given(o, OPT_OUT) && !opt_given(o, OPT_QUESTIONS)) return err_set(err, ERR_USAGE, "-o is for the answers of -f FILE");
    if (e->info.has_chat_template) return ERR_OK;
    return err_set(err, ERR_UNSUPPORTED, "a conversation needs the model's chat template, %s%s; `sluice run --raw` continues a text",
                   e->info.chat_template_error ? "which cannot be used: " : "and this model has none",
                   e->info.chat_template_error ? e->info.chat_template_error : "");
}

/* A conversation may become as long as the context: so much text passes through the template and the tokenizer. */
enum { DEFAULT_CTX = 4096, BYTES_PER_TOKEN = 6, TEMPLATE_TIMES = 10 };

static uint64_t text_bytes(const Options *o) {
    size_t len = (size_t)opt_int(o, OPT_CTX, DEFAULT_CTX) * BYTES_PER_TOKEN;
    return sluice_text_memory(NULL, 0) + (uint64_t)len * (TEMPLATE_TIMES + 60);
}

static bool may_colour(void) {
    const char *no = getenv("NO_COLOR"); /* https://no-color.org: any word but the empty one */
    return !no || !*no;
}

/* ---- tools ---- */

enum { ROUNDS = 25, MOST_RESULT = 64 << 10 };

static ErrCode check_tools(const Opened *e, Err *err) {
    const char *source = sluice_chat_template(e->model);
    if (source && text_calls_form(str_c(source)) != TEXT_FORM_NONE) return ERR_OK;
    return err_set(err, ERR_UNSUPPORTED, "the chat template of this model has no place for tools, or writes calls in a form that is not "
                   "known here: leave --tools, --allow and --mcp out, or take a model that was taught to call tools");
}

/* *tools stays NULL where none are asked for. */
static ErrCode open_tools(const Options *o, const Opened *e, Tools **tools, Err *err) {
    static const OptionId about[] = {OPT_YES, OPT_WORKDIR, OPT_TOOL_TIME, OPT_TOOL_OUTPUT, OPT_ROUNDS};
    bool any = opt_given(o, OPT_TOOLS) || opt_given(o, OPT_ALLOW) || opt_given(o, OPT_MCP);
    for (size_t i = 0; !any && i < COUNT_OF(about); i++)
        if (opt_given(o, about[i]))
            return err_set(err, ERR_USAGE, "there are no tools: --tools FILE, --allow NAMES or --mcp COMMAND brings some");
    ErrCode code = any ? check_tools(e, err) : ERR_OK;
    if (!any || code) return code;
    uint64_t most = opt_given(o, OPT_TOOL_OUTPUT) ? o->value[OPT_TOOL_OUTPUT].bytes : (uint64_t)e->info.ctx;
    double seconds = opt_given(o, OPT_TOOL_TIME) ? o->value[OPT_TOOL_TIME].real : 0;
    if (!opt_given(o, OPT_TOOL_OUTPUT) && most > MOST_RESULT) most = MOST_RESULT;
    ToolsConfig config = {.folder = opt_text(o, OPT_WORKDIR, NULL), .limit_ns = (uint64_t)(seconds * 1e9), .most_bytes = (size_t)most,
                          .verbose = opt_on(o, OPT_VERBOSE)};
    *tools = tools_new(&config, err);
    if (!*tools) return err->code;
    if (opt_given(o, OPT_ALLOW)) code = tools_allow(*tools, opt_text(o, OPT_ALLOW, ""), err);
    if (!code && opt_given(o, OPT_TOOLS)) code = tools_load(*tools, opt_text(o, OPT_TOOLS, ""), err);
    if (!code && opt_given(o, OPT_MCP)) code = tools_connect(*tools, opt_text(o, OPT_MCP, ""), err);
    return code;
}

ErrCode chat_command(const Options *o, Err *err) {
    static Opened e; /* its address is the engine's user pointer */
    static char folder[1024];
    Buf questions = {0};
    Tools *tools = NULL;
    ErrCode code = opt_given(o, OPT_QUESTIONS) ? input_file(opt_text(o, OPT_QUESTIONS, ""), &questions, err) : ERR_OK;
    if (!code) code = opened_open(o, 0, text_bytes(o), &e, err);
    if (!code) code = check(o, &e, err);
    if (!code) code = open_tools(o, &e, &tools, err);
    if (!code) {
        const char *think = opt_text(o, OPT_THINK, NULL);
        ChatConfig config = {.model = e.model,
                             .session = e.session,
                             .feed = feed,
                             .user = &e,
                             .sampling = opened_sampling(o, &e),
                             .seed = e.seed,
                             .max_tokens = opt_int(o, OPT_PREDICT, -1),
                             .system = opt_text(o, OPT_SYSTEM, NULL),
                             .think = !think ? CHAT_THINK_DEFAULT : strcmp(think, "on") == 0 ? CHAT_THINK_ON : CHAT_THINK_OFF,
                             .terminal = os_stdout_is_terminal(),
                             .colour = os_stdout_is_terminal() && may_colour(),
                             .folder = state_folder(folder, sizeof folder),
                             .resume = opt_text(o, OPT_RESUME, NULL),
                             .tools = tools,
                             .yes = opt_on(o, OPT_YES),
                             .rounds = opt_int(o, OPT_ROUNDS, ROUNDS)};
        code = opt_given(o, OPT_QUESTIONS) ? chat_batch(&config, &questions, opt_text(o, OPT_OUT, NULL), err) : chat_run(&config, err);
    }
    code = opened_end_trace(&e, code, err);
    opened_close(&e);
    tools_free(tools);
    buf_free(&questions);
    return code;
}
