/* What a tokenizer may be made of and what not: broken arrays, tokenizer.json files with steps that are not ours, and memory
 * that runs out at every single allocation. */
#include "support/support.h"

#include "text/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- arrays ---- */

static void expect_refusal(const TextSpec *spec, const char *why) {
    Err err = {0};
    Tokenizer *t = text_tokenizer_new(spec, &err);
    if (t) fail_msg("accepted, although: %s", why);
    if (!err.code || !strstr(err.text, why)) fail_msg("expected \"%s\" in: %s", why, err.text);
}

static void broken_arrays_are_refused(void **state) {
    (void)state;
    Str tokens[] = {{"a", 1}, {"b", 1}, {"ab", 2}, {"c", 1}, {"<x>", 3}};
    uint8_t kinds[] = {TEXT_TOKEN_NORMAL, TEXT_TOKEN_NORMAL, TEXT_TOKEN_NORMAL, TEXT_TOKEN_NORMAL, TEXT_TOKEN_SPECIAL};
    Str merges[][2] = {{{"a", 1}, {"b", 1}}, {{"a", 1}, {"b", 1}}};
    TextSpec spec = {.n_tokens = 5, .tokens = tokens, .kinds = kinds, .n_merges = 1, .merges = (const Str(*)[2])merges};
    Tokenizer *t = text_tokenizer_new(&spec, NULL);
    assert_non_null(t);
    text_tokenizer_free(t);
    text_tokenizer_free(NULL);

    spec.n_merges = 2;
    expect_refusal(&spec, "merges 0 and 1 are the same");
    spec.n_merges = 1;
    merges[0][1] = str_c("z");
    expect_refusal(&spec, "names \"z\"");
    merges[0][1] = str_c("c");
    expect_refusal(&spec, "makes \"ac\"");
    merges[0][1] = str_make("", 0);
    expect_refusal(&spec, "merge 0 names \"\"");
    merges[0][1] = str_c("\xE4\xB8\x80");
    expect_refusal(&spec, "merge 0 names");
    merges[0][1] = str_c("b");
    tokens[3] = str_c("ab");
    expect_refusal(&spec, "tokens 2 and 3 are the same");
    tokens[3] = str_c("\xC3");
    expect_refusal(&spec, "token 3 is not valid UTF-8");
    kinds[3] = TEXT_TOKEN_SPECIAL;
    tokens[3] = str_make("", 0);
    expect_refusal(&spec, "added token 3 is empty");
    tokens[3] = str_c("<x>");
    expect_refusal(&spec, "added tokens 3 and 4 have the same text");
    static char longer[1100];
    memset(longer, 'x', sizeof longer);
    tokens[3] = str_make(longer, sizeof longer);
    expect_refusal(&spec, "1100 bytes");
    kinds[3] = 9;
    expect_refusal(&spec, "unknown kind 9");
    kinds[3] = TEXT_TOKEN_UNUSED; /* its text does not count */
    t = text_tokenizer_new(&spec, NULL);
    assert_non_null(t);
    Buf out = {0};
    assert_false(text_decode(t, 3, false, &out));
    text_tokenizer_free(t);
    spec.split_pattern = "(";
    expect_refusal(&spec, "split pattern");
    spec.split_pattern = NULL;
    spec.n_tokens = 0;
    expect_refusal(&spec, "no tokens");
    spec.n_tokens = UINT32_MAX;
    expect_refusal(&spec, "more than ids can count");
    spec = (TextSpec){.n_tokens = 2, .tokens = tokens, .kinds = kinds, .n_merges = 3};
    expect_refusal(&spec, "no merges");
}

