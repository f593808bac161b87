/* sluice bench: prefill and decode speed beside the machine's own bound. */
#include "cli/bench.h"
#include "cli/commands.h"
#include "cli/io.h"

#include <string.h>

/* ---- from the headers ---- */

static ErrCode copy_paths(Bench *b, const FormatModel *format, Err *err) {
    b->paths = MEM_NEW(char *, format->n_files);
    if (!b->paths) return err_no_memory(err, (uint64_t)format->n_files * sizeof *b->paths, "the files of the model");
    for (; b->n_paths < format->n_files; b->n_paths++) {
        const FormatFile *f = &format->files[b->n_paths];
        b->paths[b->n_paths] = mem_strdup(f->path);
        if (!b->paths[b->n_paths]) return err_no_memory(err, strlen(f->path), "a path");
    }
    return ERR_OK;
}

static ErrCode read_headers(Bench *b, Err *err) {
    FormatModel *format = source_format(b->o, err);
    if (!format) return err->code;
    Model *model = model_new(format, err);
    ErrCode code = model ? ERR_OK : err->code;
    if (!code) {
        lab_formats(model, &b->formats);
        QuantType kv_type = QUANT_F32;
        quant_from_name(opt_text(b->o, OPT_KV, "f32"), &kv_type);
        engine_work(model, (uint32_t)opt_int(b->o, OPT_EXPERTS, 0), kv_type, &b->work);
        b->request_bytes = lab_request_bytes(model);
        code = copy_paths(b, format, err);
    }
    if (model) model_free(model);
    format_close(format);
    return code;
}

/* ---- the probes: their memory is taken before the model is opened, so that the plan counts it ---- */

static ErrCode open_disk(Bench *b, const char *io, const char *direct, Err *err) {
    DiskChoose how;
    if (disk_words(io, direct, &how, err)) return ERR_USAGE;
    DiskProbeConfig disk = {.paths = (const char *const *)b->paths, .n_paths = b->n_paths, .backend = how.backend, .direct = how.direct,
                            .memory_bytes = b->disk_buffer, .again = true};
    b->disk = disk_probe_new(&disk, err);
    return b->disk ? ERR_OK : err->code;
}

static ErrCode open_probes(Bench *b, Err *err) {
    const Options *o = b->o;
    OsMemory memory;
    os_memory(&memory);
    uint64_t ram = opt_given(o, OPT_RAM) ? o->value[OPT_RAM].bytes : engine_default_budget(memory.budget), share = ram / 32;
    LabProbeConfig probe = {.formats = b->formats, .precise = opt_on(o, OPT_PRECISE), .threads = opt_int(o, OPT_THREADS, 0),
                            .dram_bytes = 4 * lab_cache_bytes(0)};
    ErrCode code = kernels_choose(opt_text(o, OPT_CPU, NULL), &probe.kernels, err);
    if (code) return code;
    if (probe.dram_bytes > (UINT64_C(512) << 20)) probe.dram_bytes = UINT64_C(512) << 20;
    if (probe.dram_bytes > share) probe.dram_bytes = share > (1 << 20) ? share : 1 << 20;
    b->probe = lab_probe_new(&probe, err);
    if (!b->probe) return err->code;
    b->disk_buffer = 32 * (uint64_t)b->request_bytes;
    if (b->disk_buffer > (64 << 20)) b->disk_buffer = 64 << 20;
    if (b->disk_buffer > share) b->disk_buffer = share;
    if (b->disk_buffer < b->request_bytes) b->disk_buffer = b->request_bytes;
    return open_disk(b, opt_text(o, OPT_IO, "auto"), opt_text(o, OPT_DIRECT, "auto"), err);
}

/* The engine may have chosen by measuring: the probe reads as it does. */
static ErrCode match_disk(Bench *b, Err *err) {
    DiskInfo probe;
    const sluice_info *engine = &b->e.info;
    disk_probe_info(b->disk, &probe);
    if (strcmp(probe.backend, engine->io) == 0 && probe.direct == engine->direct) return ERR_OK;
    disk_probe_free(b->disk);
    b->disk = NULL;
    return open_disk(b, engine->io, engine->direct ? "on" : "off", err);
}

/* ---- running ---- */

static bool show_progress(void *user, const char *what, int rep, int done, int total) {
    static const char *shown;
    static OsProgress bar;
    Bench *b = user;
    if (shown != what) {
        os_progress_end(&bar);
        os_progress_end(&b->e.bar);
        log_debug("repetition %d of %d: %s", rep + 1, b->reps, what);
        os_progress_start(&bar, what, "tokens", (uint64_t)total);
        shown = what;
    }
    if (total > 1) os_progress_step(&bar, (uint64_t)done);
    if (done + 1 >= total) os_progress_end(&bar);
    return !os_interrupted();
}

