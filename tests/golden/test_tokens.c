/* Token ids against those of HF tokenizers: the vectors of the reference data, whole texts, and the tokenizers of the small
 * models. What needs no reference data is in tests/unit/test_tokenizer.c. */
#include "support/support.h"

#include "text/text.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- helpers ---- */

static char *slurp(const char *path, size_t *len) {
    FILE *f = fopen(path, "rb");
    if (!f) fail_msg("cannot open %s", path);
    fseek(f, 0, SEEK_END);
    *len = (size_t)ftell(f);
    rewind(f);
    char *text = malloc(*len + 1);
    if (fread(text, 1, *len, f) != *len) fail_msg("cannot read %s", path);
    text[*len] = 0;
    fclose(f);
    return text;
}

/* The tokenizer.json of a folder, with its tokenizer_config.json if wanted. */
static Tokenizer *load(const char *folder, bool with_config) {
    char path[1100];
    size_t n, n_config = 0;
    char *config = NULL;
    snprintf(path, sizeof path, "%s/tokenizer.json", folder);
    char *json = slurp(path, &n);
    if (with_config) {
        snprintf(path, sizeof path, "%s/tokenizer_config.json", folder);
        config = slurp(path, &n_config);
    }
    Err err = {0};
    Tokenizer *t = text_tokenizer_from_json(str_make(json, n), str_make(config, n_config), &err);
    if (!t) fail_msg("%s: %s", folder, err.text);
    free(json);
    free(config);
    return t;
}

/* The two published vocabularies are large; each is loaded once. */
static const char *const families[] = {"qwen3.5", "qwen3"};
static Tokenizer *loaded[COUNT_OF(families)];

static const Tokenizer *family(size_t i) {
    char rel[64];
    snprintf(rel, sizeof rel, "data/tokenizer/%s", families[i]);
    if (!loaded[i]) loaded[i] = load(shared_path(rel), i == 0); /* qwen3 comes without a configuration */
    return loaded[i];
}

static void free_families(void) {
    for (size_t i = 0; i < COUNT_OF(families); i++) text_tokenizer_free(loaded[i]);
}

static void assert_ids(const TextIds *got, const json_t *want, const char *what) {
    size_t n = json_array_size(want);
    bool same = got->n == n;
    for (size_t i = 0; same && i < n; i++) same = got->ids[i] == json_integer_value(json_array_get(want, i));
    if (same) return;
    printf("%s\n  got ", what);
    for (size_t i = 0; i < got->n; i++) printf(" %d", got->ids[i]);
    printf("\n  want");
    for (size_t i = 0; i < n; i++) printf(" %d", (int)json_integer_value(json_array_get(want, i)));
    printf("\n");
    fail();
}

/* Every line {"text","ids",...} of a file; texts may hold U+0000. Returns the number of lines. */
static int check_vectors(const Tokenizer *t, const char *path, unsigned flags) {
    size_t len;
    char *all = slurp(path, &len), *end = all + len;
    int lines = 0;
    for (char *line = all, *stop; line < end; line = stop + 1, lines++) {
        stop = memchr(line, '\n', (size_t)(end - line));
        if (!stop) stop = end;
        json_t *row = json_loadb(line, (size_t)(stop - line), JSON_ALLOW_NUL, NULL);
        assert_non_null(row);
        const json_t *text = json_object_get(row, "text");
        const char *cat = json_string_value(json_object_get(row, "cat"));
        char what[1200];
        snprintf(what, sizeof what, "%s line %d (%s): %s", path, lines + 1, cat, json_string_value(text));
        TextIds ids = {0};
        Err err = {0};
        if (text_encode(t, json_string_value(text), json_string_length(text), flags, &ids, &err) != ERR_OK)
            fail_msg("%s: %s", what, err.text);
        assert_ids(&ids, json_object_get(row, "ids"), what);
        text_ids_free(&ids);
        json_decref(row);
    }
    free(all);
    return lines;
}

/* ---- sha256, for whole texts (FIPS 180-4) ---- */

static uint32_t turn(uint32_t x, int n) { return x >> n | x << (32 - n); }

