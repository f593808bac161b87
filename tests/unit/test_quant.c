/* The quant room against reference blocks (tests/data/blocks, see its README) and against small facts written here. */
#include "support/support.h"

#include "quant/quant.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint32_t bits_of(float f) {
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

static float of_bits(uint32_t u) {
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

static bool is_block_type(const QuantTraits *t) { return t->block_elems > 1; }

/* ---- the reference blocks ---- */

static Golden *open_blocks(const QuantTraits *t) {
    char rel[64];
    snprintf(rel, sizeof rel, "tests/data/blocks/blocks.%s.safetensors", t->name);
    return golden_open(source_path(rel));
}

static void blocks_decode_to_the_reference_bits(void **state) {
    (void)state;
    int types = 0;
    for (unsigned type = 0; type < QUANT_TYPE_COUNT; type++) {
        const QuantTraits *t = quant_traits((QuantType)type);
        if (!is_block_type(t)) continue;
        Golden *g = open_blocks(t);
        const GoldenTensor *raw = golden_get(g, "raw");
        assert_non_null(raw);
        assert_string_equal(raw->dtype, "U8");
        assert_int_equal(raw->dims[1], t->block_bytes);
        size_t blocks = (size_t)raw->dims[0], n = blocks * t->block_elems;
        assert_true(blocks >= 64);
        const float *want = golden_f32(g, "values", (int64_t)n);
        /* every alignment that a file can bring; all blocks in one call */
        uint8_t *src = malloc(blocks * t->block_bytes + 8);
        float *got = malloc((n + 1) * sizeof *got);
        for (size_t shift = 0; shift < 5; shift++) {
            memcpy(src + shift, raw->data, blocks * t->block_bytes);
            got[n] = 42;
            quant_decode((QuantType)type, src + shift, got, n);
            for (size_t i = 0; i < n; i++) {
                if (bits_of(got[i]) == bits_of(want[i]) || (got[i] == 0 && want[i] == 0)) continue;
                fail_msg("%s block %zu element %zu: %.9g, reference %.9g", t->name, i / t->block_elems, i % t->block_elems,
                         (double)got[i], (double)want[i]);
            }
            assert_true(got[n] == 42);
        }
        assert_true(quant_finite((QuantType)type, src + 4, n));
        free(src);
        free(got);
        golden_close(g);
        types++;
    }
    if (types < 21) fail_msg("only %d block types: one was lost", types);
}

/* ---- tables ---- */

static char *read_text(const char *path) {
    FILE *f = fopen(path, "rb");
    if (!f) fail_msg("%s: cannot open", path);
    fseek(f, 0, SEEK_END);
    size_t size = (size_t)ftell(f);
    rewind(f);
    char *text = calloc(1, size + 1);
    assert_int_equal(fread(text, 1, size, f), size);
    fclose(f);
    return text;
}

/* The next number of *at, as the 64 bits that hold it; false where the list ends. */
static bool next_number(const char **at, uint64_t *value) {
    while (**at && strchr(" \n\r\t,", **at)) (*at)++;
    char *end;
    *value = **at == '-' ? (uint64_t)strtoll(*at, &end, 0) : strtoull(*at, &end, 0);
    bool found = end != *at;
    *at = end;
    return found;
}

static void committed_tables_are_the_formats_own(void **state) {
    (void)state;
    const char *json_path = shared_path("data/quant/tables.json");
    REQUIRE_PATH(json_path);
    char *json = read_text(json_path), *code = read_text(source_path("src/quant/tables.c"));
    static const struct {
        const char *name;
        int count;
    } tables[] = {{"kvalues_fp4", 16},  {"kvalues_iq4nl", 16}, {"ksigns_iq2xs", 128}, {"iq3xxs_grid", 256}, {"iq3s_grid", 512},
                  {"iq2xxs_grid", 256}, {"iq2xs_grid", 512},   {"iq2s_grid", 1024},   {"iq1s_grid", 2048}};
    for (size_t i = 0; i < COUNT_OF(tables); i++) {
        char key[64];
        snprintf(key, sizeof key, "\"%s\"", tables[i].name);
        const char *want = strstr(json, key);
        assert_non_null(want);
        want = strstr(want, "\"values\"");
        assert_non_null(want);
        want = strchr(want, '[') + 1;
        snprintf(key, sizeof key, "quant_%s[", tables[i].name);
        const char *have = strstr(code, key);
        assert_non_null(have);
        have = strchr(have, '{') + 1;
        uint64_t a, b;
        for (int j = 0; j < tables[i].count; j++) {
            assert_true(next_number(&want, &a));
            assert_true(next_number(&have, &b));
            if (a != b) fail_msg("%s[%d]", tables[i].name, j);
        }
        assert_false(next_number(&want, &a));
        assert_false(next_number(&have, &b));
    }
    free(json);
    free(code);
}

/* ---- half and bfloat16 ---- */

static void every_f16_survives_the_round_trip(void **state) {
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) {
        float f = quant_f16_to_f32((uint16_t)h);
        uint32_t exponent = h >> 10 & 31, mantissa = h & 1023;
        if (exponent == 31 && mantissa) { /* NaN: made quiet, the rest kept */
            assert_true(isnan(f));
            assert_int_equal(bits_of(f), (h & 0x8000) << 16 | 0x7FC00000 | mantissa << 13);
            assert_int_equal(quant_f32_to_f16(f), h | 0x200);
            continue;
        }
        float want = exponent == 31   ? INFINITY
                     : exponent == 0  ? ldexpf((float)mantissa, -24)
                                      : ldexpf((float)(1024 + mantissa), (int)exponent - 25);
        assert_int_equal(bits_of(f), bits_of(h & 0x8000 ? -want : want));
        assert_int_equal(quant_f32_to_f16(f), h);
    }
}

