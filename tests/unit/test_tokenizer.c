/* The tokenizer with data made here: against a plain rewriting of its definition, word by word, on long and broken texts, and
 * the streaming detokeniser. Loading: test_tokenizer_load.c; normal form: test_tokenizer_nfc.c; the ids of real vocabularies:
 * tests/golden/test_tokens.c. */
#include "support/support.h"

#include "text/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- a small vocabulary: the 256 bytes, then what the merges make, then added tokens ---- */

static const char *const small_merges[] = {"h e",   "l l",   "he ll", "hell o", "\xC4\xA0 w", "o r",   "\xC4\xA0w or",
                                           "l d",   "a a",   "aa aa", "aaaa aaaa", "a b",      "b c",   "ab c",
                                           "a bc",  "\xC3\x83 \xC2\xA9", "\xC4\xA0 \xC4\xA0", "\xC4\xA0\xC4\xA0 \xC4\xA0\xC4\xA0",
                                           "t h",   "th e",  "\xC4\xA0 the", "\xC4\x8A \xC4\x8A", "e r", "i n"};
static const char *const small_added[] = {"<|end|>", "<think>", "<think", "</think>", "<|end|>x"};

/* The character that stands for a byte: itself where it is printable, else the next one from U+0100 on. */
static size_t alphabet(unsigned byte, char out[2]) {
    unsigned code = 0x100;
    for (unsigned b = 0; b <= byte; b++) {
        bool printable = (b > 0x20 && b < 0x7F) || (b > 0xA0 && b != 0xAD);
        if (b == byte && printable) code = byte;
        if (b < byte && !printable) code++;
    }
    out[0] = (char)(code < 0x80 ? code : 0xC0 | code >> 6);
    out[1] = (char)(0x80 | (code & 0x3F));
    return code < 0x80 ? 1 : 2;
}

typedef struct Small {
    TextSpec spec;
    Str tokens[512];
    uint8_t kinds[512];
    Str merges[64][2];
    Arena strings;
} Small;

static void small_token(Small *s, Str text, uint8_t kind) {
    s->tokens[s->spec.n_tokens] = text;
    s->kinds[s->spec.n_tokens++] = kind;
}

static void small_merge(Small *s, const char *merge) {
    const char *space = strchr(merge, ' ');
    Str *pair = s->merges[s->spec.n_merges++];
    pair[0] = str_make(merge, (size_t)(space - merge));
    pair[1] = str_c(space + 1);
    char both[64];
    int n = snprintf(both, sizeof both, "%.*s%s", (int)pair[0].len, merge, space + 1);
    for (uint32_t i = 0; i < s->spec.n_tokens; i++)
        if (str_eq_c(s->tokens[i], both)) return; /* a + bc makes what ab + c has made */
    small_token(s, str_make(arena_strndup(&s->strings, both, (size_t)n), (size_t)n), TEXT_TOKEN_NORMAL);
}

static Small *small_new(TextSplit split, bool nfc) {
    Small *s = calloc(1, sizeof *s);
    s->spec.split = split;
    s->spec.nfc = nfc;
    s->spec.tokens = s->tokens;
    s->spec.kinds = s->kinds;
    s->spec.merges = (const Str(*)[2])s->merges;
    for (unsigned b = 0; b < 256; b++) {
        char key[2];
        size_t n = alphabet(b, key);
        small_token(s, str_make(arena_strndup(&s->strings, key, n), n), TEXT_TOKEN_NORMAL);
    }
    for (size_t i = 0; i < COUNT_OF(small_merges); i++) small_merge(s, small_merges[i]);
    for (size_t i = 0; i < COUNT_OF(small_added); i++)
        small_token(s, str_c(small_added[i]), i == 1 || i == 3 ? TEXT_TOKEN_ADDED : TEXT_TOKEN_SPECIAL);
    return s;
}

static void small_free(Small *s) {
    arena_free(&s->strings);
    free(s);
}

