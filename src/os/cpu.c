/* What this CPU can run. */
#include "os/os.h"

unsigned os_cpu_flags(void) {
    unsigned flags = 0;
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c")) flags |= OS_CPU_AVX2;
    if ((flags & OS_CPU_AVX2) && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vnni"))
        flags |= OS_CPU_AVX512;
#endif
    return flags;
}
