/* What a state is worth. The rule, in one line: tokens it saves beyond the next shorter one, times how likely it is to be wanted, by the
 * bytes it takes. How likely: by what it is and by how long nobody wanted it. docs/state-cache.md tells it in words. */
#include "states/inside.h"

static double likely(const States *s, const StatesNode *node) {
    static const double by_kind[] = {[STATES_CHUNK] = 1, [STATES_TURN] = 4, [STATES_SYSTEM] = 32};
    double kind = by_kind[node->kind];
    if (node->kind != STATES_SYSTEM && node->child) {
        /* one continuation: the conversation went on, and comes back here only for another try; several: they meet here */
        if (node->child->next) kind *= 4;
        else kind /= 8;
    }
    return kind / (double)(1 + s->clock - node->used);
}

static double per_byte(double worth, uint64_t bytes) { return worth / (double)(bytes ? bytes : 1); }

static double tokens(const StatesNode *node) { return (double)(node->n - node->parent->n); }

double states_value_memory(const States *s, const StatesNode *node) {
    double value = per_byte(tokens(node) * likely(s, node), node->snap ? sluice_snapshot_bytes(node->snap) : 0);
    return node->file[0] ? value / 16 : value; /* it can be read again, which takes a sixteenth of the time, if that */
}

double states_value_disk(const States *s, const StatesNode *node) {
    return per_byte(tokens(node) * likely(s, node), node->file_bytes);
}
