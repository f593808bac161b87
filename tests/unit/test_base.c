#include "support/support.h"

#include "base/base.h"

#include <stdio.h>
#include <string.h>

static void errors_keep_cause_behind_context(void **state) {
    (void)state;
    Err err = {0};
    assert_int_equal(err_set(&err, ERR_FORMAT, "byte %d is odd", 7), ERR_FORMAT);
    assert_int_equal(err_prefix(&err, "%s", "a.gguf"), ERR_FORMAT);
    assert_string_equal(err.text, "a.gguf: byte 7 is odd");
    for (int i = 0; i < 100; i++) err_prefix(&err, "a rather long piece of context, number %d", i);
    assert_true(strlen(err.text) < sizeof err.text);
}

static void sizes_parse_and_print(void **state) {
    (void)state;
    uint64_t n;
    char out[32];
    assert_true(parse_size("512M", &n) && n == UINT64_C(512) << 20);
    assert_true(parse_size("8GiB", &n) && n == UINT64_C(8) << 30);
    assert_true(parse_size("1.5T", &n) && n == UINT64_C(3) << 39);
    assert_true(parse_size("4096", &n) && n == 4096);
    assert_true(parse_size("4k", &n) && n == 4096);
    const char *bad[] = {"", "x", "-1", "8Q", "G", "1e30", "8G8", "nan", "1M "};
    for (size_t i = 0; i < COUNT_OF(bad); i++) assert_false(parse_size(bad[i], &n));
    assert_string_equal(format_size(17, out), "17 B");
    assert_string_equal(format_size(1536, out), "1.50 KiB");
}

static void rates_parse(void **state) {
    (void)state;
    double rate = 0;
    static const struct {
        const char *text;
        double rate;
    } good[] = {{"7GB/s", 7e9}, {"500 MB/s", 5e8}, {"6.5GiB/s", 6.5 * 1073741824.0}, {"7G", 7e9}, {"100kB/s", 1e5}};
    for (size_t i = 0; i < COUNT_OF(good); i++)
        if (!parse_rate(good[i].text, &rate) || rate / good[i].rate < 0.999999 || rate / good[i].rate > 1.000001)
            fail_msg("%s", good[i].text);
    const char *bad[] = {"", "7", "fast", "-7GB/s", "0GB/s", "7GB/h", "7XB/s", "7GB/s ", "1e30TB/s", "nanGB/s", "GB/s"};
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        if (parse_rate(bad[i], &rate)) fail_msg("%s", bad[i]);
}

static void choices_are_told_in_words(void **state) {
    (void)state;
    char out[64];
    assert_string_equal(words_of("on", out, sizeof out), "on");
    assert_string_equal(words_of("on|off", out, sizeof out), "on or off");
    assert_string_equal(words_of("a|b|c", out, sizeof out), "a, b or c");
    assert_string_equal(words_of("auto|" WORD_OF(A, a) WORD_OF(B, b), out, sizeof out), "auto, a or b");
    char small[4];
    assert_string_equal(words_of("alpha|beta", small, sizeof small), "alp");
    const Word words[] = {{"auto", 3}, {"on", 1}, {"off", 0}};
    Err err = {0};
    int value = -1;
    assert_int_equal(word_value("--x", words, COUNT_OF(words), NULL, &value, &err), ERR_OK);
    assert_int_equal(value, 3);
    assert_int_equal(word_value("--x", words, COUNT_OF(words), "off", &value, &err), ERR_OK);
    assert_int_equal(value, 0);
    assert_int_equal(word_value("--x", words, COUNT_OF(words), "of", &value, &err), ERR_USAGE);
    assert_string_equal(err.text, "--x of: choose auto, on or off");
}

static void generator_is_the_published_one(void **state) {
    (void)state;
    /* xoshiro256++ with state {1, 2, 3, 4}, splitmix64 with state 0: the first outputs of the reference implementations */
    Xoshiro r = {{1, 2, 3, 4}}, again = r;
    const uint64_t want[] = {41943041, 58720359, 3588806011781223, 3591011842654386};
    for (size_t i = 0; i < COUNT_OF(want); i++) {
        assert_true(xoshiro_next(&r) == want[i]);
        assert_true(xoshiro_unit(&again) == (double)(want[i] >> 11) * 0x1.0p-53);
    }
    xoshiro_seed(&r, 0);
    assert_true(r.s[0] == UINT64_C(0xE220A8397B1DCDAF) && r.s[1] == UINT64_C(0x6E789E6AA1B965F4));
}

static void utf8_is_strict(void **state) {
    (void)state;
    assert_true(utf8_valid("a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80", 10));
    const char *bad[] = {"\x80", "\xC0\x80", "\xC3", "\xE2\x82", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xE0\x80\x80", "\xFF"};
    for (size_t i = 0; i < COUNT_OF(bad); i++) assert_false(utf8_valid(bad[i], strlen(bad[i])));
}

static void an_error_is_utf8_wherever_it_was_cut(void **state) {
    (void)state;
    Err err = {0};
    char words[2000];
    for (size_t i = 0; i + 2 < sizeof words; i += 2) memcpy(words + i, "\xC3\xA9", 3);
    for (int shift = 0; shift < 2; shift++) {
        err_set(&err, ERR_FORMAT, "%.*s%s", shift, "x", words);
        assert_true(utf8_valid(err.text, strlen(err.text)));
        err_prefix(&err, "%.*s", shift + 1, "yz");
        assert_true(utf8_valid(err.text, strlen(err.text)));
    }
    err_set(&err, ERR_FORMAT, "a tag \xDD\xC3\xA9\xF0\x9F");
    assert_string_equal(err.text, "a tag ?\xC3\xA9??");
}

static void map_finds_what_was_put(void **state) {
    (void)state;
    StrMap m = {0};
    Arena a = {0};
    char key[32];
    for (uint32_t i = 0; i < 5000; i++) {
        snprintf(key, sizeof key, "key %u", i);
        char *own = arena_strndup(&a, key, strlen(key));
        assert_true(strmap_put(&m, str_c(own), i, NULL));
    }
    bool existed;
    assert_false(strmap_put(&m, str_c("key 17"), 1, &existed));
    assert_true(existed);
    uint32_t v;
    for (uint32_t i = 0; i < 5000; i++) {
        snprintf(key, sizeof key, "key %u", i);
        assert_true(strmap_get(&m, str_c(key), &v) && v == i);
    }
    assert_false(strmap_get(&m, str_c("key 5000"), &v));
    strmap_free(&m);
    arena_free(&a);
}

static void failing_memory_is_seen(void **state) {
    (void)state;
    Buf b = {0};
    mem_fail_after(1);
    buf_puts(&b, "x");
    assert_true(b.failed);
    assert_null(mem_new(1, 1));
    mem_fail_after(0);
    buf_free(&b);
    buf_printf(&b, "%d-%s", 5, "five");
    assert_string_equal(b.ptr, "5-five");
    buf_free(&b);
}

int main(void) {
    const struct CMUnitTest base[] = {
        cmocka_unit_test(errors_keep_cause_behind_context), cmocka_unit_test(sizes_parse_and_print), cmocka_unit_test(rates_parse),
        cmocka_unit_test(choices_are_told_in_words), cmocka_unit_test(generator_is_the_published_one),
        cmocka_unit_test(utf8_is_strict), cmocka_unit_test(an_error_is_utf8_wherever_it_was_cut),
        cmocka_unit_test(map_finds_what_was_put), cmocka_unit_test(failing_memory_is_seen),
    };
    return RUN_TESTS(base);
}
