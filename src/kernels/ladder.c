/* Which rung runs: the highest one that this CPU has, that this build has, and that the caller allows. */
#include "kernels/kernels.h"
#include "kernels/rungs.h"
#include "os/os.h"

/* The build is without the rungs of another kind of CPU. KERNELS_X86 and KERNELS_ARM come from the Makefile. */
#define ON_ANY(table) table
#ifdef KERNELS_X86
#define ON_X86(table) table
#else
#define ON_X86(table) NULL
#endif
#ifdef KERNELS_ARM
#define ON_ARM(table) table
#else
#define ON_ARM(table) NULL
#endif

static const struct {
    unsigned needs; /* flags of the CPU */
    const Kernels *(*table)(unsigned cpu);
} rungs[KERNELS_RUNG_COUNT] = {
#define X(NAME, name, build, flag) {flag, ON_##build(kernels_##name##_table)},
    KERNELS_LIST(X)
#undef X
};

static const Kernels *table_of(int rung, unsigned cpu) {
    return rungs[rung].table && (cpu & rungs[rung].needs) == rungs[rung].needs ? rungs[rung].table(cpu) : NULL;
}

const Kernels *kernels_get(KernelsRung highest) {
    unsigned cpu = os_cpu_flags();
    if (highest < KERNELS_RUNG_COUNT) return table_of((int)highest, cpu);
    int best = KERNELS_RUNG_COUNT - 1;
    while (!table_of(best, cpu)) best--; /* scalar is always there */
    return table_of(best, cpu);
}

ErrCode kernels_choose(const char *word, const Kernels **kernels, Err *err) {
    static const Word words[] = {
        {"auto", KERNELS_RUNG_COUNT},
#define X(NAME, name, ...) {#name, KERNELS_##NAME},
        KERNELS_LIST(X)
#undef X
    };
    int rung = KERNELS_RUNG_COUNT;
    ErrCode code = word_value("--cpu", words, COUNT_OF(words), word, &rung, err);
    if (code) return code;
    *kernels = kernels_get((KernelsRung)rung);
    if (*kernels) return ERR_OK;
    return err_set(err, ERR_UNSUPPORTED, "--cpu %s: this CPU or this build has no such kernels; --cpu auto takes %s", word,
                   kernels_get(KERNELS_RUNG_COUNT)->name);
}
