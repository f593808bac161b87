/* What this CPU can run. */
#include "os/os.h"

#if defined(__x86_64__)
#include <cpuid.h>

/* Asked by hand, for not every compiler knows "f16c" as a name. */
static bool has_f16c(void) {
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}
#elif defined(__aarch64__)
#include <sys/auxv.h>
#endif

unsigned os_cpu_flags(void) {
    unsigned flags = 0;
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c()) flags |= OS_CPU_AVX2;
    if ((flags & OS_CPU_AVX2) && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vnni"))
        flags |= OS_CPU_AVX512;
#elif defined(__aarch64__)
    if (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) flags |= OS_CPU_NEON;
    if (getauxval(AT_HWCAP2) & HWCAP2_I8MM) flags |= OS_CPU_I8MM;
#endif
    return flags;
}
