/* Every rung of the kernels ladder gives the bits of the scalar one. */
#include "support/rungs.h"
#include "support/support.h"

#include <stdio.h>

static void rung_gives_the_same_bits(void **state) {
    const RungCheck *check = *state;
    size_t rungs = 0;
    for (KernelsRung rung = KERNELS_AVX2; rung < KERNELS_RUNG_COUNT; rung++) {
        const Kernels *k = kernels_get(rung);
        if (!k) continue;
        char where[160];
        rungs++;
        if (!check->same(kernels_get(KERNELS_SCALAR), k, where)) fail_msg("%s of %s differs: %s", check->name, k->name, where);
    }
    if (!rungs) {
        printf("SKIP %s: this CPU or build has no rung but scalar\n", check->name);
        skip();
    }
}

int main(void) {
    struct CMUnitTest tests[32];
    for (size_t i = 0; i < rung_check_count; i++)
        tests[i] = (struct CMUnitTest){rung_checks[i].name, rung_gives_the_same_bits, NULL, NULL, (void *)(uintptr_t)&rung_checks[i]};
    return run_group("kernels_rungs", tests, rung_check_count);
}
