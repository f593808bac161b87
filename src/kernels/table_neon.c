/* The NEON rung (with the dot product of bytes): the same bits as the scalar one, four lanes at a time. */
#include "kernels/neon.h"
#include "os/os.h"

#define TABLE(with_matmul) \
    { \
        .name = "neon", \
        .rung = KERNELS_NEON, \
        .dot = kernels_neon_dot, \
        .axpy = kernels_neon_axpy, \
        .scale = kernels_neon_scale, \
        .add = kernels_neon_add, \
        .matmul = with_matmul, \
        .quantize = kernels_neon_quantize, \
        .rms_norm = kernels_neon_rms_norm, \
        .l2_norm = kernels_neon_l2_norm, \
        .silu_mul = kernels_neon_silu_mul, \
        .sigmoid_mul = kernels_neon_sigmoid_mul, \
        .exp_sum = kernels_neon_exp_sum, \
        .max = kernels_neon_max, \
        .rope = kernels_neon_rope, \
        .conv_silu = kernels_neon_conv_silu, \
        .delta_rule = kernels_neon_delta_rule, \
        .attention = kernels_neon_attention, \
        .attention_join = kernels_neon_attention_join, \
    }

const Kernels *kernels_neon_table(unsigned cpu) {
    static const Kernels with_dot_products = TABLE(kernels_neon_matmul), with_matrix_products = TABLE(kernels_i8mm_matmul);
    return cpu & OS_CPU_I8MM ? &with_matrix_products : &with_dot_products;
}
