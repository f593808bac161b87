/* The measurement of bench: probes of the machine and repetitions of a prompt and an answer take turns, since machines are noisy.
 *
 * The ids that are fed are random, for the prompt and for the answer: with random weights greedy decoding falls into a cycle and asks
 * for the same experts again and again. Every repetition has ids of its own, so that none finds the experts of another in the cache;
 * the same seed gives the same ids. */
#include "lab/lab.h"

#include <string.h>

enum { MAX_VALUES = 1024 };

double lab_median(const double *values, int n) {
    double sorted[MAX_VALUES] = {0};
    if (n > MAX_VALUES) n = MAX_VALUES;
    if (n < 1) return 0;
    for (int i = 0; i < n; i++) {
        int at = i;
        for (; at > 0 && sorted[at - 1] > values[i]; at--) sorted[at] = sorted[at - 1];
        sorted[at] = values[i];
    }
    return n % 2 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
}

static ErrCode probe(const LabBenchConfig *c, EngineMachine *m, bool *cached, Err *err) {
    LabDisk disk;
    ErrCode code = lab_disk(c->disk, c->request_bytes, 0.5, &disk, err);
    if (code) return code;
    *m = (EngineMachine){.disk_bytes_per_s = disk.bytes_per_s, .disk_read_s = disk.read_s, .dram_bytes_per_s = lab_probe_dram(c->probe),
                         .dense_weights_per_s = lab_probe_dense(c->probe), .expert_weights_per_s = lab_probe_expert(c->probe),
                         .batched_weights_per_s = lab_probe_batched(c->probe), .threads = lab_probe_threads(c->probe)};
    *cached = disk.cached;
    return ERR_OK;
}

static ErrCode of_engine(const sluice_error *from, Err *err) { return err_set(err, (ErrCode)from->code, "%s", from->message); }

static void count_misses(void *user, int layer, int position, int n, int n_wanted, const int32_t *experts, const uint8_t *hit,
                         uint64_t wait_ns) {
    LabRun *run = user;
    uint32_t missed = 0;
    (void)layer, (void)position, (void)n, (void)experts, (void)wait_ns;
    for (int i = 0; i < n_wanted; i++) missed += hit[i] != SLUICE_HIT; /* what was read ahead had to be read */
    run->misses[missed < LAB_MAX_MISSES ? missed : LAB_MAX_MISSES - 1]++;
}

/* The n tokens of ids, all at once or one by one. */
static ErrCode feed(const LabBenchConfig *c, const int32_t *ids, int n, bool one_by_one, int rep, const char *what, LabRun *run, Err *err) {
    sluice_error failure = {0};
    sluice_reset_stats(c->model);
    uint64_t start = os_now_ns();
    for (int at = 0; at < n;) {
        int now = one_by_one ? 1 : n;
        if (c->progress && !c->progress(c->user, what, rep, at, n)) return err_set(err, ERR_INTERRUPTED, "interrupted");
        if (sluice_feed(c->session, ids + at, (size_t)now, &failure)) return of_engine(&failure, err);
        at += now;
    }
    run->ns = os_now_ns() - start;
    run->tokens = (uint64_t)n;
    sluice_get_stats(c->model, &run->stats);
    return ERR_OK;
}

static void drop_caches(const LabBenchConfig *c, double *cached) {
    sluice_info info;
    sluice_get_info(c->model, &info);
    *cached = -1;
    if (info.direct) return;
    double most = -1;
    for (uint32_t i = 0; i < c->n_paths; i++) {
        OsFile f;
        if (os_open(&f, c->paths[i], false, NULL)) continue;
        os_drop_cache(&f, 0, f.size);
        double share = os_cached_share(&f);
        if (share > most) most = share;
        os_close(&f);
    }
    *cached = most;
}

static void set_probe(const LabBenchConfig *c, const sluice_probe *probe) {
    if (c->set_probe) c->set_probe(c->user, probe);
    else sluice_set_probe(c->session, probe);
}

static ErrCode repeat(const LabBenchConfig *c, int32_t *ids, int rep, LabRep *out, Err *err) {
    sluice_info info;
    sluice_get_info(c->model, &info);
    Xoshiro random;
    xoshiro_seed(&random, c->seed + (uint64_t)rep);
    int total = c->prefill + c->warm + c->decode;
    for (int i = 0; i < total; i++) ids[i] = (int32_t)(xoshiro_unit(&random) * info.vocab);
    drop_caches(c, &out->cached);
    sluice_session_reset(c->session);
    LabRun warm;
    ErrCode code = feed(c, ids, c->prefill, false, rep, "prefill", &out->prefill, err);
    if (!code) code = feed(c, ids + c->prefill, c->warm, true, rep, "warming up", &warm, err);
    sluice_probe counting = {.user = &out->decode, .fetch = count_misses};
    set_probe(c, &counting);
    if (!code) code = feed(c, ids + c->prefill + c->warm, c->decode, true, rep, "decode", &out->decode, err);
    set_probe(c, NULL);
    return code;
}

ErrCode lab_bench(const LabBenchConfig *c, LabRep *reps, EngineMachine *after, Err *err) {
    int32_t *ids = MEM_NEW(int32_t, (size_t)(c->prefill + c->warm + c->decode));
    if (!ids) return err_no_memory(err, 4 * (uint64_t)(c->prefill + c->decode), "token ids");
    ErrCode code = ERR_OK;
    for (int r = 0; r < c->reps && !code; r++) {
        memset(&reps[r], 0, sizeof reps[r]);
        if (c->progress && !c->progress(c->user, "probing", r, 0, 1)) code = err_set(err, ERR_INTERRUPTED, "interrupted");
        if (!code) code = probe(c, &reps[r].machine, &reps[r].probe_cached, err);
        if (!code) code = repeat(c, ids, r, &reps[r], err);
    }
    bool cached; /* is said of the repetitions */
    if (!code) code = probe(c, after, &cached, err);
    mem_free(ids);
    return code;
}
