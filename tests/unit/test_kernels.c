/* The scalar rung against plain formulas in double precision. That the other rungs equal it bit for bit is test_kernels_rungs. */
#include "support/rungs.h"
#include "support/support.h"

#include "kernels/kernels.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_N = 2100 };

static const Kernels *k;
static float a[MAX_N], b[MAX_N], c[MAX_N], out[MAX_N];

static void fill(float *x, size_t n, float scale) {
    for (size_t i = 0; i < n; i++) x[i] = rung_random() * scale;
}

static int setup(void **state) {
    (void)state;
    k = kernels_get(KERNELS_SCALAR);
    fill(a, MAX_N, 2.0f);
    fill(b, MAX_N, 2.0f);
    fill(c, MAX_N, 2.0f);
    return 0;
}

static void assert_near(double got, double want, double tolerance) {
    if (!(fabs(got - want) <= tolerance)) fail_msg("got %.9g, wanted %.9g, tolerance %.2g", got, want, tolerance);
}

static double exact_dot(const float *x, const float *y, size_t n, double *magnitude) {
    double sum = 0, abs_sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += (double)x[i] * (double)y[i];
        abs_sum += fabs((double)x[i] * (double)y[i]);
    }
    if (magnitude) *magnitude = abs_sum;
    return sum;
}

static double exact_sigmoid(double x) { return 1.0 / (1.0 + exp(-x)); }

static void the_ladder_has_its_rungs(void **state) {
    (void)state;
    static const struct {
        const char *word;
        KernelsRung rung;
    } words[] = {{"scalar", KERNELS_SCALAR}, {"avx2", KERNELS_AVX2}, {"avx512", KERNELS_AVX512}, {"neon", KERNELS_NEON},
                 {"auto", KERNELS_RUNG_COUNT}, {NULL, KERNELS_RUNG_COUNT}};
    for (size_t i = 0; i < COUNT_OF(words); i++) {
        const Kernels *chosen = NULL, *table = kernels_get(words[i].rung);
        Err err = {0};
        assert_int_equal(kernels_choose(words[i].word, &chosen, &err), table ? ERR_OK : ERR_UNSUPPORTED);
        assert_ptr_equal(chosen, table);
        if (!table) continue;
        if (words[i].rung < KERNELS_RUNG_COUNT) assert_int_equal(table->rung, words[i].rung);
        if (words[i].rung < KERNELS_RUNG_COUNT) assert_string_equal(table->name, words[i].word); /* as the list calls it */
    }
    const Kernels *none;
    Err err = {0};
    assert_int_equal(kernels_choose("mmx", &none, &err), ERR_USAGE);
    assert_string_equal(err.text, "--cpu mmx: choose auto, scalar, avx2, avx512 or neon");
    const Kernels *best = kernels_get(KERNELS_RUNG_COUNT), *avx2 = kernels_get(KERNELS_AVX2);
    assert_non_null(best);
    if (avx2) assert_true(best->rung >= KERNELS_AVX2);
    assert_false(avx2 && kernels_get(KERNELS_NEON)); /* a build is for one kind of CPU */
}

static void dot_and_axpy_are_close_to_exact(void **state) {
    (void)state;
    for (size_t n = 0; n <= 130; n++) {
        double magnitude, want = exact_dot(a, b, n, &magnitude);
        assert_near(k->dot(a, b, n), want, 1e-6 * magnitude);
    }
    double magnitude, want = exact_dot(a, b, MAX_N, &magnitude);
    assert_near(k->dot(a, b, MAX_N), want, 1e-6 * magnitude);

    memcpy(out, c, sizeof out);
    k->axpy(out, a, 0.7f, 100);
    k->add(out, b, 100);
    k->scale(out, out, 3.0f, 100);
    for (size_t i = 0; i < 100; i++)
        assert_near(out[i], 3.0 * ((double)c[i] + (double)0.7f * (double)a[i] + (double)b[i]), 4e-6);
    assert_true(out[100] == c[100]);
}

/* The order of a dot product is part of the promise, so it is fixed by a value that other orders do not give: lane 0 gets 2^24, then
 * 1 (lost), then -2^24; lane 1 keeps its 1. */
static void dot_has_32_lanes(void **state) {
    (void)state;
    float x[96] = {0}, ones[96];
    for (int i = 0; i < 96; i++) ones[i] = 1.0f;
    x[0] = 0x1p24f, x[32] = 1.0f, x[64] = -0x1p24f, x[1] = 1.0f;
    assert_true(k->dot(x, ones, 96) == 1.0f);
}