static Tokenizer *small_tokenizer(TextSplit split, bool nfc) {
    Small *s = small_new(split, nfc);
    Err err = {0};
    Tokenizer *t = text_tokenizer_new(&s->spec, &err);
    if (!t) fail_msg("%s", err.text);
    small_free(s);
    return t;
}

/* The tokens of a text, written with '|' between them. */
static const char *pieces(const Tokenizer *t, const char *text, unsigned flags) {
    static Buf out;
    TextIds ids = {0};
    Err err = {0};
    if (text_encode(t, text, strlen(text), flags, &ids, &err) != ERR_OK) fail_msg("%s: %s", text, err.text);
    buf_clear(&out);
    buf_puts(&out, "");
    for (size_t i = 0; i < ids.n; i++) {
        if (i) buf_putc(&out, '|');
        assert_true(text_decode(t, ids.ids[i], false, &out));
    }
    text_ids_free(&ids);
    return out.ptr;
}

static void decode_all(const Tokenizer *t, const TextIds *ids, Buf *out) {
    buf_clear(out);
    buf_puts(out, "");
    for (size_t i = 0; i < ids->n; i++) assert_true(text_decode(t, ids->ids[i], false, out));
}

static uint32_t dice(uint32_t *state) {
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

/* ---- encoding ---- */

static void merges_follow_their_rank(void **state) {
    (void)state;
    Tokenizer *t = small_tokenizer(TEXT_SPLIT_QWEN35, true);
    assert_string_equal(pieces(t, "hello world", 0), "hello| wor|ld");
    assert_string_equal(pieces(t, "abc", 0), "abc"); /* a b (rank 11) before b c (12) */
    assert_string_equal(pieces(t, "bbc", 0), "b|bc");
    assert_string_equal(pieces(t, "aaa", 0), "aa|a"); /* leftmost first */
    assert_string_equal(pieces(t, "aaaaaaaaaaa", 0), "aaaaaaaa|aa|a");
    assert_string_equal(pieces(t, "the there in", 0), "t|he| |t|he|r|e| |in") /* h e comes before t h */;
    assert_string_equal(pieces(t, "", 0), "");
    text_tokenizer_free(t);
}

static void added_tokens_are_cut_out_first(void **state) {
    (void)state;
    Tokenizer *t = small_tokenizer(TEXT_SPLIT_QWEN35, true);
    assert_string_equal(pieces(t, "he<think>llo</think><|end|>", 0), "he|<think>|ll|o|</think>|<|end|>");
    assert_string_equal(pieces(t, "<think<think>", 0), "<think|<think>");
    assert_string_equal(pieces(t, "<|end|>xx<|end|>", 0), "<|end|>x|x|<|end|>"); /* the longest */
    assert_string_equal(pieces(t, "<|en<|end|>d|>", 0), "<|||e|n|<|end|>|d|||>");
    assert_string_equal(pieces(t, "<think>", TEXT_NO_SPECIAL), "<|th|in|k|>");
    /* NFC acts between added tokens only: '>' and U+0338 would fuse. */
    assert_string_equal(pieces(t, "<think>\xCC\xB8", 0), "<think>|\xCC|\xB8");
    int32_t id, end;
    assert_true(text_token_id(t, "<think>", &id) && !text_token_is_special(t, id));
    assert_true(text_token_id(t, "<|end|>", &end) && text_token_is_special(t, end));
    assert_false(text_token_id(t, "hello", &id));
    assert_false(text_token_id(t, "", &id));
    Buf out = {0};
    assert_true(text_decode(t, end, true, &out));
    assert_int_equal(out.len, 0);
    assert_false(text_decode(t, -1, false, &out));
    assert_false(text_decode(t, (int32_t)text_token_count(t), false, &out));
    buf_free(&out);
    text_tokenizer_free(t);
}

/* BPE as one would explain it: find the best pair of the whole word, leftmost first, join it, begin again. */
static size_t plain_bpe(const Small *s, const char *text, size_t len, Str *parts) {
    for (size_t i = 0; i < len; i++) parts[i] = str_make(text + i, 1);
    for (size_t n = len;;) {
        uint32_t best = UINT32_MAX;
        size_t at = 0;
        for (size_t i = 0; i + 1 < n; i++)
            for (uint32_t m = 0; m < s->spec.n_merges && m < best; m++)
                if (str_eq(parts[i], s->merges[m][0]) && str_eq(parts[i + 1], s->merges[m][1])) best = m, at = i;
        if (best == UINT32_MAX) return n;
        parts[at].len += parts[at + 1].len;
        n--;
        memmove(parts + at + 1, parts + at + 2, (n - at - 1) * sizeof *parts);
    }
}

/* A vocabulary of a, b, c, d and what random merges of its tokens make, in no sensible order: pairs overtake one another, and
 * merges come up that are better than those before them. */
static Small *random_vocabulary(uint32_t *seed) {
    Small *s = small_new(TEXT_SPLIT_NONE, false);
    uint32_t first = s->spec.n_tokens;
    s->spec.n_merges = 0;
    while (s->spec.n_merges < COUNT_OF(s->merges)) {
        char text[2][16];
        for (int side = 0; side < 2; side++) {
            uint32_t made = s->spec.n_tokens - first, pick = dice(seed) % (made + 8);
            if (pick < made && s->tokens[first + pick].len < 6)
                snprintf(text[side], sizeof text[side], "%s", s->tokens[first + pick].ptr);
            else snprintf(text[side], sizeof text[side], "%c", "abcd"[pick % 4]);
        }
        bool known = false;
        for (uint32_t i = 0; i < s->spec.n_merges; i++)
            known |= str_eq_c(s->merges[i][0], text[0]) && str_eq_c(s->merges[i][1], text[1]);
        char merge[40];
        int n = snprintf(merge, sizeof merge, "%s %s", text[0], text[1]);
        if (!known) small_merge(s, arena_strndup(&s->strings, merge, (size_t)n));
    }
    for (uint32_t i = s->spec.n_merges; i-- > 1;) { /* the vocabulary stays, the ranks are shuffled */
        uint32_t k = dice(seed) % (i + 1);
        Str pair[2] = {s->merges[i][0], s->merges[i][1]};
        memcpy(s->merges[i], s->merges[k], sizeof pair);
        memcpy(s->merges[k], pair, sizeof pair);
    }
    return s;
}

static void random_words_against_plain_bpe(void **state) {
    (void)state;
    uint32_t seed = 7;
    Str parts[200];
    TextIds ids = {0};
    Buf out = {0};
    for (int vocabulary = 0; vocabulary < 40; vocabulary++) {
        Small *s = random_vocabulary(&seed);
        Tokenizer *t = text_tokenizer_new(&s->spec, NULL);
        for (int round = 0; round < 60; round++) {
            char text[200];
            size_t len = 1 + dice(&seed) % (round % 2 ? 40 : 199);
            for (size_t i = 0; i < len; i++) text[i] = "abcd"[dice(&seed) % 4];
            size_t n = plain_bpe(s, text, len, parts);
            ids.n = 0;
            assert_int_equal(text_encode(t, text, len, 0, &ids, NULL), ERR_OK);
            assert_int_equal(ids.n, n);
            for (size_t i = 0; i < n; i++) {
                buf_clear(&out);
                text_decode(t, ids.ids[i], false, &out);
                if (!str_eq(str_make(out.ptr, out.len), parts[i])) fail_msg("%.*s, part %zu", (int)len, text, i);
            }
        }
        text_tokenizer_free(t);
        small_free(s);
    }
    buf_free(&out);
    text_ids_free(&ids);
}

/* ---- the split ---- */

/* A vocabulary in which all that stands side by side in this text can be joined, so that what stays apart was split. Returns the
 * words with '|' between them; NULL and the error when there is no such tokenizer. */
static const char *words(TextSplit split, const char *pattern, const char *text, Err *err) {
    enum { LONGEST = 24, PARTS = LONGEST * (LONGEST + 1) / 2 };
    static Str tokens[PARTS], merges[LONGEST * PARTS][2];
    static uint8_t kinds[PARTS];
    Arena strings = {0};
    TextSpec spec = {.tokens = tokens, .kinds = kinds, .merges = (const Str(*)[2])merges, .split = split, .split_pattern = pattern};
    StrMap seen = {0}, seen_merges = {0};
    size_t len = strlen(text), starts[LONGEST + 1] = {0};
    assert_true(len <= LONGEST);
    char *all = arena_alloc(&strings, 2 * LONGEST + 1, 1);
    for (size_t i = 0; i < len; i++) starts[i + 1] = starts[i] + alphabet((unsigned char)text[i], all + starts[i]);
#define PART(from, to) str_make(all + starts[from], starts[to] - starts[from])
    for (size_t n = 1; n <= len; n++)
        for (size_t from = 0; from + n <= len; from++) {
            if (strmap_put(&seen, PART(from, from + n), 0, NULL)) tokens[spec.n_tokens++] = PART(from, from + n);
            for (size_t middle = from + 1; middle < from + n; middle++) {
                Str left = PART(from, middle), right = PART(middle, from + n);
                char *both = arena_alloc(&strings, left.len + right.len + 1, 1);
                memcpy(both, left.ptr, left.len);
                both[left.len] = ' ';
                memcpy(both + left.len + 1, right.ptr, right.len);
                if (!strmap_put(&seen_merges, str_make(both, left.len + right.len + 1), 0, NULL)) continue;
                merges[spec.n_merges][0] = left;
                merges[spec.n_merges++][1] = right;
            }
        }
    Tokenizer *t = text_tokenizer_new(&spec, err);
    const char *result = t ? pieces(t, text, 0) : NULL;
    text_tokenizer_free(t);
    strmap_free(&seen);
    strmap_free(&seen_merges);
    arena_free(&strings);
    return result;
}

static void assert_words(TextSplit split, const char *pattern, const char *text, const char *want) {
    Err err = {0};
    const char *got = words(split, pattern, text, &err);
    if (!got) fail_msg("%s: %s", text, err.text);
    assert_string_equal(got, want);
}

static void words_are_split_by_the_pattern(void **state) {
    (void)state;
    TextSplit q = TEXT_SPLIT_QWEN35;
    assert_words(q, NULL, "I'M you'll don't", "I|'M| you|'ll| don|'t");
    assert_words(q, NULL, "a1234 5", "a|1|2|3|4| |5");
    assert_words(q, NULL, "x  y   \n\n  z  ", "x| | y|   \n\n| | z|  ");
    assert_words(q, NULL, "(self) /b.c!?\n\n", "(self|)| /|b|.c|!?\n\n");
    assert_words(q, NULL, "e\xCC\x81t\xC3\xA9", "e\xCC\x81t\xC3\xA9");
    assert_words(q, NULL, "a\xE3\x80\x80\xE3\x80\x80z", "a|\xE3\x80\x80|\xE3\x80\x80z"); /* U+3000 is white space */
    assert_words(q, NULL, "!\xE1\xA0\x8E!", "!\xE1\xA0\x8E!"); /* U+180E is not, though PCRE2's \s has it */
    assert_words(q, NULL, "!\xC2\x85!", "!|\xC2\x85|!");        /* U+0085 is */
    assert_words(q, NULL, "!\x1C!", "!\x1C!");                   /* U+001C is not */
    assert_words(TEXT_SPLIT_QWEN2, NULL, "e\xCC\x81t", "e|\xCC\x81t"); /* a mark is no letter here */
    assert_words(TEXT_SPLIT_NONE, NULL, "a b\nc", "a b\nc");
    assert_words(q, "b*|\\S{4}", "aabba", "a|a|bb|a"); /* a pattern of one's own; empty matches divide, gaps are words */
    assert_words(q, "[\\S\\n]+|\\v", "ab \n\x0B\x0C", "ab| |\n|\x0B|\x0C");
}

static void foreign_patterns_are_refused_by_name(void **state) {
    (void)state;
    static const char *const bad[][2] = {
        {"\\w+", "\\w"},        {"a\\b", "\\b"},      {"[a[b]]", "["},       {"[a&&b]", "&&"},    {"^a", "^"},
        {"a$", "$"},            {"(?<=a)b", "(?<"},   {"(*UTF)a", "(*"},     {"(?s)a", "(?s"},    {"a{2}+", "}+"},
        {"(a", "compile"},      {"", "empty"},        {"\\x41", "\\x"},      {"(a)\\1", "\\1"},   {"a\\", "\\"},
        {"\\p{Nonsense}", "compile"}, {"\xFF", "UTF-8"}, {"a{,3}", "{,"},    {"[]a]", "[]"},
    };
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        Err err = {0};
        const char *got = words(TEXT_SPLIT_NONE, bad[i][0], "a", &err);
        if (got || !strstr(err.text, bad[i][1])) fail_msg("%s: %s", bad[i][0], err.text);
    }
    /* A pattern that never ends on some texts is stopped. */
    Small *small = small_new(TEXT_SPLIT_NONE, false);
    small->spec.split_pattern = "(?:a|a|aa)+[cd]";
    Tokenizer *t = text_tokenizer_new(&small->spec, NULL);
    TextIds ids = {0};
    Err err = {0};
    assert_int_equal(text_encode(t, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab", 50, 0, &ids, &err), ERR_UNSUPPORTED);
    assert_non_null(strstr(err.text, "split pattern"));
    text_tokenizer_free(t);
    /* One that needs a step of memory for every few bytes goes on where machine code has none left. */
    small->spec.split_pattern = "(?:aa|b)+";
    t = text_tokenizer_new(&small->spec, NULL);
    enum { LONG = 200000 };
    char *text = malloc(LONG);
    memset(text, 'a', LONG);
    if (text_encode(t, text, LONG, 0, &ids, &err) != ERR_OK) fail_msg("%s", err.text);
    assert_int_equal(ids.n, LONG / 8);
    free(text);
    text_ids_free(&ids);
    text_tokenizer_free(t);
    small_free(small);
}

/* ---- broken and long texts ---- */

static void broken_utf8_is_refused_with_its_place(void **state) {
    (void)state;
    Tokenizer *t = small_tokenizer(TEXT_SPLIT_QWEN35, true);
    static const struct { const char *text; const char *place; } bad[] = {
        {"ab\xFF", "byte 2"}, {"\x80", "byte 0"}, {"abcdefgh\xC3", "byte 8"}, {"caf\xC3\xA9\xED\xA0\x80", "byte 5"},
        {"\xF4\x90\x80\x80", "byte 0"}, {"a\xC0\x80", "byte 1"},
    };
    TextIds ids = {0};
    assert_int_equal(text_encode(t, "he", 2, 0, &ids, NULL), ERR_OK);
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        Err err = {0};
        assert_int_equal(text_encode(t, bad[i].text, strlen(bad[i].text), 0, &ids, &err), ERR_FORMAT);
        if (!strstr(err.text, bad[i].place)) fail_msg("%s", err.text);
        assert_int_equal(ids.n, 1);
    }
    text_ids_free(&ids);
    text_tokenizer_free(t);
}

/* Long texts of one kind: quadratic work anywhere would never end here. */
static void long_texts_end(void **state) {
    (void)state;
    static const char *const units[] = {"a", " ", "7", "\n", "!", "\xE7\x8C\xAB", "\xCC\x81\xCC\x96", "<|", "abcab", " a", "\xE0\xA4\x95",
                                        "\xE1\x84\x80\xE1\x85\xA1"};
    Tokenizer *t = small_tokenizer(TEXT_SPLIT_QWEN35, true);
    enum { BYTES = 2000000 };
    char *text = malloc(BYTES + 8);
    for (size_t i = 0; i < COUNT_OF(units); i++) {
        size_t unit = strlen(units[i]), len = 0;
        for (; len < BYTES; len += unit) memcpy(text + len, units[i], unit);
        TextIds ids = {0};
        Err err = {0};
        if (text_encode(t, text, len, 0, &ids, &err) != ERR_OK) fail_msg("%s: %s", units[i], err.text);
        Buf out = {0};
        decode_all(t, &ids, &out);
        if (i != 6 && i != 11) { /* two that NFC changes */
            assert_int_equal(out.len, len);
            assert_memory_equal(out.ptr, text, len);
        }
        if (i == 0) assert_int_equal(ids.n, BYTES / 8);
        buf_free(&out);
        text_ids_free(&ids);
    }
    free(text);
    text_tokenizer_free(t);
}

/* ---- the stream ---- */

/* What Python's bytes.decode('utf-8', 'replace') gives. */
static const char *const broken[][2] = {
    {"abc", "abc"},
    {"\xE2\x82", "?"},
    {"\xE2\x82" "A", "?A"},
    {"\xF0\x9F\x98", "?"},
    {"\xF0\x9F\x98\x80", "\xF0\x9F\x98\x80"},
    {"\x80\x80", "??"},
    {"\xC0\xAF", "??"},
    {"\xE0\x80\xAF", "???"},
    {"\xED\xA0\x80", "???"},
    {"\xF0\x80\x80\x41", "???A"},
    {"\xF4\x91\x92\x93\xFF\x41\x80\xBF\x42", "?????A??B"},
    {"\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41", "????A"},
    {"\xC3\xC3\xA9", "?\xC3\xA9"},
    {"\xF0\xF0\x9F\x98\x80\xF0", "?\xF0\x9F\x98\x80?"},
};

static void streams_hold_back_and_replace(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT_OF(broken); i++) {
        const char *bytes = broken[i][0];
        size_t len = strlen(bytes);
        Buf want = {0};
        for (const char *p = broken[i][1]; *p; p++)
            if (*p == '?') buf_puts(&want, "\xEF\xBF\xBD");
            else buf_putc(&want, *p);
        for (unsigned cuts = 0; cuts < 1u << (len - 1); cuts++) { /* every way to cut it into pieces */
            TextStream s = {0};
            Buf out = {0};
            for (size_t from = 0, to = 1; to <= len; to++) {
                if (to < len && !(cuts >> (to - 1) & 1)) continue;
                text_stream_put(&s, bytes + from, to - from, &out);
                assert_true(s.n_held <= 3 && utf8_valid(out.ptr, out.len));
                from = to;
            }
            text_stream_end(&s, &out);
            if (out.len != want.len || memcmp(out.ptr, want.ptr, want.len) != 0) fail_msg("vector %zu, cuts %x", i, cuts);
            buf_free(&out);
        }
        buf_free(&want);
    }
    uint32_t seed = 5;
    for (int round = 0; round < 5000; round++) { /* random bytes: one by one equals at once */
        char bytes[64];
        size_t len = dice(&seed) % 64;
        for (size_t i = 0; i < len; i++) bytes[i] = (char)("\x00\x80\xC3\xE2\x82\xAC\xF0\x9F\x98\x41\xED\xF4"[dice(&seed) % 12]);
        TextStream s = {0}, whole = {0};
        Buf out = {0}, once = {0};
        for (size_t i = 0; i < len; i++) text_stream_put(&s, bytes + i, 1, &out);
        text_stream_end(&s, &out);
        text_stream_put(&whole, bytes, len, &once);
        text_stream_end(&whole, &once);
        assert_int_equal(out.len, once.len);
        if (out.len) assert_memory_equal(out.ptr, once.ptr, out.len);
        assert_true(utf8_valid(out.ptr, out.len));
        buf_free(&out);
        buf_free(&once);
    }
}

int main(void) {
    const struct CMUnitTest tokenizer[] = {
        cmocka_unit_test(merges_follow_their_rank), cmocka_unit_test(added_tokens_are_cut_out_first),
        cmocka_unit_test(random_words_against_plain_bpe), cmocka_unit_test(words_are_split_by_the_pattern),
        cmocka_unit_test(foreign_patterns_are_refused_by_name),
        cmocka_unit_test(broken_utf8_is_refused_with_its_place), cmocka_unit_test(long_texts_end),
        cmocka_unit_test(streams_hold_back_and_replace),
    };
    return RUN_TESTS(tokenizer);
}
