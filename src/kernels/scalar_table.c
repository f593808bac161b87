/* The scalar rung: plain C, the truth that every other rung is compared with. */
#include "kernels/rungs.h"

const Kernels *kernels_scalar_table(unsigned cpu) {
    (void)cpu;
    static const Kernels table = {.name = "scalar", .rung = KERNELS_SCALAR, RUNG_FUNCTIONS(RUNG_ENTRY, scalar)};
    return &table;
}