/* Distance between a float and the exact value, in units of the float's last place (of the smallest denormal at least). */
static double ulps(float got, double want) {
    int e;
    frexp(want, &e);
    double unit = ldexp(1.0, e - 24 < -149 ? -149 : e - 24);
    return fabs((double)got - want) / unit;
}

static void exp_is_as_close_as_stated(void **state) {
    (void)state;
    double worst = 0;
    for (uint32_t bits = 0; bits < 0x43000000; bits += 997) { /* 0 .. 128, both signs */
        float x;
        memcpy(&x, &bits, sizeof x);
        for (int sign = 0; sign < 2; sign++, x = -x) {
            double want = exp((double)x);
            if (want > 0x1.fffffep127) continue;
            double error = ulps(kernels_exp(x), want);
            if (error > worst) worst = error;
        }
    }
    assert_true(worst > 0.4); /* else the measure is broken: rounding alone gives half a unit */
    if (worst >= 1.029) fail_msg("exp is %.3f ulp off", worst);
    double known = ulps(kernels_exp(-0x1.049b88p+4f), exp(-0x1.049b88p+4)); /* of all floats the worst */
    assert_true(known > 1.027 && known < 1.029);
    assert_true(kernels_exp(0.0f) == 1.0f && kernels_exp(-0.0f) == 1.0f);
    assert_true(kernels_exp(88.72f) < INFINITY && kernels_exp(88.73f) == INFINITY);
    assert_true(kernels_exp(INFINITY) == INFINITY && kernels_exp(3e38f) == INFINITY);
    assert_true(kernels_exp(-INFINITY) == 0.0f && kernels_exp(-3e38f) == 0.0f && kernels_exp(-104.0f) == 0.0f);
    assert_true(kernels_exp(-103.0f) > 0.0f); /* denormal */
    assert_true(isnan(kernels_exp(NAN)));
}

static void sigmoid_and_softplus_follow_their_formulas(void **state) {
    (void)state;
    for (float x = -40.0f; x < 40.0f; x += 0.037f) {
        assert_true(ulps(kernels_sigmoid(x), exact_sigmoid(x)) < 2.482);
        double want = x > 20.0f ? (double)x : log1p(exp((double)x)), silu = (double)x * exact_sigmoid(x);
        assert_true(ulps(kernels_softplus(x), want) < 1.494);
        float y, gate = x, one = 1.0f;
        k->silu_mul(&y, &gate, &one, 1);
        assert_true(ulps(y, silu) < 2.862);
    }
    double known = ulps(kernels_sigmoid(-0x1.0a2bd8p+4f), exact_sigmoid(-0x1.0a2bd8p+4)); /* of all floats the worst */
    assert_true(known > 2.480 && known < 2.482);
    assert_true(kernels_sigmoid(-INFINITY) == 0.0f && kernels_sigmoid(INFINITY) == 1.0f && kernels_sigmoid(0.0f) == 0.5f);
    assert_true(kernels_softplus(-200.0f) == 0.0f && kernels_softplus(1e30f) == 1e30f);
}

static void norms_divide_by_the_right_length(void **state) {
    (void)state;
    for (size_t n = 1; n <= 300; n += 13)
        for (int small = 0; small < 2; small++) { /* small vectors show where eps goes */
            float x[300];
            for (size_t i = 0; i < n; i++) x[i] = a[i] * (small ? 1e-4f : 1.0f);
            double sum = exact_dot(x, x, n, NULL), eps = (double)1e-6f;
            double rms = 1.0 / sqrt(sum / (double)n + eps), l2 = 1.0 / sqrt(sum + eps);
            k->rms_norm(out, x, b, 1e-6f, n);
            for (size_t i = 0; i < n; i++) assert_near(out[i], (double)x[i] * rms * (double)b[i], 1e-5 * fabs((double)x[i] * rms));
            k->rms_norm(out, x, NULL, 1e-6f, n);
            for (size_t i = 0; i < n; i++) assert_near(out[i], (double)x[i] * rms, 1e-6 * fabs((double)x[i] * rms));
            k->l2_norm(x, x, 1e-6f, 0.25f, n); /* in place */
            for (size_t i = 0; i < n; i++) {
                double in = (double)(a[i] * (small ? 1e-4f : 1.0f));
                assert_near(x[i], in * l2 * 0.25, 1e-6 * fabs(in * l2));
            }
        }
}