/* A normal token with characters outside the byte alphabet is never made, but decodes to itself. */
static void tokens_outside_the_alphabet_decode(void **state) {
    (void)state;
    Str tokens[] = {{"a", 1}, {"\xE2\x96\x81x", 4}, {"\xC4\xA0", 2}};
    uint8_t kinds[] = {0, 0, 0};
    TextSpec spec = {.n_tokens = 3, .tokens = tokens, .kinds = kinds, .split = TEXT_SPLIT_QWEN2};
    Tokenizer *t = text_tokenizer_new(&spec, NULL);
    Buf out = {0};
    for (int32_t id = 0; id < 3; id++) assert_true(text_decode(t, id, false, &out));
    assert_string_equal(out.ptr, "a\xE2\x96\x81x ");
    TextIds ids = {0};
    Err err = {0};
    assert_int_equal(text_encode(t, "a a", 3, 0, &ids, &err), ERR_OK);
    assert_int_equal(text_encode(t, "a x", 3, 0, &ids, &err), ERR_RANGE);
    assert_non_null(strstr(err.text, "0x78 'x', found near byte 2"));
    assert_int_equal(ids.n, 3); /* all or nothing */
    text_ids_free(&ids);
    buf_free(&out);
    text_tokenizer_free(t);
}

/* ---- tokenizer.json ---- */

#define BYTE_LEVEL "{'type':'ByteLevel','add_prefix_space':false,'use_regex':false}"
#define VOCAB "'vocab':{'a':0,'b':1,'ab':2,'\\u0120':3,'\\u0120a':5}"
#define MERGES "'merges':[['a','b'],['\\u0120','a']]"
#define MODEL "'model':{'type':'BPE'," VOCAB "," MERGES "}"
#define PRE "'pre_tokenizer':" BYTE_LEVEL

/* JSON is written with single quotes in this file. */
static char *quoted(const char *json) {
    size_t len = strlen(json);
    char *copy = malloc(len + 1); /* not from the heap that is made to fail */
    for (size_t i = 0; i <= len; i++) copy[i] = json[i] == '\'' ? '"' : json[i];
    return copy;
}

static Tokenizer *from_json(const char *json, const char *config, Err *err) {
    char *a = quoted(json), *b = config ? quoted(config) : NULL;
    Tokenizer *t = text_tokenizer_from_json(str_c(a), b ? str_c(b) : str_make(NULL, 0), err);
    free(a);
    free(b);
    return t;
}

static void assert_encodes(const char *json, const char *config, const char *text, size_t n, const int32_t *want) {
    Err err = {0};
    TextIds ids = {0};
    Tokenizer *t = from_json(json, config, &err);
    if (!t) fail_msg("%s: %s", json, err.text);
    if (text_encode(t, text, strlen(text), 0, &ids, &err) != ERR_OK) fail_msg("%s: %s", json, err.text);
    assert_int_equal(ids.n, n);
    assert_memory_equal(ids.ids, want, n * sizeof *want);
    text_ids_free(&ids);
    text_tokenizer_free(t);
}

static void forms_of_tokenizer_json(void **state) {
    (void)state;
    const int32_t want[] = {2, 5, 1, 2};
    assert_encodes("{" PRE "," MODEL "}", NULL, "ab abab", 4, (int32_t[]){2, 3, 2, 2}); /* a b comes before Gh a */
    assert_encodes("{" PRE ",'model':{" VOCAB ",'merges':['\\u0120 a','a b']}}", NULL, "ab abab", 4, want);
    assert_encodes("{'normalizer':{'type':'Sequence','normalizers':[{'type':'NFC'}]},'pre_tokenizer':{'type':'Sequence',"
                   "'pretokenizers':[{'type':'Split','pattern':{'Regex':'b'},'behavior':'Isolated','invert':false},"
                   BYTE_LEVEL "]}," MODEL "}", NULL, "ab", 2, (int32_t[]){0, 1});
    /* Merges before the vocabulary, escapes, a pair of surrogates. */
    assert_encodes("{'model':{'merges':['\\u0061 b'] , 'vocab' : { '\\\\\":4 , '\\\"':3,'a' : 0,'b':1 ,'ab':2,"
                   "'\\ud83d\\uDE00':5,'/':6}}," PRE "}", NULL, "ab\\\"/", 4, (int32_t[]){2, 4, 3, 6});
    /* ByteLevel alone splits by GPT-2's pattern unless told otherwise. */
    assert_encodes("{'pre_tokenizer':{'type':'ByteLevel','add_prefix_space':false}," MODEL "}", NULL, "ab  a", 3,
                   (int32_t[]){2, 3, 5});
    /* Added tokens of both files; the configuration knows more, and its word on "special" counts. */
    const char *added = "{" PRE "," MODEL ",'added_tokens':[{'id':6,'content':'<s>','special':false},{'id':2,'content':'ab'}]}";
    const char *config = "{'model_max_length':1000000000000000019884624838656,"
                         "'added_tokens_decoder':{'6':{'content':'<s>','special':true},'9':{'content':'<t>'}}}";
    assert_encodes(added, config, "<t>a<s>ab", 4, (int32_t[]){9, 0, 6, 2});
    Tokenizer *t = from_json(added, config, NULL);
    assert_int_equal(text_token_count(t), 10);
    assert_true(text_token_is_special(t, 6));
    assert_false(text_token_is_special(t, 9));
    Buf out = {0};
    assert_false(text_decode(t, 7, false, &out));
    text_tokenizer_free(t);
}

