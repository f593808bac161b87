/* The AVX-512 rung: the same bits as the scalar one, sixteen lanes at a time. What it lacks it takes from the AVX2 rung. */
#include "kernels/avx512.h"

const Kernels *kernels_avx512_table(unsigned cpu) {
    (void)cpu;
    static const Kernels table = {
        .name = "avx512",
        .rung = KERNELS_AVX512,
        .dot = kernels_avx512_dot,
        .axpy = kernels_avx512_axpy,
        .scale = kernels_avx512_scale,
        .add = kernels_avx512_add,
        .matmul = kernels_avx512_matmul,
        .quantize = kernels_avx2_quantize,
        .rms_norm = kernels_avx512_rms_norm,
        .l2_norm = kernels_avx512_l2_norm,
        .silu_mul = kernels_avx512_silu_mul,
        .sigmoid_mul = kernels_avx512_sigmoid_mul,
        .exp_sum = kernels_avx512_exp_sum,
        .max = kernels_avx512_max,
        .rope = kernels_avx512_rope,
        .conv_silu = kernels_avx512_conv_silu,
        .delta_rule = kernels_avx512_delta_rule,
        .attention = kernels_avx512_attention,
        .attention_join = kernels_avx512_attention_join,
    };
    return &table;
}
