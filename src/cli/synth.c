/* sluice synth: a model file of random weights. */
#include "cli/commands.h"
#include "cli/io.h"
#include "cli/shape.h"
#include "os/os.h"

#include <stdio.h>

typedef struct Synth {
    OsProgress bar;
    uint64_t begin;   /* bytes that were there already */
    bool begun;
} Synth;

static bool show(void *user, uint64_t done, uint64_t total) {
    Synth *s = user;
    if (!s->begun) {
        s->begun = true;
        s->begin = done;
        os_progress_start(&s->bar, "writing", NULL, total - done);
    }
    os_progress_step(&s->bar, done - s->begin);
    return !os_interrupted();
}

/* Before a byte is written: how long the file will be, and of what. */
static void announce(const ForgeOptions *o, const Forge *f, const char *path) {
    char a[32];
    const ForgeShape *s = &o->shape;
    uint32_t layers = o->layers ? o->layers : s->layers;
    log_note("%s: %llu bytes (%s), %s with %u of %u layers, experts %s, dense weights %s, seed %llu%s", path,
             (unsigned long long)forge_bytes(f), format_size(forge_bytes(f), a), s->name, layers, s->layers,
             quant_traits(o->experts)->name, quant_traits(o->dense)->name, (unsigned long long)o->seed,
             o->skew > 0 ? ", uneven routing" : "");
}

static void result(const Options *o, const ForgeOptions *made, const Forge *f, const char *path, uint64_t ns) {
    if (opt_on(o, OPT_JSON)) {
        out_json(json_pack("{s:s,s:s,s:I,s:i,s:I,s:s,s:s,s:f,s:f}", "file", path, "shape", made->shape.name, "bytes",
                           (json_int_t)forge_bytes(f), "tensors", (int)forge_tensors(f), "seed", (json_int_t)made->seed, "quant",
                           quant_traits(made->experts)->name, "dense", quant_traits(made->dense)->name, "skew", made->skew, "seconds",
                           (double)ns * 1e-9));
        return;
    }
    out_printf("%s\n", path);
}

static ErrCode make(const Options *o, const ForgeOptions *options, const char *path, Err *err) {
    Forge *f = forge_new(options, err);
    if (!f) return err->code;
    Synth s = {.begun = false};
    uint64_t start = os_now_ns();
    announce(options, f, path);
    ErrCode code = forge_write(f, path, show, &s, err);
    os_progress_end(&s.bar);
    if (!code) result(o, options, f, path, os_now_ns() - start);
    forge_free(f);
    return code;
}

ErrCode synth_command(const Options *o, Err *err) {
    ForgeOptions options;
    const char *path = opt_text(o, OPT_OUT, "");
    if (!opt_given(o, OPT_SHAPE)) return err_set(err, ERR_USAGE, "which model? --shape NAME, as --shape qwen3.5-35b-a3b");
    ErrCode code = shape_options(o, &options, err);
    if (code) return code;
    if (!*path) return err_set(err, ERR_USAGE, "where to? -o FILE");
    if (path[0] == '-' && path[1] == 0)
        return err_set(err, ERR_USAGE, "-o -: a model is written to a file, so that it can be continued; give a path");
    if (os_exists(path)) return err_set(err, ERR_USAGE, "%s is there already; remove it, or choose another name", path);
    return make(o, &options, path, err);
}
