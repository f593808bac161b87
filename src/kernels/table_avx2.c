/* The AVX2 rung (with FMA and F16C): the same bits as the scalar one, eight lanes at a time. */
#include "kernels/avx2.h"

const Kernels *kernels_avx2_table(unsigned cpu) {
    (void)cpu;
    static const Kernels table = {.name = "avx2", .rung = KERNELS_AVX2, RUNG_FUNCTIONS(RUNG_ENTRY, avx2)};
    return &table;
}
