/* sluice simulate: a recorded trace through every policy and many cache sizes. */
#include "cli/commands.h"
#include "cli/io.h"
#include "cli/state.h"
#include "lab/lab.h"

#include <string.h>

enum { SIZES_MAX = 16, COLUMNS = CACHE_POLICIES + 2, PINNED = CACHE_POLICIES, BELADY = CACHE_POLICIES + 1 };

typedef struct Simulation {
    const LabTrace *trace;
    uint32_t slots[SIZES_MAX], floors[SIZES_MAX];
    int n_sizes;
    LabReplay replay[SIZES_MAX][COLUMNS];
    Err failed[SIZES_MAX][COLUMNS];
    LabLocality locality;
    double disk;     /* bytes per second: of --disk, or as doctor found it; 0: nobody knows */
    double recorded; /* hit rate of the run itself; -1: the trace does not tell */
} Simulation;

static const char *column_name(int column) {
    return column == PINNED ? "pinned" : column == BELADY ? "belady" : cache_policy_name((CachePolicy)column);
}

static double recorded_hit_rate(const LabTrace *t) {
    uint64_t hits = 0;
    for (size_t i = 0; i < t->n_wants; i++)
        if (!t->wants[i].hits_known) return -1;
    for (size_t i = 0; i < t->n_wanted; i++) hits += t->hits[i];
    return (double)hits / (double)t->n_wanted;
}

/* ---- sizes --------------------------------------------------------------------------------------------------------- */

static void add_size(Simulation *s, uint64_t slots) {
    const LabTraceFacts *f = &s->trace->facts;
    int at = s->n_sizes;
    if (slots < 1 || slots > (uint64_t)f->layers * f->experts || at == SIZES_MAX) return;
    for (int i = 0; i < s->n_sizes; i++)
        if (s->slots[i] == slots) return;
    for (; at > 0 && s->slots[at - 1] > slots; at--) s->slots[at] = s->slots[at - 1];
    s->slots[at] = (uint32_t)slots;
    s->n_sizes++;
}

/* From half of one token's working set to everything that the trace touches, each 1.4 times the one before; and what the trace was
 * recorded with. */
static void choose_sizes(Simulation *s) {
    uint32_t token = s->locality.working_set, all = s->locality.touched;
    add_size(s, token / 2);
    double slots = token;
    while (slots < all) {
        add_size(s, (uint64_t)slots);
        slots *= 1.4;
    }
    add_size(s, all);
    add_size(s, s->trace->facts.slots);
}

/* ---- running ------------------------------------------------------------------------------------------------------- */

static void run_one(void *arg, int task, int worker) {
    Simulation *s = arg;
    (void)worker;
    int size = task / COLUMNS, column = task % COLUMNS;
    uint32_t slots = s->slots[size];
    LabReplay *out = &s->replay[size][column];
    Err *err = &s->failed[size][column];
    if (column == BELADY) lab_belady(s->trace, slots, out, err);
    else if (column == PINNED) lab_pinned(s->trace, slots, out, err);
    else lab_simulate(s->trace, (CachePolicy)column, slots, s->floors[size], out, err);
}

static ErrCode run(const Options *o, Simulation *s, Err *err) {
    ErrCode code = lab_locality(s->trace, &s->locality, err);
    if (code) return code;
    choose_sizes(s);
    const LabTraceFacts *f = &s->trace->facts;
    for (int i = 0; i < s->n_sizes; i++)
        s->floors[i] = opt_given(o, OPT_FLOOR) ? (uint32_t)opt_int(o, OPT_FLOOR, 0) : f->top_k;
    OsPool *pool = os_pool_new(opt_int(o, OPT_THREADS, os_cpu_count()), err);
    if (!pool) return err->code;
    os_pool_run(pool, s->n_sizes * COLUMNS, run_one, s);
    os_pool_free(pool);
    for (int i = 0; i < s->n_sizes * COLUMNS; i++)
        if (s->failed[i / COLUMNS][i % COLUMNS].code) {
            *err = s->failed[i / COLUMNS][i % COLUMNS];
            return err->code;
        }
    return ERR_OK;
}

