/* The tokenizer brings text into Unicode normal form C, looking only where it must: compared with utf8proc on whole strings, which
 * is the same library but used without our shortcuts and our sorting. */
#include "support/support.h"

#include "text/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

/* One token for every byte; their order does not matter here. */
static Tokenizer *bytes_only(TextSplit split) {
    static char alphabet[256][3];
    static Str tokens[256];
    static uint8_t kinds[256];
    unsigned next = 0x100;
    for (unsigned b = 0; b < 256; b++) {
        bool printable = (b > 0x20 && b < 0x7F) || (b > 0xA0 && b != 0xAD);
        utf8proc_ssize_t n = utf8proc_encode_char((utf8proc_int32_t)(printable ? b : next++), (utf8proc_uint8_t *)alphabet[b]);
        tokens[b] = str_make(alphabet[b], (size_t)n);
    }
    TextSpec spec = {.n_tokens = 256, .tokens = tokens, .kinds = kinds, .split = split, .nfc = true};
    return text_tokenizer_new(&spec, NULL);
}

static void put_code(Buf *b, int32_t code) {
    unsigned char utf8[4];
    buf_put(b, utf8, (size_t)utf8proc_encode_char(code, utf8));
}

static bool is_character(int32_t code) { return code < 0xD800 || code >= 0xE000; }

/* decode(encode(text)) must be NFC(text). */
static void assert_nfc(const Tokenizer *t, const Buf *text) {
    static TextIds ids;
    static Buf out;
    unsigned char *want = NULL;
    utf8proc_ssize_t n = utf8proc_map((const unsigned char *)text->ptr, (utf8proc_ssize_t)text->len, &want,
                                      UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    assert_true(n >= 0);
    ids.n = 0;
    buf_clear(&out);
    assert_int_equal(text_encode(t, text->ptr, text->len, 0, &ids, NULL), ERR_OK);
    for (size_t i = 0; i < ids.n; i++) text_decode(t, ids.ids[i], false, &out);
    if (out.len != (size_t)n || memcmp(out.ptr, want, out.len) != 0) fail_msg("NFC of %s\nis not   %s", text->ptr, out.ptr);
    free(want);
    if (text->len < 1 << 20) return; /* give large ones back */
    text_ids_free(&ids);
    buf_free(&out);
}

/* Every character between marks that would have to move past it if it were a mark itself, behind a letter that it could join,
 * and in its decomposed form. */
static void every_character(void **state) {
    (void)state;
    Tokenizer *t = bytes_only(TEXT_SPLIT_NONE);
    Buf text = {0};
    for (int32_t code = 1; code < 0x110000; code++) {
        if (is_character(code)) {
            int32_t parts[8];
            utf8proc_ssize_t n = utf8proc_decompose_char(code, parts, 8, UTF8PROC_DECOMPOSE | UTF8PROC_STABLE, NULL);
            put_code(&text, code);
            buf_puts(&text, "\na\xCD\x85"); /* U+0345: the highest class */
            put_code(&text, code);
            buf_puts(&text, "\xCC\xB8\n"); /* U+0338: the lowest */
            for (utf8proc_ssize_t i = 0; i < n; i++) put_code(&text, parts[i]);
            buf_putc(&text, '\n');
        }
        if (text.len < 4000 && code < 0x10FFFF) continue;
        assert_nfc(t, &text);
        buf_clear(&text);
    }
    buf_free(&text);
    text_tokenizer_free(t);
}

static uint32_t dice(uint32_t *state) {
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

static void random_texts(void **state) {
    (void)state;
    static const int32_t likely[] = {'a',    'e',    ' ',    '>',    0x338,  0x301,  0x300,  0x316,  0x323,   0x345,  0xE9,
                                     0x1EA1, 0x915,  0x93C,  0x1100, 0x1161, 0x11A8, 0xAC00, 0x3B1,  0x3099,  0x304B, 0x212B,
                                     0x2126, 0xF900, 0x2000, 0xFB1D, 0x0F73, 0x4E00, 0x0344, 0x09C7, 0x1D15E, 0x09BE, 0x1F600};
    Tokenizer *t = bytes_only(TEXT_SPLIT_QWEN35);
    uint32_t seed = 3;
    Buf text = {0};
    for (int round = 0; round < 20000; round++) {
        buf_clear(&text);
        buf_puts(&text, "");
        for (uint32_t n = dice(&seed) % 24; n > 0; n--) {
            int32_t code = likely[dice(&seed) % COUNT_OF(likely)];
            if (dice(&seed) % 8 == 0) code = (int32_t)(dice(&seed) % 0x110000);
            if (is_character(code)) put_code(&text, code);
        }
        assert_nfc(t, &text);
    }
    buf_free(&text);
    text_tokenizer_free(t);
}

/* A run of marks is put in order like any list: by sorting. The library alone would compare each with each. */
static void marks_without_end(void **state) {
    (void)state;
    Tokenizer *t = bytes_only(TEXT_SPLIT_QWEN35);
    Buf text = {0};
    for (int i = 0; i < 20; i++) buf_puts(&text, "e\xCC\x81\xCC\x96\xCD\x85\xCC\xB8"); /* short enough to compare */
    for (int i = 0; i < 300; i++) buf_puts(&text, "\xCC\x81\xCC\x96\xCD\x85\xCC\xB8\xCC\x82"); /* two of one class stay in order */
    assert_nfc(t, &text);
    for (int i = 0; i < 500000; i++) buf_puts(&text, "\xCC\x81\xCC\x96");
    TextIds ids = {0};
    assert_int_equal(text_encode(t, text.ptr, text.len, 0, &ids, NULL), ERR_OK);
    assert_int_equal(ids.n, text.len - 20); /* each e and its acute become one character of two bytes, one byte less */
    text_ids_free(&ids);
    buf_free(&text);
    text_tokenizer_free(t);
}

int main(void) {
    const struct CMUnitTest tokenizer_nfc[] = {
        cmocka_unit_test(every_character), cmocka_unit_test(random_texts), cmocka_unit_test(marks_without_end),
    };
    return RUN_TESTS(tokenizer_nfc);
}