static void sha256_block(uint32_t h[8], const uint8_t block[64]) {
    static const uint32_t k[64] = {
        0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01,
        0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc,
        0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147,
        0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
        0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08,
        0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208,
        0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};
    uint32_t w[64], s[8];
    for (size_t i = 0; i < 16; i++)
        w[i] = (uint32_t)block[4 * i] << 24 | (uint32_t)block[4 * i + 1] << 16 | (uint32_t)block[4 * i + 2] << 8 | block[4 * i + 3];
    for (int i = 16; i < 64; i++)
        w[i] = w[i - 16] + (turn(w[i - 15], 7) ^ turn(w[i - 15], 18) ^ w[i - 15] >> 3) + w[i - 7] +
               (turn(w[i - 2], 17) ^ turn(w[i - 2], 19) ^ w[i - 2] >> 10);
    memcpy(s, h, sizeof s);
    for (int i = 0; i < 64; i++) {
        uint32_t a = s[7] + (turn(s[4], 6) ^ turn(s[4], 11) ^ turn(s[4], 25)) + ((s[4] & s[5]) ^ (~s[4] & s[6])) + k[i] + w[i];
        uint32_t b = (turn(s[0], 2) ^ turn(s[0], 13) ^ turn(s[0], 22)) + ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));
        memmove(s + 1, s, 7 * sizeof *s);
        s[4] += a;
        s[0] = a + b;
    }
    for (int i = 0; i < 8; i++) h[i] += s[i];
}

/* Of ids as little-endian u32, as 64 hexadecimal digits. */
static void sha256_of_ids(const TextIds *ids, char hex[65]) {
    uint32_t h[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    size_t bytes = ids->n * 4, padded = (bytes + 9 + 63) / 64 * 64;
    uint8_t *m = calloc(padded, 1);
    for (size_t i = 0; i < bytes; i++) m[i] = (uint8_t)((uint32_t)ids->ids[i / 4] >> 8 * (i % 4));
    m[bytes] = 0x80;
    for (int i = 0; i < 8; i++) m[padded - 1 - (size_t)i] = (uint8_t)((uint64_t)bytes * 8 >> 8 * i);
    for (size_t i = 0; i < padded; i += 64) sha256_block(h, m + i);
    for (size_t i = 0; i < 8; i++) snprintf(hex + 8 * i, 9, "%08x", h[i]);
    free(m);
}

/* ---- the tests ---- */

static void vectors_of_both_vocabularies(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT_OF(families); i++) {
        char rel[64];
        snprintf(rel, sizeof rel, "data/tokenizer/%s", families[i]);
        REQUIRE_PATH(shared_path(rel));
        const Tokenizer *t = family(i);
        snprintf(rel, sizeof rel, "data/golden/tokens/%s.jsonl", families[i]);
        assert_int_equal(check_vectors(t, shared_path(rel), 0), 400);
        snprintf(rel, sizeof rel, "data/golden/tokens/%s.no_special.jsonl", families[i]);
        assert_true(check_vectors(t, shared_path(rel), TEXT_NO_SPECIAL) > 60);
    }
}

static void whole_texts_by_checksum(void **state) {
    (void)state;
    REQUIRE_PATH(shared_path("data/golden/tokens/texts.json"));
    json_t *root = json_load_file(shared_path("data/golden/tokens/texts.json"), 0, NULL);
    assert_non_null(root);
    for (size_t i = 0; i < COUNT_OF(families); i++) {
        char rel[64];
        const Tokenizer *t = family(i);
        const char *name;
        json_t *by_family;
        json_object_foreach(json_object_get(root, "texts"), name, by_family) {
            json_t *want = json_object_get(by_family, families[i]);
            size_t len;
            snprintf(rel, sizeof rel, "data/text/%s", name);
            char *text = slurp(shared_path(rel), &len);
            TextIds ids = {0};
            assert_int_equal(text_encode(t, text, len, 0, &ids, NULL), ERR_OK);
            assert_int_equal(ids.n, json_integer_value(json_object_get(want, "tokens")));
            json_t *first = json_object_get(want, "first"), *last = json_object_get(want, "last");
            TextIds head = {ids.ids, json_array_size(first), 0};
            TextIds tail = {ids.ids + ids.n - json_array_size(last), json_array_size(last), 0};
            assert_ids(&head, first, name);
            assert_ids(&tail, last, name);
            char hex[65];
            sha256_of_ids(&ids, hex);
            assert_string_equal(hex, json_string_value(json_object_get(want, "sha256")));
            text_ids_free(&ids);
            free(text);
        }
    }
    json_decref(root);
}