static void activations_follow_their_formulas(void **state) {
    (void)state;
    float gate[130];
    fill(gate, 130, 30.0f);
    memcpy(out, gate, sizeof gate);
    k->silu_mul(out, out, a, 130); /* in place */
    for (size_t i = 0; i < 130; i++) {
        double want = (double)gate[i] * exact_sigmoid(gate[i]) * (double)a[i];
        assert_near(out[i], want, 1e-6 * fabs(want) + 1e-30);
    }
    memcpy(out, a, sizeof gate);
    k->sigmoid_mul(out, gate, 130);
    for (size_t i = 0; i < 130; i++) assert_near(out[i], (double)a[i] * exact_sigmoid(gate[i]), 1e-6);

    memcpy(out, gate, sizeof gate);
    float max = k->max(out, 130);
    double largest = -INFINITY, want = 0;
    for (size_t i = 0; i < 130; i++) largest = fmax(largest, gate[i]);
    for (size_t i = 0; i < 130; i++) want += exp((double)gate[i] - largest);
    assert_true((double)max == largest);
    assert_near(k->exp_sum(out, max, 130), want, 1e-6 * want);
    assert_near(out[7], exp((double)gate[7] - largest), 1e-6);
}

static void rope_turns_pairs(void **state) {
    (void)state;
    float head[80], cos_[32], sin_[32];
    memcpy(head, a, sizeof head);
    for (size_t i = 0; i < 32; i++) {
        cos_[i] = (float)cos(0.3 * (double)i);
        sin_[i] = (float)sin(0.3 * (double)i);
    }
    k->rope(head, cos_, sin_, 64);
    for (size_t i = 0; i < 32; i++) {
        assert_near(head[i], (double)a[i] * cos(0.3 * (double)i) - (double)a[i + 32] * sin(0.3 * (double)i), 1e-6);
        assert_near(head[i + 32], (double)a[i + 32] * cos(0.3 * (double)i) + (double)a[i] * sin(0.3 * (double)i), 1e-6);
    }
    for (size_t i = 64; i < 80; i++) assert_true(head[i] == a[i]);
}

static void convolution_sees_the_last_tokens(void **state) {
    (void)state;
    enum { N = 21, TOKENS = 7 };
    for (size_t width = 1; width <= 5; width++) {
        float conv_state[4 * N] = {0}, y[N];
        for (size_t t = 0; t < TOKENS; t++) {
            k->conv_silu(y, a + t * N, conv_state, b, N, width);
            for (size_t ch = 0; ch < N; ch++) {
                double sum = 0;
                for (size_t j = 0; j < width && j <= t; j++) /* j tokens ago */
                    sum += (double)b[ch * width + width - 1 - j] * (double)a[(t - j) * N + ch];
                assert_near(y[ch], sum * exact_sigmoid(sum), 2e-6 * (1 + fabs(sum)));
            }
        }
    }
}

static void delta_rule_is_the_recurrence(void **state) {
    (void)state;
    enum { DK = 9, DV = 21 };
    float S[DK * DV], o[DV];
    double want_s[DK * DV];
    memcpy(S, c, sizeof S);
    for (size_t i = 0; i < DK * DV; i++) want_s[i] = (double)S[i];
    for (size_t t = 0; t < 5; t++) {
        const float *q = a + t * DK, *key = b + t * DK, *v = a + 500 + t * DV;
        float decay = 0.9f, beta = 0.6f;
        k->delta_rule(S, &(KernelsDelta){.q = q, .k = key, .v = v, .o = o, .decay = &decay, .beta = &beta, .n_tokens = 1, .dk = DK,
                                         .n_columns = DV});
        for (size_t j = 0; j < DV; j++) { /* the textbook form: decay, then correct, then read */
            double memory = 0, read = 0;
            for (size_t i = 0; i < DK; i++) memory += (want_s[i * DV + j] *= (double)decay) * (double)key[i];
            double d = (double)beta * ((double)v[j] - memory);
            for (size_t i = 0; i < DK; i++) read += (want_s[i * DV + j] += (double)key[i] * d) * (double)q[i];
            assert_near(o[j], read, 1e-4 * (1 + fabs(read)));
        }
    }
    for (size_t i = 0; i < DK * DV; i++) assert_near(S[i], want_s[i], 1e-4 * (1 + fabs(want_s[i])));
}

