/* sluice serve: the HTTP server, from the options of the command line. */
#include "serve/serve.h"
#include "cli/commands.h"
#include "cli/opened.h"
#include "cli/source.h"

#include <stdio.h>
#include <string.h>

static void over_defaults(void *user, sluice_sampling *sampling) { options_into_sampling(user, sampling); }

/* What clients call the model: the file without its folder, its ending and the number of its part. */
static void name_of(const char *path, char *out, size_t size) {
    size_t len = strlen(path);
    while (len > 1 && path[len - 1] == '/') len--;
    size_t begin = len;
    while (begin > 0 && path[begin - 1] != '/') begin--;
    snprintf(out, size, "%.*s", (int)(len - begin), path + begin);
    len = strlen(out);
    if (len > 5 && strcmp(out + len - 5, ".gguf") == 0) out[len -= 5] = 0;
    static const char part[] = "-00001-of-00001"; /* digits stand for any */
    size_t n = sizeof part - 1;
    if (len <= n) return;
    bool is_part = true;
    for (size_t i = 0; i < n; i++) {
        char c = out[len - n + i];
        is_part = is_part && (part[i] >= '0' && part[i] <= '9' ? c >= '0' && c <= '9' : c == part[i]);
    }
    if (is_part) out[len - n] = 0;
}

ErrCode serve_command(const Options *o, Err *err) {
    static char name[256];
    name_of(opt_text(o, OPT_MODEL, "tiny-tales"), name, sizeof name);
    ServeConfig config = {.model_name = name,
                          .host = opt_text(o, OPT_HOST, "127.0.0.1"),
                          .port = opt_int(o, OPT_PORT, 8080),
                          .key_file = opt_text(o, OPT_API_KEY_FILE, NULL),
                          .parallel = opt_int(o, OPT_PARALLEL, 1),
                          .queue = opt_int(o, OPT_QUEUE, 64),
                          .state_folder = opt_text(o, OPT_STATE_DIR, NULL),
                          .trace_dir = opt_text(o, OPT_TRACE_REQUESTS, NULL),
                          .cors = opt_text(o, OPT_CORS, NULL),
                          .sampling = over_defaults,
                          .user = (void *)o};
    ErrCode code = opened_options(o, 0, &config.options, err);
    if (code) return code;
    if (!opt_given(o, OPT_MODEL)) log_note("no -m: the small story model inside sluice answers");
    return serve_run(&config, err);
}