/* Strings whose ids are known within bounds; added tokens are read as ordinary text in them. */
static void llama_vectors(void **state) {
    (void)state;
    REQUIRE_PATH(shared_path("data/tokenizer/vectors35.jsonl"));
    const Tokenizer *t = family(0);
    size_t len;
    char *all = slurp(shared_path("data/tokenizer/vectors35.jsonl"), &len);
    int exact = 0, lines = 0;
    for (char *line = strtok(all, "\n"); line; line = strtok(NULL, "\n"), lines++) {
        json_t *row = json_loads(line, 0, NULL);
        json_t *text = json_object_get(row, "text"), *low = json_object_get(row, "ids_lo"), *high = json_object_get(row, "ids_hi");
        TextIds ids = {0};
        Err err = {0};
        assert_int_equal(text_encode(t, json_string_value(text), json_string_length(text), TEXT_NO_SPECIAL, &ids, &err), ERR_OK);
        if (ids.n != json_array_size(json_object_get(row, "tokens"))) fail_msg("%s: %zu tokens", line, ids.n);
        for (size_t i = 0; i < ids.n; i++) {
            json_int_t from = json_integer_value(json_array_get(low, i)), to = json_integer_value(json_array_get(high, i));
            if (ids.ids[i] < from || ids.ids[i] > to) fail_msg("%s: token %zu is %d", line, i, ids.ids[i]);
            exact += from == to;
        }
        text_ids_free(&ids);
        json_decref(row);
    }
    assert_int_equal(lines, 60);
    assert_true(exact > 300);
    free(all);
}

static void config_adds_the_missing_added_tokens(void **state) {
    (void)state;
    REQUIRE_PATH(shared_path("data/tokenizer/qwen3.5"));
    Tokenizer *bare = load(shared_path("data/tokenizer/qwen3.5"), false);
    const Tokenizer *t = family(0);
    int32_t id;
    assert_int_equal(text_token_count(bare), 248070);
    assert_false(text_token_id(bare, "<tts_pad>", &id));
    assert_int_equal(text_token_count(t), 248077);
    assert_true(text_token_id(t, "<tts_pad>", &id) && id == 248072);
    assert_true(text_token_id(t, "<|im_end|>", &id) && id == 248046 && text_token_is_special(t, id));
    assert_true(text_token_id(t, "</think>", &id) && id == 248069 && !text_token_is_special(t, id));
    assert_false(text_token_id(t, "Hello", &id));
    TextIds ids = {0};
    assert_int_equal(text_encode(t, "<tts_text_bos_single>", 21, 0, &ids, NULL), ERR_OK);
    assert_true(ids.n == 1 && ids.ids[0] == 248075); /* and not the shorter <tts_text_bos */
    text_ids_free(&ids);
    uint64_t bytes = text_tokenizer_bytes(t);
    if (bytes > 30u << 20 || bytes < 8u << 20) fail_msg("the tokenizer holds %llu bytes", (unsigned long long)bytes);
    text_tokenizer_free(bare);
}

/* Every id decodes to bytes that encode to the same bytes again: whole texts, id by id through a stream. */
static void decoding_gives_the_text_back(void **state) {
    (void)state;
    REQUIRE_PATH(shared_path("data/text/wikitext2-test.txt"));
    const Tokenizer *t = family(0);
    size_t len;
    char *text = slurp(shared_path("data/text/wikitext2-test.txt"), &len);
    TextIds ids = {0};
    assert_int_equal(text_encode(t, text, len, 0, &ids, NULL), ERR_OK);
    TextStream stream = {0};
    Buf token = {0}, out = {0};
    for (size_t i = 0; i < ids.n; i++) {
        buf_clear(&token);
        assert_true(text_decode(t, ids.ids[i], false, &token));
        text_stream_put(&stream, token.ptr, token.len, &out);
        if (i % 97 == 0) assert_true(utf8_valid(out.ptr, out.len));
    }
    text_stream_end(&stream, &out);
    assert_int_equal(out.len, len); /* this text is NFC already */
    assert_memory_equal(out.ptr, text, len);
    buf_free(&token);
    buf_free(&out);
    text_ids_free(&ids);
    free(text);
}

static void golden_folders_load(void **state) {
    (void)state;
    static const char *const names[] = {"q35-a", "q35-real-dims", "next-a", "moe-a", "q35-a.fp8", "q35-a.gptq-int4", "q35-a.mlx-4bit"};
    REQUIRE_PATH(shared_path("data/golden/q35-a"));
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        char rel[64];
        snprintf(rel, sizeof rel, "data/golden/%s", names[i]);
        Tokenizer *t = load(shared_path(rel), true);
        assert_int_equal(text_token_count(t), 508);
        TextIds ids = {0};
        Buf out = {0};
        const char *text = "<|im_start|>user\nThe \xE7\x8C\xAB said: caf\xC3\xA9!<|im_end|>\n";
        assert_int_equal(text_encode(t, text, strlen(text), 0, &ids, NULL), ERR_OK);
        for (size_t k = 0; k < ids.n; k++) assert_true(text_decode(t, ids.ids[k], false, &out));
        assert_string_equal(out.ptr, text);
        assert_int_equal(ids.ids[0], 502);
        buf_free(&out);
        text_ids_free(&ids);
        text_tokenizer_free(t);
    }
}