static void f16_rounds_to_nearest_even(void **state) {
    (void)state;
    /* between each two neighbours: just below the middle, the middle, just above it */
    for (uint32_t h = 0; h < 0x7C00; h++) {
        double low = (double)quant_f16_to_f32((uint16_t)h);
        double high = h == 0x7BFF ? 65536.0 : (double)quant_f16_to_f32((uint16_t)(h + 1));
        float middle = (float)((low + high) / 2); /* exact */
        assert_int_equal(quant_f32_to_f16(nextafterf(middle, 0)), h);
        assert_int_equal(quant_f32_to_f16(middle), h + (h & 1));
        assert_int_equal(quant_f32_to_f16(nextafterf(middle, INFINITY)), h + 1);
        assert_int_equal(quant_f32_to_f16(-middle), (h + (h & 1)) | 0x8000);
    }
    assert_int_equal(quant_f32_to_f16(INFINITY), 0x7C00);
    assert_int_equal(quant_f32_to_f16(-3e38f), 0xFC00);
    assert_int_equal(quant_f32_to_f16(1e-40f), 0);
    assert_int_equal(quant_f32_to_f16(-0.0f), 0x8000);
    assert_int_equal(quant_f32_to_f16(of_bits(0x7F800001)), 0x7E00); /* a NaN stays one although its payload is lost */
    assert_int_equal(quant_f32_to_f16(of_bits(0xFFC02000)), 0xFE01);
}

static void bf16_rounds_to_nearest_even(void **state) {
    (void)state;
    for (uint32_t b = 0; b < 0x7F80; b++) {
        uint32_t bits = b << 16;
        assert_int_equal(bits_of(quant_bf16_to_f32((uint16_t)b)), bits);
        assert_int_equal(quant_f32_to_bf16(of_bits(bits)), b);
        assert_int_equal(quant_f32_to_bf16(of_bits(bits | 0x7FFF)), b);
        assert_int_equal(quant_f32_to_bf16(of_bits(bits | 0x8000)), b + (b & 1));
        assert_int_equal(quant_f32_to_bf16(of_bits(bits | 0x8001)), b + 1);
        assert_int_equal(quant_f32_to_bf16(of_bits(bits | 0x80008001)), (b + 1) | 0x8000);
    }
    assert_int_equal(quant_f32_to_bf16(INFINITY), 0x7F80);
    assert_int_equal(quant_f32_to_bf16(of_bits(0x7F800001)), 0x7FC0);
    assert_int_equal(quant_f32_to_bf16(of_bits(0xFFFFFFFF)), 0xFFFF);
}

static void plain_types_decode_from_any_address(void **state) {
    (void)state;
    uint8_t raw[16] = {0};
    float y[3];
    const uint16_t half[3] = {0x3C00, 0xC000, 0x0001}, brain[3] = {0x3F80, 0xC000, 0x0001};
    const float full[3] = {1, -2, 1e-45f};
    memcpy(raw + 1, half, sizeof half);
    quant_decode(QUANT_F16, raw + 1, y, 3);
    assert_true(y[0] == 1 && y[1] == -2 && y[2] == 0x1p-24f);
    memcpy(raw + 1, brain, sizeof brain);
    quant_decode(QUANT_BF16, raw + 1, y, 3);
    assert_true(y[0] == 1 && y[1] == -2 && y[2] == 0x1p-133f);
    memcpy(raw + 1, full, sizeof full);
    quant_decode(QUANT_F32, raw + 1, y, 3);
    assert_memory_equal(y, full, sizeof full);
}

/* ---- the trait table ---- */

