/* The scalar rung: plain C, the truth that every other rung is compared with. */
#include "kernels/rungs.h"

const Kernels *kernels_scalar_table(unsigned cpu) {
    (void)cpu;
    static const Kernels table = {
        .name = "scalar",
        .rung = KERNELS_SCALAR,
        .dot = kernels_scalar_dot,
        .axpy = kernels_scalar_axpy,
        .scale = kernels_scalar_scale,
        .add = kernels_scalar_add,
        .matmul = kernels_scalar_matmul,
        .quantize = kernels_scalar_quantize,
        .rms_norm = kernels_scalar_rms_norm,
        .l2_norm = kernels_scalar_l2_norm,
        .silu_mul = kernels_scalar_silu_mul,
        .sigmoid_mul = kernels_scalar_sigmoid_mul,
        .exp_sum = kernels_scalar_exp_sum,
        .max = kernels_scalar_max,
        .rope = kernels_scalar_rope,
        .conv_silu = kernels_scalar_conv_silu,
        .delta_rule = kernels_scalar_delta_rule,
        .attention = kernels_scalar_attention,
        .attention_join = kernels_scalar_attention_join,
    };
    return &table;
}
