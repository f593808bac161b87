/* The AVX-512 rung gives the bits of the scalar one, on any x86-64 CPU with AVX2: this program is linked with that rung's sources
 * compiled for emulated instructions (Makefile: EMULATED), and says itself what the CPU has. Where the CPU has AVX-512,
 * test_kernels_rungs.c compares the real instructions. */
#include "os/os.h"
#include "support/rungs.h"
#include "support/support.h"

#include <stdio.h>

/* Takes the place of the library's. */
unsigned os_cpu_flags(void) {
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? OS_CPU_AVX2 | OS_CPU_AVX512 : 0;
}

static void rung_gives_the_same_bits(void **state) {
    const RungCheck *check = *state;
    const Kernels *k = kernels_get(KERNELS_AVX512);
    char where[160];
    if (!k) {
        printf("SKIP %s: the emulation of AVX-512 wants AVX2\n", check->name);
        skip();
    }
    assert_string_equal(k->name, "avx512");
    if (!check->same(kernels_get(KERNELS_SCALAR), k, where)) fail_msg("%s of emulated AVX-512 differs: %s", check->name, where);
}

int main(void) {
    struct CMUnitTest tests[32];
    for (size_t i = 0; i < rung_check_count; i++)
        tests[i] = (struct CMUnitTest){rung_checks[i].name, rung_gives_the_same_bits, NULL, NULL, (void *)(uintptr_t)&rung_checks[i]};
    return run_group("kernels_avx512", tests, rung_check_count);
}
