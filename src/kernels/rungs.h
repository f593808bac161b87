/* Inside the kernels room: the rungs of the ladder, and the scalar functions that make up the first. */
#ifndef KERNELS_RUNGS_H
#define KERNELS_RUNGS_H

#include "kernels/kernels.h"

/* The functions of a rung, on a CPU with these OS_CPU_ flags. A build has those of one kind of CPU. */
#define X(NAME, name, ...) const Kernels *kernels_##name##_table(unsigned cpu);
KERNELS_LIST(X)
#undef X

/* The members of Kernels that are functions. A rung has a function of its own for each, kernels_avx2_dot, or borrows another rung's; which
 * they are, and that their signatures are those of Kernels, is said here for all. */
#define RUNG_FUNCTIONS(X, rung) X(rung, matmul) RUNG_OTHERS(X, rung)
#define RUNG_OTHERS(X, rung)                                                                                                     \
    X(rung, dot) X(rung, axpy) X(rung, scale) X(rung, add) X(rung, quantize) X(rung, rms_norm) X(rung, l2_norm) X(rung, silu_mul) \
    X(rung, sigmoid_mul) X(rung, exp_sum) X(rung, max) X(rung, rope) X(rung, conv_silu) X(rung, delta_rule) X(rung, attention)   \
    X(rung, attention_join)
#define RUNG_DECLARE(rung, function) __typeof__(*((const Kernels *)0)->function) kernels_##rung##_##function;
#define RUNG_ENTRY(rung, function) .function = kernels_##rung##_##function,

RUNG_FUNCTIONS(RUNG_DECLARE, scalar)

#endif
