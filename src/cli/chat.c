/* sluice chat: the conversation in the terminal, from the options of the command line. */
#include "chat/chat.h"
#include "cli/commands.h"
#include "cli/io.h"
#include "cli/opened.h"
#include "cli/state.h"

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

ErrCode chat_command(const Options *o, Err *err) {
    static Opened e; /* its address is the engine's user pointer */
    static char folder[1024];
    Buf questions = {0};
    ErrCode code = opt_given(o, OPT_QUESTIONS) ? input_file(opt_text(o, OPT_QUESTIONS, ""), &questions, err) : ERR_OK;
    if (!code) code = opened_open(o, 0, text_bytes(o), &e, err);
    if (!code) code = check(o, &e, err);
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
                             .colour = os_stdout_is_terminal() && !getenv("NO_COLOR"),
                             .folder = state_folder(folder, sizeof folder),
                             .resume = opt_text(o, OPT_RESUME, NULL)};
        code = opt_given(o, OPT_QUESTIONS) ? chat_batch(&config, &questions, opt_text(o, OPT_OUT, NULL), err) : chat_run(&config, err);
    }
    code = opened_end_trace(&e, code, err);
    opened_close(&e);
    buf_free(&questions);
    return code;
}