/* Patterns that are nobody's named split go through the same code: other families' small models, and the pieces of a split. */
static void tokenizers_of_other_families(void **state) {
    (void)state;
    REQUIRE_PATH(shared_path("data/golden-more/tokens.jsonl"));
    static const char *const names[] = {"glm45-air", "gpt-oss", "minimax-m2", "mixtral", "nemotron-nano", "olmoe", "qwen4exp"};
    Tokenizer *models[COUNT_OF(names)];
    int checked[COUNT_OF(names)] = {0};
    char path[64];
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        snprintf(path, sizeof path, "data/golden-more/%s", names[i]);
        models[i] = load(shared_path(path), false);
    }
    FILE *f = fopen(shared_path("data/golden-more/tokens.jsonl"), "r");
    assert_non_null(f);
    for (json_t *row; (row = json_loadf(f, JSON_DISABLE_EOF_CHECK | JSON_ALLOW_NUL, NULL)) != NULL; json_decref(row)) {
        const char *name = json_string_value(json_object_get(row, "model"));
        const json_t *text = json_object_get(row, "text");
        for (size_t i = 0; name && i < COUNT_OF(names); i++) {
            if (strcmp(name, names[i]) != 0) continue;
            TextIds ids = {0};
            assert_int_equal(text_encode(models[i], json_string_value(text), json_string_length(text), 0, &ids, NULL), ERR_OK);
            assert_ids(&ids, json_object_get(row, "ids"), name);
            text_ids_free(&ids);
            checked[i]++;
        }
    }
    fclose(f);
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        assert_int_equal(checked[i], 67);
        text_tokenizer_free(models[i]);
    }
}

static void tiny_tales_prompts(void **state) {
    (void)state;
    REQUIRE_PATH(shared_path("data/models/tiny-tales/golden.json"));
    json_t *root = json_load_file(shared_path("data/models/tiny-tales/golden.json"), 0, NULL);
    Tokenizer *t = load(shared_path("data/models/tiny-tales"), true);
    size_t i;
    json_t *row;
    json_array_foreach(json_object_get(root, "prompts"), i, row) {
        json_t *prompt = json_object_get(row, "prompt"), *new_ids = json_object_get(row, "new_ids");
        TextIds ids = {0};
        assert_int_equal(text_encode(t, json_string_value(prompt), json_string_length(prompt), 0, &ids, NULL), ERR_OK);
        assert_ids(&ids, json_object_get(row, "prompt_ids"), json_string_value(prompt));
        Buf out = {0};
        for (size_t k = 0; k < json_array_size(new_ids); k++)
            assert_true(text_decode(t, (int32_t)json_integer_value(json_array_get(new_ids, k)), false, &out));
        assert_string_equal(out.ptr, json_string_value(json_object_get(row, "new_text")));
        buf_free(&out);
        text_ids_free(&ids);
    }
    assert_true(i >= 4);
    json_decref(root);
    text_tokenizer_free(t);
}

static void character_level_vocabulary(void **state) {
    (void)state;
    REQUIRE_PATH(shared_path("data/models/nano-shakespeare/tokenizer.json"));
    Tokenizer *t = load(shared_path("data/models/nano-shakespeare"), false);
    size_t len;
    char *text = slurp(shared_path("data/text/tinyshakespeare.val.txt"), &len);
    TextIds ids = {0};
    Err err = {0};
    assert_int_equal(text_encode(t, text, len, 0, &ids, &err), ERR_OK);
    assert_int_equal(ids.n, len);
    Buf out = {0};
    for (size_t i = 0; i < ids.n; i++) text_decode(t, ids.ids[i], false, &out);
    assert_memory_equal(out.ptr, text, len);
    assert_int_equal(text_encode(t, "one 7", 5, 0, &ids, &err), ERR_RANGE);
    assert_non_null(strstr(err.text, "0x37 '7'"));
    assert_int_equal(ids.n, len);
    buf_free(&out);
    text_ids_free(&ids);
    free(text);
    text_tokenizer_free(t);
}

int main(void) {
    atexit(free_families);
    const struct CMUnitTest tokens[] = {
        cmocka_unit_test(vectors_of_both_vocabularies), cmocka_unit_test(whole_texts_by_checksum),
        cmocka_unit_test(llama_vectors), cmocka_unit_test(config_adds_the_missing_added_tokens),
        cmocka_unit_test(decoding_gives_the_text_back), cmocka_unit_test(golden_folders_load),
        cmocka_unit_test(tokenizers_of_other_families), cmocka_unit_test(tiny_tales_prompts), cmocka_unit_test(character_level_vocabulary),
    };
    return RUN_TESTS(tokens);
}