/* However columns and tokens are cut, the bits are the same. */
static void delta_rule_can_be_cut_anywhere(void **state) {
    (void)state;
    enum { DK = 16, DV = 32, TOKENS = 6, STRIDE = 2 * DK + DV };
    float S[DK * DV], part[DK * DV], o[TOKENS * DV], cut_o[TOKENS * DV], gates[2 * TOKENS];
    memcpy(S, c, sizeof S);
    for (size_t i = 0; i < 2 * TOKENS; i++) gates[i] = 0.5f + 0.4f * a[i];
    KernelsDelta all = {.q = b, .k = b + DK, .v = b + 2 * DK, .o = o, .decay = gates, .beta = gates + TOKENS, .stride = STRIDE,
                        .o_stride = DV, .gate_stride = 1, .n_tokens = TOKENS, .dk = DK, .n_columns = DV};
    k->delta_rule(S, &all);
    for (size_t first = 0, n = 5; first < DV; first += n, n = DV - first < 11 ? DV - first : 11) {
        for (size_t i = 0; i < DK; i++) memcpy(part + i * n, c + i * DV + first, n * sizeof *part);
        for (size_t t = 0; t < TOKENS; t += 2) {
            KernelsDelta two = all;
            two.q += t * STRIDE, two.k += t * STRIDE, two.v += t * STRIDE + first, two.o = cut_o + t * DV + first;
            two.decay += t, two.beta += t, two.n_tokens = 2, two.n_columns = n;
            k->delta_rule(part, &two);
        }
        for (size_t i = 0; i < DK; i++) assert_memory_equal(part + i * n, S + i * DV + first, n * sizeof *part);
    }
    assert_memory_equal(o, cut_o, sizeof o);
}

/* What a number is after it was stored in a run of 32. */
static double stored(QuantType type, const float *run, size_t i) {
    if (type == QUANT_F32) return (double)run[i];
    if (type == QUANT_F16) return (double)quant_f16_to_f32(quant_f32_to_f16(run[i]));
    double top = 0; /* compared, for gcc 12 for AArch64 falls over a loop of fmax */
    for (size_t e = 0; e < 32; e++) top = fabs((double)run[e]) > top ? fabs((double)run[e]) : top;
    double scale = (double)quant_f16_to_f32(quant_f32_to_f16((float)top / 127.0f));
    double code = rint((double)run[i] / scale);
    assert_true(fabs(code * scale - (double)run[i]) < 0.51 * scale + 1e-3 * top); /* the scale was rounded */
    return scale * fmax(-127, fmin(127, code));
}

static void attention_is_softmax_of_scores(void **state) {
    (void)state;
    enum { DIM = 64, KEYS = 333, BLOCKS = 2 };
    static const QuantType types[] = {QUANT_F32, QUANT_F16, QUANT_Q8_0};
    static float keys[KEYS][DIM], values[KEYS][DIM], scratch[KERNELS_KEY_BLOCK];
    float q[DIM], parts[BLOCKS][DIM + 2];
    fill(q, DIM, 1.0f);
    fill(keys[0], KEYS * DIM, 1.0f);
    fill(values[0], KEYS * DIM, 2.0f);
    for (size_t type = 0; type < COUNT_OF(types); type++) {
        size_t bytes = kernels_kv_bytes(types[type], DIM);
        uint8_t *k_blocks = malloc(BLOCKS * bytes), *v_blocks = malloc(BLOCKS * bytes);
        for (size_t t = 0; t < KEYS; t++) {
            kernels_store_key(types[type], k_blocks + t / KERNELS_KEY_BLOCK * bytes, t % KERNELS_KEY_BLOCK, keys[t], DIM);
            kernels_store_value(types[type], v_blocks + t / KERNELS_KEY_BLOCK * bytes, t % KERNELS_KEY_BLOCK, values[t], DIM);
        }
        for (size_t n = 1; n <= KEYS; n += n < 200 ? 51 : 1) {
            double score[KEYS], largest = -INFINITY, sum = 0;
            for (size_t t = 0; t < n; t++) {
                score[t] = 0;
                for (size_t i = 0; i < DIM; i++) score[t] += (double)q[i] * stored(types[type], keys[t] + i / 32 * 32, i % 32);
                largest = fmax(largest, score[t]);
            }
            for (size_t t = 0; t < n; t++) sum += score[t] = exp(score[t] - largest);
            for (size_t first = 0, block = 0; first < n; first += KERNELS_KEY_BLOCK, block++) {
                KernelsQuery query = {q, parts[block], n - first < KERNELS_KEY_BLOCK ? n - first : KERNELS_KEY_BLOCK};
                k->attention(types[type], k_blocks + block * bytes, v_blocks + block * bytes, DIM, &query, 1, scratch);
                if (block) k->attention_join(parts[0], parts[block], DIM);
            }
            assert_near(parts[0][DIM], largest, 1e-5);
            for (size_t j = 0; j < DIM; j++) {
                double want = 0;
                for (size_t t = 0; t < n; t++) want += score[t] * stored(types[type], values[t] + j / 32 * 32, j % 32);
                assert_near((double)parts[0][j] / (double)parts[0][DIM + 1], want / sum, 6e-6);
            }
        }
        free(k_blocks);
        free(v_blocks);
    }
}

