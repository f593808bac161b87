/* AVX-512 rung: integer products of weight rows with a few tokens, the loop of decoding. Two rows are read at a time, unpacked in
 * registers and multiplied with all tokens (unpack_avx512.h). */
#include "kernels/unpack_avx512.h"

enum { PREFETCH = 4096 }; /* bytes ahead: see rows_avx2.c, where it was measured */

/* Group number i of two rows for all tokens. type: the job's, as a constant. */
ALWAYS_INLINE void add_group(QuantType type, const RowsJob *job, const uint8_t *first, const uint8_t *second, size_t i, __m512 *lanes) {
    Pair p;
    avx512_unpack(type, first, second, &p);
    for (size_t t = 0; t < job->n_tokens; t++) lanes[t] = avx512_add_pair(avx512_form(type), &p, &job->acts[t].groups[i], lanes[t]);
}

/* The same for any type, the end of rows included: n_blocks there are. */
static void add_any_group(const RowsJob *job, const uint8_t *first, const uint8_t *second, size_t i, size_t n_blocks, __m512 *lanes) {
    uint8_t whole[2][GROUP_BYTES_MAX];
    if (n_blocks < GROUP_BLOCKS) {
        first = kernels_group_filled_up(job->type, first, n_blocks, whole[0]);
        second = kernels_group_filled_up(job->type, second, n_blocks, whole[1]);
    }
    Pair p;
    memset(&p, 0, sizeof p); /* the compiler cannot see that what the form asks for is set */
    avx512_unpack(job->type, first, second, &p);
    for (size_t t = 0; t < job->n_tokens; t++)
        lanes[t] = avx512_add_pair(avx512_form(job->type), &p, &job->acts[t].groups[i], lanes[t]);
}

static const QuantType ANY = QUANT_TYPE_COUNT;

/* Rows r and r + 1; a last one without partner is its own, and the second result is not stored. */
ALWAYS_INLINE void two_rows(QuantType type, const RowsJob *job, size_t r) {
    __m512 lanes[KERNELS_AVX512_FEW];
    const size_t step = r + 1 < job->n_rows ? job->row_bytes : 0, whole = job->n / GROUP_ELEMS;
    const uint8_t *src = job->w + r * job->row_bytes, *ahead = src + PREFETCH;
    for (size_t t = 0; t < job->n_tokens; t++) lanes[t] = _mm512_setzero_ps();
    for (size_t i = 0; i < whole; i++, src += job->group_bytes, ahead += 2 * job->group_bytes) {
        for (size_t at = 0; at < 2 * job->group_bytes; at += 64) _mm_prefetch((const char *)ahead + at, _MM_HINT_T0);
        if (type == ANY) add_any_group(job, src, src + step, i, GROUP_BLOCKS, lanes);
        else add_group(type, job, src, src + step, i, lanes);
    }
    if (whole * GROUP_ELEMS < job->n) add_any_group(job, src, src + step, whole, job->n % GROUP_ELEMS / 32, lanes);
    for (size_t t = 0; t < job->n_tokens; t++) {
        float *y = job->y + t * job->y_stride + r, rows[2];
        avx512_fold_pair(lanes[t], rows);
        y[0] = rows[0];
        if (step) y[1] = rows[1];
    }
}

ALWAYS_INLINE void all_rows(QuantType type, const RowsJob *job) {
    for (size_t r = 0; r < job->n_rows; r += 2) two_rows(type, job, r);
}

void kernels_avx512_integer_rows(QuantType type, const uint8_t *w, size_t n_rows, size_t n, const KernelsActs *acts, size_t n_tokens,
                                 float *y, size_t y_stride) {
    const RowsJob job = {type, w, n_rows, n, (size_t)quant_row_bytes(type, n), kernels_group_bytes(type), acts, n_tokens, y, y_stride,
                         NULL};
    switch (type) {
    case QUANT_Q4_0: all_rows(QUANT_Q4_0, &job); break;
    case QUANT_Q4_1: all_rows(QUANT_Q4_1, &job); break;
    case QUANT_Q8_0: all_rows(QUANT_Q8_0, &job); break;
    case QUANT_Q4_K: all_rows(QUANT_Q4_K, &job); break;
    case QUANT_Q5_K: all_rows(QUANT_Q5_K, &job); break;
    case QUANT_Q6_K: all_rows(QUANT_Q6_K, &job); break;
    case QUANT_IQ4_NL: all_rows(QUANT_IQ4_NL, &job); break;
    case QUANT_IQ4_XS: all_rows(QUANT_IQ4_XS, &job); break;
    case QUANT_MXFP4: all_rows(QUANT_MXFP4, &job); break;
    default: all_rows(ANY, &job); break;
    }
}
