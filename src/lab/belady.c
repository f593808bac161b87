/* Bounds that know the future: Belady's, and the best fixed set of records. */
#include "lab/lab.h"

#include <stdlib.h>

#define NEVER UINT64_MAX

/* When a record is wanted next, beside the record: a heap with the latest on top. Entries that are not true any more stay until they
 * come to the top. */
typedef struct Next {
    uint64_t when;
    uint32_t record;
} Next;

typedef struct Belady {
    uint64_t *next;     /* [n_wanted of the trace] the want in which the same record is wanted next */
    uint64_t *resident; /* [records] when it is wanted next, plus 1; 0: not there */
    Next *heap;
    size_t n;
} Belady;

static size_t n_records(const LabTrace *t) { return (size_t)t->facts.layers * t->facts.experts; }

static void push(Belady *b, Next item) {
    size_t at = b->n++;
    for (; at > 0 && b->heap[(at - 1) / 2].when < item.when; at = (at - 1) / 2) b->heap[at] = b->heap[(at - 1) / 2];
    b->heap[at] = item;
}

static Next pop(Belady *b) {
    Next top = b->heap[0], last = b->heap[--b->n];
    size_t at = 0;
    for (size_t child; (child = 2 * at + 1) < b->n; at = child) {
        if (child + 1 < b->n && b->heap[child + 1].when > b->heap[child].when) child++;
        if (b->heap[child].when <= last.when) break;
        b->heap[at] = b->heap[child];
    }
    b->heap[at] = last;
    return top;
}

/* From the end backwards. `resident` serves as the table of what is known of later wants, and is all zero afterwards. */
static void find_next(const LabTrace *t, Belady *b) {
    for (size_t i = t->n_wants; i-- > 0;) {
        const LabTraceWant *w = &t->wants[i];
        for (uint32_t j = 0; j < w->n_wanted; j++) {
            size_t record = (size_t)w->layer * t->facts.experts + t->wanted[w->wanted + j];
            b->next[w->wanted + j] = b->resident[record] ? b->resident[record] : NEVER;
            b->resident[record] = i + 1;
        }
    }
    for (size_t r = 0; r < n_records(t); r++) b->resident[r] = 0;
}

static void replay(const LabTrace *t, Belady *b, uint32_t n_slots, LabReplay *out) {
    uint64_t tokens = 0, held = 0;
    for (size_t s = 0; s < t->n_steps; s++) {
        const LabTraceStep *step = &t->steps[s];
        bool late = 2 * tokens >= t->n_tokens;
        for (uint32_t i = 0; i < step->n_wants; i++) {
            const LabTraceWant *w = &t->wants[step->first_want + i];
            uint32_t hits = 0;
            for (uint32_t j = 0; j < w->n_wanted; j++) {
                uint32_t record = w->layer * t->facts.experts + t->wanted[w->wanted + j];
                if (b->resident[record]) hits++;
                else held++;
                b->resident[record] = b->next[w->wanted + j];
                push(b, (Next){b->resident[record], record});
            }
            while (held > n_slots) {
                Next top = pop(b);
                if (b->resident[top.record] != top.when) continue;
                b->resident[top.record] = 0;
                held--;
            }
            out->wanted += w->n_wanted;
            out->hits += hits;
            out->late_wanted += late ? w->n_wanted : 0;
            out->late_hits += late ? hits : 0;
        }
        tokens += step->n_tokens;
    }
}

ErrCode lab_belady(const LabTrace *t, uint32_t n_slots, LabReplay *out, Err *err) {
    *out = (LabReplay){0};
    Belady b = {0};
    b.next = MEM_NEW(uint64_t, t->n_wanted);
    b.resident = MEM_NEW(uint64_t, n_records(t));
    b.heap = MEM_NEW(Next, t->n_wanted);
    ErrCode code = ERR_OK;
    if (b.next && b.resident && b.heap) {
        find_next(t, &b);
        replay(t, &b, n_slots, out);
    } else {
        code = err_no_memory(err, t->n_wanted * (sizeof(Next) + 8), "Belady's bound");
    }
    mem_free(b.next);
    mem_free(b.resident);
    mem_free(b.heap);
    return code;
}

/* ---- the best fixed set -------------------------------------------------------------------------------------------- */

typedef struct Count {
    uint64_t early, all; /* wants */
    size_t record;
} Count;

static int by_all(const void *a, const void *b) {
    const Count *x = a, *y = b;
    return x->all != y->all ? (x->all < y->all ? 1 : -1) : (x->record > y->record) - (x->record < y->record);
}

static int by_early(const void *a, const void *b) {
    const Count *x = a, *y = b;
    return x->early != y->early ? (x->early < y->early ? 1 : -1) : (x->record > y->record) - (x->record < y->record);
}

ErrCode lab_pinned(const LabTrace *t, uint32_t n_slots, LabReplay *out, Err *err) {
    *out = (LabReplay){0};
    size_t n = n_records(t);
    Count *counts = MEM_NEW(Count, n);
    if (!counts) return err_no_memory(err, n * sizeof *counts, "the most used experts");
    for (size_t r = 0; r < n; r++) counts[r].record = r;
    uint64_t tokens = 0;
    for (size_t s = 0; s < t->n_steps; s++) {
        const LabTraceStep *step = &t->steps[s];
        bool late = 2 * tokens >= t->n_tokens;
        for (uint32_t i = 0; i < step->n_wants; i++) {
            const LabTraceWant *w = &t->wants[step->first_want + i];
            out->wanted += w->n_wanted;
            out->late_wanted += late ? w->n_wanted : 0;
            for (uint32_t j = 0; j < w->n_wanted; j++) {
                Count *c = &counts[(size_t)w->layer * t->facts.experts + t->wanted[w->wanted + j]];
                c->all++;
                if (!late) c->early++;
            }
        }
        tokens += step->n_tokens;
    }
    size_t keep = n_slots < n ? n_slots : n;
    qsort(counts, n, sizeof *counts, by_all);
    for (size_t i = 0; i < keep; i++) out->hits += counts[i].all;
    qsort(counts, n, sizeof *counts, by_early);
    for (size_t i = 0; i < keep; i++) out->late_hits += counts[i].all - counts[i].early;
    mem_free(counts);
    return ERR_OK;
}