static void what_is_not_finite_stays_so_in_q8_0(void **state) {
    (void)state;
    static const float bad[] = {INFINITY, -INFINITY, NAN, 3e38f};
    static float scratch[KERNELS_KEY_BLOCK];
    float row[32], q[32], part[34];
    uint8_t *block = malloc(2 * kernels_kv_bytes(QUANT_Q8_0, 32)), *values = block + kernels_kv_bytes(QUANT_Q8_0, 32);
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        fill(q, 32, 1.0f);
        fill(row, 32, 1.0f);
        kernels_store_key(QUANT_Q8_0, block, 0, row, 32);
        row[3 + i] = bad[i];
        kernels_store_value(QUANT_Q8_0, values, 0, row, 32);
        KernelsQuery query = {q, part, 1};
        k->attention(QUANT_Q8_0, block, values, 32, &query, 1, scratch);
        assert_true(!isfinite(part[0]));
        kernels_store_key(QUANT_Q8_0, block, 0, row, 32);
        k->attention(QUANT_Q8_0, block, values, 32, &query, 1, scratch);
        assert_true(!isfinite(part[32]));
    }
    free(block);
}

static void quantised_activations_are_within_half_a_step(void **state) {
    (void)state;
    KernelsActGroup g[2];
    memset(g, 0, sizeof g);
    float x[80];
    fill(x, 80, 5.0f);
    memset(x + 32, 0, 32 * sizeof *x);
    k->quantize(x, g, 0, 80);
    assert_true(g->scale[1] == 0.0f);
    for (size_t i = 0; i < 80; i++) assert_near((double)g->q[i] * (double)g->scale[i / 32], x[i], (double)g->scale[i / 32] * 0.5001);
    for (size_t i = 80; i < 256; i++) assert_int_equal(g->q[i], 0);
    for (size_t i = 3; i < 8; i++) assert_true(g->scale[i] == 0.0f);
    int top = 0;
    for (size_t i = 0; i < 32; i++) top = abs(g->q[i]) > top ? abs(g->q[i]) : top;
    assert_int_equal(top, 127);

    float ties[32] = {127.0f, 0.5f, 1.5f, 2.5f, -0.5f, -1.5f, -2.5f}; /* scale 1: to even */
    k->quantize(ties, g, 0, 32);
    static const int8_t even[7] = {127, 0, 2, 2, 0, -2, -2};
    assert_memory_equal(g->q, even, sizeof even);
    float tiny[32] = {190 * 0x1p-149f}; /* scale is a denormal: 127 steps do not reach */
    k->quantize(tiny, g, 0, 32);
    assert_int_equal(g->q[0], 127);
    ties[3] = NAN;
    k->quantize(ties, g, 0, 32);
    assert_true(isnan(g->scale[0]));
    for (size_t i = 0; i < 32; i++) assert_int_equal(g->q[i], 0);
}

/* A row may be quantised piece by piece, and every piece fills all forms of its blocks and nothing else. */
static void pieces_of_a_row_are_quantised_like_the_whole(void **state) {
    (void)state;
    enum { N = 544 };
    static KernelsActGroup whole[3], pieces[3];
    float x[N];
    fill(x, N, 3.0f);
    k->quantize(x, whole, 0, N);
    for (size_t first = 0, n = 32; first < N; first += n, n += 32) {
        if (n > N - first) n = N - first;
        k->quantize(x + first, pieces, first, n);
    }
    assert_memory_equal(whole, pieces, sizeof whole);
    for (size_t i = 0; i < 3; i++) {
        const KernelsActGroup *g = &whole[i];
        int sums[16] = {0};
        for (size_t e = 0; e < 256; e++) {
            sums[e / 16] += g->q[e];
            assert_int_equal(g->turned[32 * (e % 32 / 4) + 4 * (e / 32) + e % 4], g->q[e]);
        }
        for (size_t s = 0; s < 16; s++) assert_int_equal(g->sums[s], sums[s]);
    }
}

