/* Which rung runs: the highest one that this CPU has, that this build has, and that the caller allows. */
#include "kernels/kernels.h"
#include "kernels/rungs.h"
#include "os/os.h"

#include <string.h>

/* NULL: this CPU or this build is without. KERNELS_HAVE_... come from the Makefile. */
static const Kernels *avx2_or_null(void) {
#ifdef KERNELS_HAVE_AVX2
    if (os_cpu_flags() & OS_CPU_AVX2) return kernels_avx2_table();
#endif
    return NULL;
}

static const Kernels *avx512_or_null(void) {
#ifdef KERNELS_HAVE_AVX2
    if (os_cpu_flags() & OS_CPU_AVX512) return kernels_avx512_table();
#endif
    return NULL;
}

static const Kernels *neon_or_null(void) {
#ifdef KERNELS_HAVE_NEON
    unsigned flags = os_cpu_flags();
    if (flags & OS_CPU_NEON) return kernels_neon_table((flags & OS_CPU_I8MM) != 0);
#endif
    return NULL;
}

const Kernels *kernels_get(KernelsRung highest) {
    const Kernels *avx2 = avx2_or_null(), *avx512 = avx512_or_null(), *neon = neon_or_null();
    switch (highest) {
    case KERNELS_SCALAR: return kernels_scalar_table();
    case KERNELS_AVX2: return avx2;
    case KERNELS_AVX512: return avx512;
    case KERNELS_NEON: return neon;
    case KERNELS_RUNG_COUNT: break;
    }
    return avx512 ? avx512 : avx2 ? avx2 : neon ? neon : kernels_scalar_table();
}

bool kernels_rung_from_name(const char *name, KernelsRung *rung) {
    static const char *const names[] = {"scalar", "avx2", "avx512", "neon", "auto"};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        if (strcmp(name, names[i]) != 0) continue;
        *rung = (KernelsRung)i;
        return true;
    }
    return false;
}
