/* The AVX-512 rung: the same bits as the scalar one, sixteen lanes at a time. What it lacks it takes from the AVX2 rung. */
#include "kernels/avx512.h"

const Kernels *kernels_avx512_table(unsigned cpu) {
    (void)cpu;
    static const Kernels table = {.name = "avx512", .rung = KERNELS_AVX512, RUNG_FUNCTIONS(RUNG_ENTRY, avx512)};
    return &table;
}
