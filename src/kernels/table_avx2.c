/* The AVX2 rung (with FMA and F16C): the same bits as the scalar one, eight lanes at a time. */
#include "kernels/avx2.h"

const Kernels *kernels_avx2_table(unsigned cpu) {
    (void)cpu;
    static const Kernels table = {
        .name = "avx2",
        .rung = KERNELS_AVX2,
        .dot = kernels_avx2_dot,
        .axpy = kernels_avx2_axpy,
        .scale = kernels_avx2_scale,
        .add = kernels_avx2_add,
        .matmul = kernels_avx2_matmul,
        .quantize = kernels_avx2_quantize,
        .rms_norm = kernels_avx2_rms_norm,
        .l2_norm = kernels_avx2_l2_norm,
        .silu_mul = kernels_avx2_silu_mul,
        .sigmoid_mul = kernels_avx2_sigmoid_mul,
        .exp_sum = kernels_avx2_exp_sum,
        .max = kernels_avx2_max,
        .rope = kernels_avx2_rope,
        .conv_silu = kernels_avx2_conv_silu,
        .delta_rule = kernels_avx2_delta_rule,
        .attention = kernels_avx2_attention,
        .attention_join = kernels_avx2_attention_join,
    };
    return &table;
}