static void names_and_numbers_find_their_type(void **state) {
    (void)state;
    for (unsigned type = 0; type < QUANT_TYPE_COUNT; type++) {
        const QuantTraits *t = quant_traits((QuantType)type);
        QuantType found;
        assert_non_null(t);
        assert_true(t->name && t->block_elems && t->block_bytes);
        char lower[16];
        size_t i = 0;
        for (; t->name[i]; i++) lower[i] = (char)(t->name[i] >= 'A' && t->name[i] <= 'Z' ? t->name[i] + 32 : t->name[i]);
        lower[i] = 0;
        assert_true(quant_from_name(lower, &found) && found == type);
        assert_true(quant_from_name(t->name, &found) && found == type);
        assert_int_equal(type == QUANT_U8, t->ggml_id < 0);
        if (t->ggml_id >= 0) {
            assert_true(quant_from_ggml((uint32_t)t->ggml_id, &found) && found == type);
            assert_null(quant_ggml_unsupported_name((uint32_t)t->ggml_id));
        }
        if (t->safetensors) assert_true(quant_from_safetensors(str_c(t->safetensors), &found) && found == type);
        assert_int_equal(t->decode == NULL, type >= QUANT_I8);
    }
    /* numbers that must not move, for they stand in files */
    static const struct {
        uint32_t id;
        QuantType type;
    } known[] = {{0, QUANT_F32}, {1, QUANT_F16}, {8, QUANT_Q8_0}, {12, QUANT_Q4_K}, {22, QUANT_IQ2_S}, {29, QUANT_IQ1_M},
                 {30, QUANT_BF16}, {39, QUANT_MXFP4}, {40, QUANT_NVFP4}};
    QuantType found;
    for (size_t i = 0; i < COUNT_OF(known); i++) assert_true(quant_from_ggml(known[i].id, &found) && found == known[i].type);
}

static void unknown_types_are_refused(void **state) {
    (void)state;
    QuantType type = QUANT_Q4_K;
    static const uint32_t withdrawn[] = {4, 5, 9, 15, 31, 32, 33, 34, 35, 36, 37, 38};
    for (size_t i = 0; i < COUNT_OF(withdrawn); i++) {
        if (quant_from_ggml(withdrawn[i], &type)) fail_msg("GGUF number %u is supported now: take it out of this list", withdrawn[i]);
        if (!quant_ggml_unsupported_name(withdrawn[i])) fail_msg("GGUF number %u has lost its name", withdrawn[i]);
    }
    assert_false(quant_from_ggml(41, &type));
    assert_false(quant_from_ggml(UINT32_MAX, &type));
    assert_null(quant_ggml_unsupported_name(41));
    assert_null(quant_ggml_unsupported_name(UINT32_MAX));
    static const char *const names[] = {"", "Q4", "Q4_K_M", "Q4_KK", "f33"};
    for (size_t i = 0; i < COUNT_OF(names); i++) assert_false(quant_from_name(names[i], &type));
    assert_false(quant_from_safetensors(str_c("F8_E4M3"), &type));
    assert_false(quant_from_safetensors(str_c("BF1"), &type));
    assert_false(quant_from_safetensors(str_c(""), &type));
    assert_int_equal(type, QUANT_Q4_K);
    assert_null(quant_traits(QUANT_TYPE_COUNT));
    assert_null(quant_traits((QuantType)-1));
}

static void rows_have_a_size(void **state) {
    (void)state;
    assert_int_equal(quant_row_bytes(QUANT_F32, 5), 20);
    assert_int_equal(quant_row_bytes(QUANT_BF16, 5), 10);
    assert_int_equal(quant_row_bytes(QUANT_Q8_0, 64), 68);
    assert_int_equal(quant_row_bytes(QUANT_Q8_0, 65), 0);
    assert_int_equal(quant_row_bytes(QUANT_Q4_K, 4096), 2304);
    assert_int_equal(quant_row_bytes(QUANT_Q4_K, 128), 0);
    assert_int_equal(quant_row_bytes(QUANT_NVFP4, 64), 36);
    assert_int_equal(quant_row_bytes(QUANT_I64, UINT64_MAX / 8), UINT64_MAX / 8 * 8);
    assert_int_equal(quant_row_bytes(QUANT_I64, UINT64_MAX / 8 + 1), 0);
    assert_int_equal(quant_row_bytes(QUANT_TYPE_COUNT, 32), 0);
}

/* ---- finite or not ---- */

enum { ROW = 256 * 3 };

/* What quant_finite must agree with. */
static bool decodes_finite(QuantType type, const void *src) {
    float y[ROW];
    quant_decode(type, src, y, ROW);
    for (int i = 0; i < ROW; i++)
        if (!isfinite(y[i])) return false;
    return true;
}

