/* The NEON rung (with the dot product of bytes): the same bits as the scalar one, four lanes at a time. */
#include "kernels/neon.h"
#include "os/os.h"

#define TABLE(with_matmul) {.name = "neon", .rung = KERNELS_NEON, .matmul = with_matmul, RUNG_OTHERS(RUNG_ENTRY, neon)}

const Kernels *kernels_neon_table(unsigned cpu) {
    static const Kernels with_dot_products = TABLE(kernels_neon_matmul), with_matrix_products = TABLE(kernels_i8mm_matmul);
    return cpu & OS_CPU_I8MM ? &with_matrix_products : &with_dot_products;
}