/* With f32 activations a product is that of the decoded row; with quantised ones that of the row with the values the quantised
 * activations stand for. Both up to f32 rounding, for every type. */
static void matmul_multiplies_what_the_bytes_mean(void **state) {
    (void)state;
    enum { N = 512, ROWS = 3, TOKENS = 2, STRIDE = 5 };
    static uint8_t w[ROWS * N * 4];
    static float x[TOKENS][N], meant[TOKENS][N], row[N], scratch[N];
    static KernelsActGroup groups[TOKENS][N / KERNELS_ACT_GROUP];
    KernelsActs acts[TOKENS];
    int types = 0;
    for (unsigned type = 0; type < QUANT_TYPE_COUNT; type++) {
        const QuantTraits *traits = quant_traits((QuantType)type);
        if (!traits->decode) continue;
        types++;
        for (int quantised = 0; quantised < 2; quantised++)
            for (size_t n = traits->block_elems == 1 ? 37 : traits->block_elems; n <= N; n += n < 256 ? n : 256) {
                size_t row_bytes = (size_t)quant_row_bytes((QuantType)type, n);
                if (!row_bytes || (quantised && n % 32)) continue;
                rung_random_weights((QuantType)type, w, ROWS * n, true);
                for (size_t t = 0; t < TOKENS; t++) {
                    fill(x[t], n, 1.0f);
                    memset(groups[t], 0, sizeof groups[t]);
                    if (quantised) k->quantize(x[t], groups[t], 0, n);
                    acts[t] = (KernelsActs){x[t], quantised ? groups[t] : NULL};
                    for (size_t i = 0; i < n; i++)
                        meant[t][i] = (float)groups[t][i / 256].q[i % 256] * groups[t][i / 256].scale[i % 256 / 32];
                }
                float y[TOKENS * STRIDE];
                for (size_t i = 0; i < TOKENS * STRIDE; i++) y[i] = 77.0f;
                k->matmul((QuantType)type, w, ROWS, n, acts, TOKENS, y, STRIDE, scratch);
                for (size_t t = 0; t < TOKENS; t++) {
                    for (size_t r = 0; r < ROWS; r++) {
                        quant_decode((QuantType)type, w + r * row_bytes, row, n);
                        double magnitude, want = exact_dot(row, x[t], n, &magnitude), got = (double)y[t * STRIDE + r];
                        if (quantised && kernels_has_integer((QuantType)type)) want = exact_dot(row, meant[t], n, &magnitude);
                        if (!(fabs(got - want) <= 2e-6 * magnitude))
                            fail_msg("%s n %zu row %zu: got %.9g, wanted %.9g", traits->name, n, r, got, want);
                    }
                    assert_true(y[t * STRIDE + ROWS] == 77.0f);
                }
            }
    }
    assert_true(types >= 20);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(the_ladder_has_its_rungs, setup),
        cmocka_unit_test_setup(dot_and_axpy_are_close_to_exact, setup),
        cmocka_unit_test_setup(dot_has_32_lanes, setup),
        cmocka_unit_test_setup(exp_is_as_close_as_stated, setup),
        cmocka_unit_test_setup(sigmoid_and_softplus_follow_their_formulas, setup),
        cmocka_unit_test_setup(norms_divide_by_the_right_length, setup),
        cmocka_unit_test_setup(activations_follow_their_formulas, setup),
        cmocka_unit_test_setup(rope_turns_pairs, setup),
        cmocka_unit_test_setup(convolution_sees_the_last_tokens, setup),
        cmocka_unit_test_setup(delta_rule_is_the_recurrence, setup),
        cmocka_unit_test_setup(delta_rule_can_be_cut_anywhere, setup),
        cmocka_unit_test_setup(attention_is_softmax_of_scores, setup),
        cmocka_unit_test_setup(what_is_not_finite_stays_so_in_q8_0, setup),
        cmocka_unit_test_setup(quantised_activations_are_within_half_a_step, setup),
        cmocka_unit_test_setup(pieces_of_a_row_are_quantised_like_the_whole, setup),
        cmocka_unit_test_setup(matmul_multiplies_what_the_bytes_mean, setup),
    };
    return RUN_TESTS(tests);
}