static void finite_looks_at_every_plain_number(void **state) {
    (void)state;
    static const struct {
        QuantType type;
        size_t size;
        uint64_t good, infinite, nan;
    } cases[] = {{QUANT_F32, 4, 0xFF7FFFFF, 0x7F800000, 0xFF800001},
                 {QUANT_F16, 2, 0xFBFF, 0xFC00, 0x7C01},
                 {QUANT_BF16, 2, 0xFF7F, 0x7F80, 0xFFC0},
                 {QUANT_F64, 8, UINT64_C(0xFFEFFFFFFFFFFFFF), UINT64_C(0x7FF0000000000000), UINT64_C(0x7FF0000000000001)}};
    for (size_t c = 0; c < COUNT_OF(cases); c++) {
        enum { COUNT = 131 };
        uint8_t raw[COUNT * 8 + 1];
        size_t size = cases[c].size;
        for (size_t at = 0; at < COUNT; at++) {
            for (size_t i = 0; i < COUNT; i++) memcpy(raw + 1 + i * size, &cases[c].good, size);
            assert_true(quant_finite(cases[c].type, raw + 1, COUNT));
            memcpy(raw + 1 + at * size, at % 2 ? &cases[c].infinite : &cases[c].nan, size);
            assert_false(quant_finite(cases[c].type, raw + 1, COUNT));
            assert_true(quant_finite(cases[c].type, raw + 1, at)); /* what lies behind is not its business */
        }
    }
    uint8_t ones[64];
    memset(ones, 0xFF, sizeof ones);
    assert_true(quant_finite(QUANT_I32, ones, 16));
    assert_false(quant_finite(QUANT_TYPE_COUNT, ones, 1));
}

static void finite_looks_at_every_scale(void **state) {
    (void)state;
    for (unsigned type = QUANT_Q4_0; type < QUANT_I8; type++) {
        const QuantTraits *t = quant_traits((QuantType)type);
        Golden *g = open_blocks(t);
        size_t blocks = ROW / t->block_elems, bytes = blocks * t->block_bytes;
        uint8_t *row = malloc(bytes);
        /* Spoil each byte of the last block in turn: the answer must be that of decoding. */
        int refused = 0;
        for (size_t at = bytes - t->block_bytes; at < bytes; at++) {
            for (unsigned v = 0x7C; v < 256; v += v == 0x7F ? 0x7D : 1) {
                memcpy(row, golden_get(g, "raw")->data, bytes);
                row[at] = (uint8_t)v;
                bool finite = quant_finite((QuantType)type, row, ROW);
                bool own_nan = (type == QUANT_MXFP4 && v == 0xFF) || (type == QUANT_NVFP4 && (v & 0x7F) == 0x7F);
                if (finite != decodes_finite((QuantType)type, row) && !own_nan)
                    fail_msg("%s: byte %zu = %02x: quant_finite says %d", t->name, at - (bytes - t->block_bytes), v, finite);
                refused += !finite;
            }
        }
        if (refused == 0) fail_msg("%s: nothing was refused", t->name);
        free(row);
        golden_close(g);
    }
}

static void finite_knows_the_limits_of_mxfp4(void **state) {
    (void)state;
    uint8_t block[17] = {252};
    memset(block + 1, 0x77, 16); /* 12 everywhere */
    assert_true(quant_finite(QUANT_MXFP4, block, 32));
    block[0] = 253;
    assert_false(quant_finite(QUANT_MXFP4, block, 32));
    memset(block + 1, 0x55, 16); /* 6 */
    assert_true(quant_finite(QUANT_MXFP4, block, 32));
    block[0] = 254;
    assert_false(quant_finite(QUANT_MXFP4, block, 32));
    memset(block + 1, 0, 16);
    assert_true(quant_finite(QUANT_MXFP4, block, 32));
    block[0] = 255;
    assert_false(quant_finite(QUANT_MXFP4, block, 32));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_decode_to_the_reference_bits),
        cmocka_unit_test(committed_tables_are_the_formats_own),
        cmocka_unit_test(every_f16_survives_the_round_trip),
        cmocka_unit_test(f16_rounds_to_nearest_even),
        cmocka_unit_test(bf16_rounds_to_nearest_even),
        cmocka_unit_test(plain_types_decode_from_any_address),
        cmocka_unit_test(names_and_numbers_find_their_type),
        cmocka_unit_test(unknown_types_are_refused),
        cmocka_unit_test(rows_have_a_size),
        cmocka_unit_test(finite_looks_at_every_plain_number),
        cmocka_unit_test(finite_looks_at_every_scale),
        cmocka_unit_test(finite_knows_the_limits_of_mxfp4),
    };
    return RUN_TESTS(tests);
}
