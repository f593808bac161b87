/* Inside the kernels room: the rungs of the ladder, and the scalar functions that make up the first. */
#ifndef KERNELS_RUNGS_H
#define KERNELS_RUNGS_H

#include "kernels/kernels.h"

/* The functions of a rung, on a CPU with these OS_CPU_ flags. A build has those of one kind of CPU. */
#define X(NAME, name, ...) const Kernels *kernels_##name##_table(unsigned cpu);
KERNELS_LIST(X)
#undef X

/* scalar_vector.c: along one vector */
float kernels_scalar_dot(const float *a, const float *b, size_t n);
void kernels_scalar_axpy(float *y, const float *x, float s, size_t n);
void kernels_scalar_scale(float *y, const float *a, float s, size_t n);
void kernels_scalar_add(float *y, const float *x, size_t n);
void kernels_scalar_rms_norm(float *y, const float *x, const float *w, float eps, size_t n);
void kernels_scalar_l2_norm(float *y, const float *x, float eps, float s, size_t n);
void kernels_scalar_silu_mul(float *y, const float *gate, const float *up, size_t n);
void kernels_scalar_sigmoid_mul(float *y, const float *g, size_t n);
float kernels_scalar_exp_sum(float *x, float shift, size_t n);
float kernels_scalar_max(const float *x, size_t n);
void kernels_scalar_rope(float *head, const float *cos, const float *sin, size_t rot);

/* scalar_mix.c: mixing over tokens */
void kernels_scalar_conv_silu(float *y, const float *x, float *state, const float *w, size_t n, size_t width);
void kernels_scalar_delta_rule(float *S, const KernelsDelta *a);

/* scalar_attention.c */
void kernels_scalar_attention(QuantType type, const void *keys, const void *values, size_t dim, const KernelsQuery *queries, size_t n,
                              float *scratch);
void kernels_scalar_attention_join(float *total, const float *part, size_t dim);

/* scalar_matmul.c */
void kernels_scalar_quantize(const float *x, KernelsActGroup *groups, size_t first, size_t n);
void kernels_scalar_matmul(QuantType type, const void *w, size_t n_rows, size_t n, const KernelsActs *acts, size_t n_tokens,
                           float *y, size_t y_stride, float *scratch);

#endif