/* ---- telling ------------------------------------------------------------------------------------------------------- */

static double misses_per_token(const Simulation *s, const LabReplay *r) {
    return (double)(r->wanted - r->hits) / (double)s->trace->n_tokens;
}

static double late_rate(const LabReplay *r) { return r->late_wanted ? (double)r->late_hits / (double)r->late_wanted : 0; }

static void tell_json(const Simulation *s, const char *path) {
    const LabTrace *t = s->trace;
    const LabTraceFacts *f = &t->facts;
    const LabLocality *l = &s->locality;
    json_t *reuse = json_array();
    for (int i = 0; i < LAB_REUSE_BUCKETS && (i == 0 || l->reuse[i - 1] < 1 - l->first_uses - 1e-12); i++)
        json_array_append_new(reuse, json_pack("{s:i,s:f}", "slots", 1 << i, "share", l->reuse[i]));
    json_t *facts = json_pack("{s:s,s:o,s:s,s:I,s:I,s:i,s:i,s:i,s:I,s:i,s:i,s:i}", "type", "trace", "file", json_text(path, strlen(path)),
                              "model", f->model, "tokens", (json_int_t)t->n_tokens, "steps", (json_int_t)t->n_steps, "layers",
                              (int)f->layers, "experts", (int)f->experts, "top_k", (int)f->top_k, "record_bytes",
                              (json_int_t)f->record_bytes, "slots", (int)f->slots, "working_set", (int)l->working_set, "touched",
                              (int)l->touched);
    if (s->recorded >= 0) json_object_set_new(facts, "recorded_hit_rate", json_real(s->recorded));
    out_json(facts);
    out_json(json_pack("{s:s,s:f,s:f,s:f,s:f,s:f,s:f,s:f,s:o}", "type", "locality", "previous_token", l->previous_token,
                       "across_layers", l->across_layers, "chance", l->chance, "top5", l->top5, "top10", l->top10, "top20", l->top20,
                       "first_uses", l->first_uses, "reuse", reuse));
    for (int i = 0; i < s->n_sizes; i++)
        for (int c = 0; c < COLUMNS; c++) {
            const LabReplay *r = &s->replay[i][c];
            double misses = misses_per_token(s, r), bytes = misses * (double)f->record_bytes;
            json_t *line = json_pack("{s:s,s:s,s:i,s:f,s:i,s:f,s:f,s:f,s:f}", "type", "replay", "policy", column_name(c), "slots",
                                     (int)s->slots[i], "share", (double)s->slots[i] / ((double)f->layers * f->experts), "floor",
                                     (int)s->floors[i], "hit_rate", lab_hit_rate(r), "hit_rate_second_half", late_rate(r),
                                     "reads_per_token", misses, "bytes_per_token", bytes);
            if (s->disk > 0 && bytes > 0) json_object_set_new(line, "disk_tok_s", json_real(s->disk / bytes));
            out_json(line);
        }
}