/* Beside what --trace records. */
static void set_probe(void *user, const sluice_probe *probe) { opened_set_probe(&((Bench *)user)->e, probe); }

enum { MOST_WARM = 40 };

/* Until every slot was filled about twice: then what is in the cache is what decoding left there, not the prompt. And until the engine
 * can have found out whether looking ahead pays, where there is anything to read. */
static int warm_tokens(const Bench *b) {
    uint64_t per_token = (uint64_t)b->work.layers * b->work.experts_per_token;
    uint64_t n = per_token ? 2 * (uint64_t)b->e.info.plan.cache_slots / per_token : 0;
    if (b->e.info.plan.cache_slots < b->e.info.plan.experts_total && strncmp(b->e.info.lookahead, "auto", 4) == 0) return MOST_WARM;
    return n < 4 ? 4 : n > MOST_WARM ? MOST_WARM : (int)n;
}

static void summarize(Bench *b) {
    EngineMachine *m = &b->machine;
    double values[6][1001];
    int n = b->reps + 1;
    for (int r = 0; r < n; r++) {
        const EngineMachine *at = r < b->reps ? &b->rep[r].machine : &b->after;
        values[0][r] = at->disk_bytes_per_s;
        values[1][r] = at->disk_read_s;
        values[2][r] = at->dram_bytes_per_s;
        values[3][r] = at->dense_weights_per_s;
        values[4][r] = at->expert_weights_per_s;
        values[5][r] = at->batched_weights_per_s;
    }
    *m = (EngineMachine){lab_median(values[0], n), lab_median(values[1], n), lab_median(values[2], n), lab_median(values[3], n),
                         lab_median(values[4], n), lab_median(values[5], n), b->after.threads};
    uint32_t position = (uint32_t)(b->prefill + b->warm + b->decode / 2);
    for (int r = 0; r < b->reps; r++) lab_bounds(&b->work, m, &b->rep[r].decode, position, &b->bounds[r]);
    const sluice_info *info = &b->e.info;
    uint32_t tokens = (uint32_t)(b->prefill < info->chunk ? b->prefill : info->chunk);
    engine_predict(&b->work, m, &info->plan, tokens, position, bench_spread(b, bench_hit_rate).median, &b->predicted);
    engine_predict(&b->work, m, &info->plan, tokens, position, -1, &b->blind);
}

static ErrCode run(Bench *b, Err *err) {
    ErrCode code = read_headers(b, err);
    if (!code) code = open_probes(b, err);
    if (!code) code = opened_open(b->o, b->prefill + MOST_WARM + b->decode, 0, &b->e, err);
    if (!code) code = match_disk(b, err);
    if (code) return code;
    if (!opt_given(b->o, OPT_SEED)) b->e.seed = 1; /* the same ids in every run, so that runs can be compared */
    b->warm = warm_tokens(b);
    b->rep = MEM_NEW(LabRep, (size_t)b->reps);
    b->bounds = MEM_NEW(LabBounds, (size_t)b->reps);
    if (!b->rep || !b->bounds) return err_no_memory(err, (uint64_t)b->reps * sizeof *b->rep, "the results");
    LabBenchConfig config = {.model = b->e.model, .session = b->e.session, .probe = b->probe, .disk = b->disk,
                             .request_bytes = b->request_bytes, .prefill = b->prefill, .decode = b->decode, .warm = b->warm,
                             .reps = b->reps, .seed = b->e.seed, .paths = (const char *const *)b->paths, .n_paths = b->n_paths,
                             .set_probe = set_probe, .progress = show_progress, .user = b};
    code = lab_bench(&config, b->rep, &b->after, err);
    if (!code) summarize(b);
    return code;
}

ErrCode bench_command(const Options *o, Err *err) {
    static Bench b; /* its address is the engine's user pointer */
    b.o = o;
    b.prefill = opt_int(o, OPT_PREFILL, 512);
    b.decode = opt_int(o, OPT_PREDICT, 64);
    b.reps = opt_int(o, OPT_REPS, 3);
    if (b.decode < 1) return err_set(err, ERR_USAGE, "-n wants at least 1 token to decode");
    ErrCode code = run(&b, err);
    if (!code && opt_on(o, OPT_JSON)) out_json(bench_json(&b));
    else if (!code) bench_print(&b);
    code = opened_end_trace(&b.e, code, err);
    opened_close(&b.e);
    lab_probe_free(b.probe);
    disk_probe_free(b.disk);
    for (uint32_t i = 0; i < b.n_paths; i++) mem_free(b.paths[i]);
    mem_free(b.paths);
    mem_free(b.rep);
    mem_free(b.bounds);
    return code;
}
