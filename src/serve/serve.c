/* The server from start to end. */
#include "serve/serve.h"
#include "serve/http.h"
#include "os/os.h"

#include <time.h>

static const uint64_t TICK_NS = 50000000, GRACE_NS = 1000000000, LAST_WORDS_NS = 500000000;

static ErrCode open_all(Serve *s, struct MHD_Daemon **daemon, Err *err) {
    s->model.created = (int64_t)time(NULL);
    ErrCode code = serve_guard_open(s, err);
    if (!code && s->config->trace_dir) code = os_make_folder(s->config->trace_dir, err);
    if (code) return code;
    serve_purse_open(&s->purse, s->config->options.ram_bytes);
    if (!serve_board_init(&s->board)) return err_no_memory(err, sizeof *s, "the server");
    if (!serve_queue_init(&s->queue, s->config->queue + s->config->parallel) || pthread_mutex_init(&s->text, NULL))
        return err_no_memory(err, sizeof *s, "the server");
    return serve_http_open(s, daemon, err);
}

/* Until a signal comes, or the model cannot be opened. */
static void watch(Serve *s) {
    bool told = false, used = false;
    int ticks = 0;
    while (!os_interrupted() && !atomic_load(&s->broken)) {
        os_sleep_ns(TICK_NS);
        serve_http_tidy(s);
        if (++ticks % 5 == 0) serve_board_fade(&s->board);
        bool busy = atomic_load(&s->running) > 0;
        if (used && !busy && ticks % 20 == 0) os_heap_trim();
        used = busy || (used && ticks % 20 != 0);
        if (told || serve_phase(s) != SERVE_READY) continue;
        log_note("%s is ready: context %d, %d at a time", s->model.name, s->model.info.ctx, s->config->parallel);
        told = true;
    }
}

/* Nothing new is taken; what runs has a moment to end by itself. */
static void wind_down(Serve *s) {
    atomic_store(&s->phase, SERVE_STOPPING);
    serve_queue_wake(&s->queue);
    uint64_t until = os_now_ns() + GRACE_NS;
    while (atomic_load(&s->running) > 0 && os_now_ns() < until) os_sleep_ns(TICK_NS / 5);
    atomic_store(&s->phase, SERVE_CUT);
    serve_worker_stop(s);
    for (until = os_now_ns() + LAST_WORDS_NS; atomic_load(&s->visits) > 0 && os_now_ns() < until;) os_sleep_ns(TICK_NS / 5);
}

ErrCode serve_run(const ServeConfig *config, Err *err) {
    static Serve s; /* its address is the engine's user pointer, and that of every thread */
    s.config = config;
    struct MHD_Daemon *daemon = NULL;
    os_heap_share();
    ErrCode code = open_all(&s, &daemon, err);
    if (!code && serve_worker_start(&s, err)) {
        watch(&s);
        wind_down(&s);
        if (atomic_load(&s.broken)) code = err_set(err, s.failure.code, "%s", s.failure.text);
        else if (os_interrupted() && !os_terminated()) code = err_set(err, ERR_INTERRUPTED, "stopped");
    } else if (!code) {
        code = ERR_STATE;
    }
    serve_http_close(&s, daemon);
    serve_worker_close(&s);
    serve_guard_close(&s);
    serve_board_free(&s.board);
    return code;
}