static void foreign_steps_are_refused_by_name(void **state) {
    (void)state;
    static const char *const bad[][2] = {
        {"", "JSON"},
        {"[]", "not a JSON object"},
        {"{'model': {'vocab': 0, 'vocab': 1}}", "duplicate"},
        {"{" PRE ",'model':{'vocab':{'a':0,'a':1}}}", "tokens 0 and 1 are the same"},
        {"{" PRE ",'model':{'vocab':{'a':0,'a':0}}}", "two tokens"},
        {"{" PRE ",'model':{'vocab':{'\\ud800x':0}}}", "byte 1:"},
        {"{" PRE ",'model':{'vocab':{'\\q':0}}}", "byte 1:"},
        {"{" PRE ",'model':{'vocab':{'a':1.5}}}", "has no id"},
        {"{" PRE ",'model':{'vocab':{'a':1 'b':2}}}", "byte 7:"},
        {"{" PRE ",'model':{'vocab':{'a':1,}}}", "expected a token"},
        {"{" PRE ",'model':{'vocab':[]}}", "no model.vocab"},
        {"{" PRE ",'model':{'merges':{}," VOCAB "}}", "model.merges is not an array"},
        {"{" PRE "," MODEL ",'added_tokens':{}}", "added_tokens is not an array"},
        {"{" PRE "," MODEL ",?}", "near byte 193"},
        {"{" PRE "}", "model.vocab"},
        {"{" PRE ",'model':{'type':'Unigram'}}", "Unigram"},
        {"{" PRE ",'model':{'dropout':0.1," VOCAB "}}", "dropout"},
        {"{" PRE ",'model':{'byte_fallback':true," VOCAB "}}", "byte_fallback"},
        {"{" PRE ",'model':{'ignore_merges':true," VOCAB "}}", "ignore_merges"},
        {"{" PRE ",'model':{'end_of_word_suffix':'</w>'," VOCAB "}}", "end_of_word_suffix"},
        {"{" PRE ",'model':{'continuing_subword_prefix':'##'," VOCAB "}}", "continuing_subword_prefix"},
        {"{" PRE ",'model':{'unk_token':'a'," VOCAB "}}", "unk_token"},
        {"{" MODEL "}", "without ByteLevel"},
        {"{" PRE ",'normalizer':{'type':'NFKC'}," MODEL "}", "NFKC"},
        {"{" PRE ",'normalizer':{'type':'Sequence','normalizers':[{'type':'Lowercase'}]}," MODEL "}", "Lowercase"},
        {"{'pre_tokenizer':{'type':'Metaspace'}," MODEL "}", "Metaspace"},
        {"{'pre_tokenizer':{'type':'ByteLevel','add_prefix_space':true}," MODEL "}", "add_prefix_space"},
        {"{'pre_tokenizer':{'type':'Split','pattern':{'String':'x'}}," MODEL "}", "no Regex"},
        {"{'pre_tokenizer':{'type':'Split','pattern':{'Regex':'x'},'behavior':'Removed'}," MODEL "}", "Removed"},
        {"{'pre_tokenizer':{'type':'Split','pattern':{'Regex':'x'},'behavior':'Isolated','invert':true}," MODEL "}", "invert"},
        {"{'pre_tokenizer':{'type':'Sequence','pretokenizers':[{'type':'Split','pattern':{'Regex':'x'},'behavior':'Isolated'},"
         "{'type':'ByteLevel'}]}," MODEL "}", "more than one split"},
        {"{" PRE ",'post_processor':{'type':'TemplateProcessing'}," MODEL "}", "TemplateProcessing"},
        {"{" PRE ",'decoder':{'type':'Fuse'}," MODEL "}", "Fuse"},
        {"{" PRE ",'model':{'vocab':{'a':'0'}}}", "has no id"},
        {"{" PRE ",'model':{'vocab':{'a':-1}}}", "the id -1"},
        {"{" PRE ",'model':{'vocab':{'a':2147483647}}}", "the id 2147483647"},
        {"{" PRE ",'model':{'vocab':{'a':0,'b':0}}}", "two tokens"},
        {"{" PRE ",'model':{'vocab':{}}}", "no tokens"},
        {"{" PRE ",'model':{" VOCAB ",'merges':['ab']}}", "model.merges is damaged at its byte 5:"},
        {"{" PRE ",'model':{" VOCAB ",'merges':['a b a']}}", "model.merges is damaged"},
        {"{" PRE ",'model':{" VOCAB ",'merges':[['a',1]]}}", "model.merges is damaged"},
        {"{" PRE ",'model':{" VOCAB ",'merges':[['a','q']]}}", "\"q\""},
        {"{" PRE "," MODEL ",'added_tokens':[{'id':7,'content':'x','lstrip':true}]}", "lstrip"},
        {"{" PRE "," MODEL ",'added_tokens':[{'id':7,'content':'x','rstrip':true}]}", "rstrip"},
        {"{" PRE "," MODEL ",'added_tokens':[{'id':7,'content':'x','single_word':true}]}", "single_word"},
        {"{" PRE ",'normalizer':{'type':'NFC'}," MODEL ",'added_tokens':[{'id':7,'content':'x','normalized':true}]}", "normalized"},
        {"{" PRE "," MODEL ",'added_tokens':[{'id':7,'content':'x','normalized':true},{'id':8,'content':'y'}]}", "normalized"},
        {"{" PRE "," MODEL ",'added_tokens':[{'id':7,'content':'ab'}]}", "but 2 in the vocabulary"},
        {"{" PRE "," MODEL ",'added_tokens':[{'id':2,'content':'x'}]}", "two tokens"},
        {"{" PRE "," MODEL ",'added_tokens':[{'id':7,'content':''}]}", "empty"},
        {"{" PRE "," MODEL ",'added_tokens':[{'content':'x'}]}", "the id -1"},
        {"{" PRE "," MODEL ",'added_tokens':[{'id':7}]}", "no content"},
        {"{" PRE "," MODEL ",'added_tokens':[{'id':7,'content':'x'},{'id':8,'content':'x'}]}", "same text"},
    };
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        Err err = {0};
        Tokenizer *t = from_json(bad[i][0], NULL, &err);
        if (t || !err.code || !strstr(err.text, bad[i][1])) fail_msg("%s\n  expected \"%s\", got: %s", bad[i][0], bad[i][1], err.text);
    }
    static const char *const configs[][2] = {
        {"{", "tokenizer_config.json"},
        {"{'added_tokens_decoder':[]}", "not an object"},
        {"{'added_tokens_decoder':{'x':{'content':'y'}}}", "the id -1"},
        {"{'added_tokens_decoder':{'99999999999999999999':{'content':'y'}}}", "the id -1"},
        {"{'added_tokens_decoder':{'1':{'content':'y'}}}", "two tokens"},
        {"{'added_tokens_decoder':{'8':{'content':'y','lstrip':true}}}", "lstrip"},
    };
    for (size_t i = 0; i < COUNT_OF(configs); i++) {
        Err err = {0};
        Tokenizer *t = from_json("{" PRE "," MODEL "}", configs[i][0], &err);
        if (t || !strstr(err.text, configs[i][1])) fail_msg("%s\n  expected \"%s\", got: %s", configs[i][0], configs[i][1], err.text);
    }
}

