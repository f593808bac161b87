/* How fast a run could have been on this machine: pure functions of what it read, what it multiplied, and the machine's rates. */
#include "lab/lab.h"

#include <string.h>

static double over(double amount, double rate) { return rate > 0 ? amount / rate : 0; }

/* Sum over the layers of all tokens of the slower of two: its missing experts read, its present ones multiplied. */
static double experts_s(const EngineWork *w, const LabRun *run, double read_s, double expert_s) {
    double sum = 0;
    for (uint32_t m = 0; m < LAB_MAX_MISSES; m++) {
        if (!run->misses[m]) continue;
        uint32_t hits = m < w->experts_per_token ? w->experts_per_token - m : 0;
        double disk = m * read_s, compute = hits * expert_s;
        sum += (double)run->misses[m] * (disk > compute ? disk : compute);
    }
    return sum;
}

void lab_bounds(const EngineWork *w, const EngineMachine *m, const LabRun *run, uint32_t position, LabBounds *out) {
    memset(out, 0, sizeof *out);
    out->bound_by = "compute";
    if (!run->tokens) return;
    double n = (double)run->tokens, wanted = (double)run->stats.experts_wanted, record = (double)w->record_bytes;
    double read_bytes = (double)run->stats.misses * record / n, /* not what a wrong guess read in vain */
           expert_bytes = (double)w->layers * w->experts_per_token * record;
    double dense_moved = (double)w->dense_bytes + 2 * (double)w->state_bytes + (double)w->kv_bytes_per_position * position;
    double moved = dense_moved + expert_bytes + read_bytes; /* what is read from disk is written to memory first */
    double expert_weights = (double)w->layers * w->experts_per_token * (double)w->record_weights;
    out->disk_s = over(read_bytes, m->disk_bytes_per_s);
    out->dram_s = over(moved, m->dram_bytes_per_s);
    out->compute_s = over((double)w->dense_weights, m->dense_weights_per_s) + over(expert_weights, m->expert_weights_per_s);
    double most = out->compute_s;
    if (out->dram_s > most) most = out->dram_s, out->bound_by = "dram";
    if (out->disk_s > most) most = out->disk_s, out->bound_by = "disk";

    double read_s = over(record, m->disk_bytes_per_s);
    double own_expert_s = over((double)run->stats.expert_ns * 1e-9, wanted), own_dense_s = (double)run->stats.dense_ns * 1e-9 / n;
    double serial_s = own_dense_s + experts_s(w, run, read_s, own_expert_s) / n;

    double dense_dram = over(dense_moved, m->dram_bytes_per_s);
    double dense_cpu = over((double)w->dense_weights, m->dense_weights_per_s);
    double expert_dram = over(record, m->dram_bytes_per_s), expert_cpu = over((double)w->record_weights, m->expert_weights_per_s);
    double probed_s = (dense_dram > dense_cpu ? dense_dram : dense_cpu) +
                      experts_s(w, run, read_s, expert_dram > expert_cpu ? expert_dram : expert_cpu) / n;
    if (serial_s > 0 && serial_s < most) {
        most = serial_s;
        out->disturbed = true;
    }
    out->bound_tok_s = over(1, most);
    out->bound_serial_tok_s = over(1, serial_s);
    out->bound_serial_probed_tok_s = over(1, probed_s);
}

double lab_prefill_bound(const EngineWork *w, const EngineMachine *m, const LabRun *run) {
    double n = (double)run->tokens;
    double weights = (double)(w->dense_weights - w->head_weights) + (double)w->layers * w->experts_per_token * (double)w->record_weights;
    double disk = over((double)run->stats.bytes_read, m->disk_bytes_per_s);
    double compute = run->tokens ? over(n * weights, m->batched_weights_per_s) + over((double)w->head_weights, m->dense_weights_per_s) : 0;
    return over(n, disk > compute ? disk : compute);
}
