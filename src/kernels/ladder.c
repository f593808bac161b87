/* Which rung runs: the highest one that this CPU has, that this build has, and that the caller allows. */
#include "kernels/kernels.h"
#include "kernels/rungs.h"
#include "os/os.h"

#include <string.h>

/* The build is without the rungs of another kind of CPU. KERNELS_X86 and KERNELS_ARM come from the Makefile. */
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
    [KERNELS_SCALAR] = {0, kernels_scalar_table},
    [KERNELS_AVX2] = {OS_CPU_AVX2, ON_X86(kernels_avx2_table)},
    [KERNELS_AVX512] = {OS_CPU_AVX512, ON_X86(kernels_avx512_table)},
    [KERNELS_NEON] = {OS_CPU_NEON, ON_ARM(kernels_neon_table)},
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

bool kernels_rung_from_name(const char *name, KernelsRung *rung) {
    static const char *const names[] = {
#define X(NAME, name) #name,
        KERNELS_LIST(X)
#undef X
        "auto",
    };
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        if (strcmp(name, names[i]) != 0) continue;
        *rung = (KernelsRung)i;
        return true;
    }
    return false;
}