/* Every prefix of a good file, and the file with each byte changed: an error or a tokenizer, never a crash. */
static void damaged_files_do_no_harm(void **state) {
    (void)state;
    char *good = quoted("{'normalizer':{'type':'NFC'}," PRE "," MODEL ",'added_tokens':[{'id':6,'content':'<s>','special':true}]}");
    size_t len = strlen(good);
    int accepted = 0;
    for (size_t i = 0; i <= len; i++) {
        Err err = {0};
        char *part = malloc(i + !i); /* on its own, so that a read behind its end is seen */
        memcpy(part, good, i);
        Tokenizer *t = text_tokenizer_from_json(str_make(part, i), str_make(NULL, 0), &err);
        assert_int_equal(t != NULL, i == len);
        text_tokenizer_free(t);
        free(part);
    }
    for (size_t i = 0; i < len; i++) {
        char old = good[i];
        for (int c = 1; c < 256; c += 7) {
            Err err = {0};
            good[i] = (char)c;
            Tokenizer *t = text_tokenizer_from_json(str_make(good, len), str_make(NULL, 0), &err);
            if (!t) assert_true(err.code != ERR_OK && err.text[0]);
            else {
                TextIds ids = {0};
                text_encode(t, "ab <s>\xC3\xA9", 8, 0, &ids, &err);
                text_ids_free(&ids);
                accepted++;
            }
            text_tokenizer_free(t);
        }
        good[i] = old;
    }
    assert_true(accepted > 0);
    free(good);
}

