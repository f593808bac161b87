/* Which rung runs: the highest one that this CPU has, that this build has, and that the caller allows. */
#include "kernels/codebook.h"
#include "kernels/kernels.h"
#include "kernels/rungs.h"
#include "os/os.h"

#include <string.h>

const Kernels *kernels_get(KernelsRung highest) {
    codebook_init();
    bool avx2 = (os_cpu_flags() & OS_CPU_AVX2) != 0 && kernels_avx2_table() != NULL;
    switch (highest) {
    case KERNELS_SCALAR: return kernels_scalar_table();
    case KERNELS_AVX2: return avx2 ? kernels_avx2_table() : NULL;
    case KERNELS_AVX512: return NULL; /* no such rung in this build */
    case KERNELS_RUNG_COUNT: break;
    }
    return avx2 ? kernels_avx2_table() : kernels_scalar_table();
}

bool kernels_rung_from_name(const char *name, KernelsRung *rung) {
    static const char *const names[] = {"scalar", "avx2", "avx512", "auto"};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        if (strcmp(name, names[i]) != 0) continue;
        *rung = (KernelsRung)i;
        return true;
    }
    return false;
}