static void tell_replays(const Options *o, const Simulation *s) {
    const LabTraceFacts *f = &s->trace->facts;
    out_printf("%8s %6s %10s", "slots", "share", "memory");
    for (int c = 0; c < COLUMNS; c++) out_printf(" %7s", column_name(c));
    out_printf("  %12s%s\n", "read/token", s->disk > 0 ? "   tokens/s" : "");
    for (int i = 0; i < s->n_sizes; i++) {
        char memory[32], bytes[32];
        out_printf("%8u %5.1f%% %10s", s->slots[i], 100.0 * s->slots[i] / ((double)f->layers * f->experts),
                   format_size((uint64_t)s->slots[i] * f->record_bytes, memory));
        for (int c = 0; c < COLUMNS; c++) out_printf(" %6.1f%%", 100 * lab_hit_rate(&s->replay[i][c]));
        double per_token = misses_per_token(s, &s->replay[i][cache_policy_default()]) * (double)f->record_bytes;
        out_printf("  %12s", format_size((uint64_t)per_token, bytes));
        if (s->disk > 0 && per_token > 0) out_printf(" %10.2f", s->disk / per_token);
        out_printf("%s\n", s->slots[i] == f->slots ? "  <- recorded with" : "");
    }
    out_printf("\nhit rates of each want's experts; read/token%s with %s, the default policy\n",
               s->disk > 0 ? " and what the disk then allows" : "", cache_policy_name(cache_policy_default()));
    if (s->disk > 0) out_printf("the disk: %.2f GB/s (%s)\n", s->disk * 1e-9, opt_given(o, OPT_DISK) ? "--disk" : "measured by doctor");
    else out_puts("--disk RATE, or doctor run once, tells how many tokens/s the disk then allows\n");
    if (s->recorded >= 0)
        out_printf("the run itself, with %u slots, had %.1f %%, what was read ahead in time included\n", f->slots, 100 * s->recorded);
}

static void tell(const Options *o, const Simulation *s, const char *path) {
    const LabTrace *t = s->trace;
    const LabTraceFacts *f = &t->facts;
    const LabLocality *l = &s->locality;
    out_printf("%s: %s, %llu tokens in %zu steps; %u layers, %u of %u experts per token\n", path,
               f->model[0] ? f->model : "a model without a name", (unsigned long long)t->n_tokens, t->n_steps, f->layers, f->top_k,
               f->experts);
    out_printf("a token wants %u records, the trace %u of %u\n\n", l->working_set, l->touched, f->layers * f->experts);
    tell_replays(o, s);
    out_printf("\nforetold   by the token before %.1f %%, by the layer before %.1f %%, by chance %.1f %% of the picks\n",
               100 * l->previous_token, 100 * l->across_layers, 100 * l->chance);
    int middle = s->n_sizes / 2;
    const LabReplay *pinned = &s->replay[middle][PINNED];
    out_printf("popular    the top 5 / 10 / 20 %% of a layer's experts have %.1f / %.1f / %.1f %% of its uses\n", 100 * l->top5,
               100 * l->top10, 100 * l->top20);
    out_printf("pinned     %u records hit %.1f %% of the text they were chosen by; those of its first half %.1f %% of the second\n",
               s->slots[middle], 100 * lab_hit_rate(pinned), 100 * late_rate(pinned));
    out_printf("reuse      wanted again within so many other experts of the layer:");
    for (int i = 0; i < LAB_REUSE_BUCKETS && 1u << i <= 2 * f->experts; i++) out_printf(" %u: %.1f%%", 1u << i, 100 * l->reuse[i]);
    out_printf("; never before: %.1f%%\n", 100 * l->first_uses);
}

static double disk_of_this_machine(void) {
    char folder[1024];
    LabProfile profile;
    bool found;
    if (!state_folder(folder, sizeof folder) || lab_profile_load(folder, &profile, &found, NULL) || !found) return 0;
    return profile.machine.disk_bytes_per_s;
}

ErrCode simulate_command(const Options *o, Err *err) {
    if (!opt_given(o, OPT_RECORDED)) return err_set(err, ERR_USAGE, "-f is missing: the trace to replay; `sluice trace` records one");
    const char *path = opt_text(o, OPT_RECORDED, "");
    Simulation *s = MEM_NEW(Simulation, 1);
    if (!s) return err_no_memory(err, sizeof *s, "a simulation");
    s->disk = opt_given(o, OPT_DISK) ? o->value[OPT_DISK].real : disk_of_this_machine();
    LabTrace *t = input_trace(path, err);
    ErrCode code = t ? ERR_OK : err->code;
    if (t) {
        s->trace = t;
        s->recorded = recorded_hit_rate(t);
        code = run(o, s, err);
        if (!code && opt_on(o, OPT_JSON)) tell_json(s, path);
        else if (!code) tell(o, s, path);
    }
    lab_trace_free(t);
    mem_free(s);
    return code;
}