/* ---- memory ---- */

/* Loading, encoding and decoding with the n-th allocation failing, for every n: an error each time, nothing lost. */
static void memory_may_run_out_anywhere(void **state) {
    (void)state;
    const char *json = "{'normalizer':{'type':'NFC'}," PRE "," MODEL ",'added_tokens':[{'id':6,'content':'<s>'}]}";
    const char *gpt2 = "{'pre_tokenizer':{'type':'ByteLevel'},'model':{" VOCAB ",'merges':[['a','b']]}}";
    static const char rare[] = {'<', 's', '>', 'e', '\xCC', '\x81'};
    char text[400];
    memset(text, 'a', sizeof text);
    memcpy(text + 100, rare, sizeof rare);
    for (int which = 0; which < 2; which++) {
        bool done = false;
        for (uint64_t n = 1; !done; n++) {
            Err err = {0};
            TextIds ids = {0};
            mem_fail_after(n);
            Tokenizer *t = from_json(which ? gpt2 : json, NULL, &err);
            ErrCode code = t ? text_encode(t, text, 100, 0, &ids, &err) : err.code;
            if (code == ERR_OK && which == 0) { /* the second half has bytes that the vocabulary lacks, after an allocation or two */
                ErrCode second = text_encode(t, text, sizeof text, 0, &ids, &err);
                assert_true(second == ERR_RANGE || second == ERR_MEMORY);
                code = second == ERR_RANGE ? ERR_OK : second;
            }
            mem_fail_after(0);
            if (code != ERR_OK) assert_int_equal(err.code, ERR_MEMORY);
            if (code != ERR_OK && t && which) assert_int_equal(ids.n, 0);
            done = code == ERR_OK;
            text_ids_free(&ids);
            text_tokenizer_free(t);
            assert_true(n < 500);
        }
    }
}

int main(void) {
    const struct CMUnitTest tokenizer_load[] = {
        cmocka_unit_test(broken_arrays_are_refused), cmocka_unit_test(tokens_outside_the_alphabet_decode),
        cmocka_unit_test(forms_of_tokenizer_json), cmocka_unit_test(foreign_steps_are_refused_by_name),
        cmocka_unit_test(damaged_files_do_no_harm), cmocka_unit_test(memory_may_run_out_anywhere),
    };
    return RUN_TESTS(tokenizer_load);
}
