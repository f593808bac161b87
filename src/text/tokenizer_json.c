/* tokenizer.json of HF tokenizers, and the added tokens that stand only in tokenizer_config.json. The file is a small program
 * (normalizer, pre-tokenizer, model, ...); every step that is not one of ours is refused by its name, because a step left out
 * would change the ids in silence. Truncation and padding are left aside: they are about batches, not about text. */
#include "text/tokenizer_parts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { ID_MAX = (1 << 24) - 1 }; /* no vocabulary comes near; a wild id must not become a wild allocation */

typedef struct Reader {
    TextSpec spec;
    Str *tokens;      /* [n] borrowed from the JSON trees */
    uint8_t *kinds;   /* [n] */
    uint8_t *normalized; /* [n] 1: an added token that is matched in normalised text */
    Str (*merges)[2]; /* [n_merges] */
    bool byte_level;  /* the pre-tokenizer ends in the byte alphabet */
    Err *err;
} Reader;

static bool absent(const json_t *v) { return !v || json_is_null(v); }

static bool is_true(const json_t *object, const char *key) { return json_is_true(json_object_get(object, key)); }

/* The "type" of a step, "" when it has none. */
static const char *type_of(const json_t *step) {
    const char *type = json_string_value(json_object_get(step, "type"));
    return type ? type : "";
}

static Str str_of(const json_t *string) { return str_make(json_string_value(string), json_string_length(string)); }

static ErrCode refuse(Reader *r, const char *what, const char *name) {
    return err_set(r->err, ERR_UNSUPPORTED, "%s \"%.100s\" is not supported", what, name);
}

/* ---- normalizer, pre-tokenizer, post-processor, decoder ---- */

static ErrCode read_normalizer(Reader *r, const json_t *step, int depth) {
    if (absent(step)) return ERR_OK;
    const char *type = type_of(step);
    if (strcmp(type, "NFC") == 0) {
        r->spec.nfc = true;
        return ERR_OK;
    }
    if (strcmp(type, "Sequence") != 0 || depth > 8) return refuse(r, "the normalizer", type);
    size_t i;
    json_t *inner;
    json_array_foreach(json_object_get(step, "normalizers"), i, inner) {
        ErrCode code = read_normalizer(r, inner, depth + 1);
        if (code != ERR_OK) return code;
    }
    return ERR_OK;
}

#define GPT2_PATTERN "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

static ErrCode set_pattern(Reader *r, const char *pattern) {
    if (r->spec.split_pattern)
        return err_set(r->err, ERR_UNSUPPORTED, "a pre_tokenizer with more than one split pattern is not supported");
    if (r->byte_level)
        return err_set(r->err, ERR_UNSUPPORTED, "a pre_tokenizer that splits after ByteLevel is not supported");
    r->spec.split_pattern = pattern;
    return ERR_OK;
}

static ErrCode read_split(Reader *r, const json_t *step) {
    const json_t *pattern = json_object_get(step, "pattern");
    const char *regex = json_string_value(json_object_get(pattern, "Regex"));
    const char *behavior = json_string_value(json_object_get(step, "behavior"));
    if (!regex) return err_set(r->err, ERR_UNSUPPORTED, "a Split whose pattern is no Regex is not supported");
    if (strlen(regex) != json_string_length(json_object_get(pattern, "Regex")))
        return err_set(r->err, ERR_UNSUPPORTED, "a split pattern with a NUL character is not supported");
    if (!behavior || strcmp(behavior, "Isolated") != 0) return refuse(r, "a Split with behavior", behavior ? behavior : "");
    if (is_true(step, "invert")) return refuse(r, "a Split with", "invert: true");
    return set_pattern(r, regex);
}

static ErrCode read_pre_tokenizer(Reader *r, const json_t *step, int depth) {
    if (absent(step)) return ERR_OK;
    const char *type = type_of(step);
    if (strcmp(type, "Split") == 0) return read_split(r, step);
    if (strcmp(type, "ByteLevel") == 0) {
        const json_t *use_regex = json_object_get(step, "use_regex"); /* true when not written */
        if (is_true(step, "add_prefix_space")) return refuse(r, "ByteLevel with", "add_prefix_space: true");
        ErrCode code = json_is_false(use_regex) ? ERR_OK : set_pattern(r, GPT2_PATTERN);
        if (r->byte_level) code = err_set(r->err, ERR_UNSUPPORTED, "a pre_tokenizer with ByteLevel twice is not supported");
        r->byte_level = true;
        return code;
    }
    if (strcmp(type, "Sequence") != 0 || depth > 8) return refuse(r, "the pre_tokenizer", type);
    size_t i;
    json_t *inner;
    json_array_foreach(json_object_get(step, "pretokenizers"), i, inner) {
        ErrCode code = read_pre_tokenizer(r, inner, depth + 1);
        if (code != ERR_OK) return code;
    }
    return ERR_OK;
}

static ErrCode read_pipeline(Reader *r, const json_t *root) {
    ErrCode code = read_normalizer(r, json_object_get(root, "normalizer"), 0);
    if (code == ERR_OK) code = read_pre_tokenizer(r, json_object_get(root, "pre_tokenizer"), 0);
    if (code != ERR_OK) return code;
    if (!r->byte_level)
        return err_set(r->err, ERR_UNSUPPORTED, "a pre_tokenizer without ByteLevel is not supported: only byte-level BPE is");
    const json_t *post = json_object_get(root, "post_processor"), *decoder = json_object_get(root, "decoder");
    if (!absent(post) && strcmp(type_of(post), "ByteLevel") != 0) return refuse(r, "the post_processor", type_of(post));
    if (!absent(decoder) && strcmp(type_of(decoder), "ByteLevel") != 0) return refuse(r, "the decoder", type_of(decoder));
    return ERR_OK;
}

/* ---- model ---- */

/* Options of the BPE model that would change its ids. */
static ErrCode check_options(Reader *r, const json_t *model) {
    const json_t *type = json_object_get(model, "type");
    if (!absent(type) && strcmp(type_of(model), "BPE") != 0) return refuse(r, "the model type", type_of(model));
    const json_t *dropout = json_object_get(model, "dropout");
    if (!absent(dropout) && json_number_value(dropout) != 0) return refuse(r, "a BPE model with", "dropout");
    static const char *const texts[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        const json_t *text = json_object_get(model, texts[i]);
        if (!absent(text) && json_string_length(text) != 0) return refuse(r, "a BPE model with", texts[i]);
    }
    static const char *const switches[] = {"byte_fallback", "ignore_merges"};
    for (size_t i = 0; i < COUNT_OF(switches); i++)
        if (is_true(model, switches[i])) return refuse(r, "a BPE model with", switches[i]);
    /* A token for the unknown is never used where every byte has its own. */
    if (absent(json_object_get(model, "unk_token"))) return ERR_OK;
    for (unsigned byte = 0; byte < 256; byte++) {
        char key[3] = "";
        key[text_alphabet_put(byte, key)] = 0;
        if (!json_object_get(json_object_get(model, "vocab"), key))
            return refuse(r, "a BPE model that lacks bytes but has an", "unk_token");
    }
    return ERR_OK;
}

static ErrCode check_id(Reader *r, json_int_t id, const char *token) {
    if (id >= 0 && id <= ID_MAX) return ERR_OK;
    return err_set(r->err, ERR_RANGE, "token \"%.60s\" has the id %lld; ids go from 0 to %d", token, (long long)id, ID_MAX);
}

/* Puts one token at its place; the same again is fine for an added token, a different one is not. */
static ErrCode put_token(Reader *r, Str text, json_int_t id, uint8_t kind) {
    Str *token = &r->tokens[id];
    uint8_t *old = &r->kinds[id];
    if (*old != TEXT_TOKEN_UNUSED && (kind == TEXT_TOKEN_NORMAL || !str_eq(*token, text)))
        return err_set(r->err, ERR_FORMAT, "id %lld belongs to two tokens, \"%.60s\" and \"%.60s\"", (long long)id, token->ptr,
                       text.ptr);
    *token = text;
    *old = kind;
    return ERR_OK;
}

static ErrCode read_vocab(Reader *r, json_t *vocab) {
    const char *text;
    json_t *value;
    json_object_foreach(vocab, text, value) {
        if (!json_is_integer(value)) return err_set(r->err, ERR_FORMAT, "token \"%.60s\" has no id", text);
        ErrCode code = check_id(r, json_integer_value(value), text);
        if (code == ERR_OK) code = put_token(r, str_c(text), json_integer_value(value), TEXT_TOKEN_NORMAL);
        if (code != ERR_OK) return code;
    }
    return ERR_OK;
}

/* "left right", or since 2024 ["left", "right"]. */
static bool read_merge(const json_t *merge, Str parts[2]) {
    if (json_is_array(merge) && json_array_size(merge) == 2) {
        for (size_t i = 0; i < 2; i++) {
            if (!json_is_string(json_array_get(merge, i))) return false;
            parts[i] = str_of(json_array_get(merge, i));
        }
        return true;
    }
    if (!json_is_string(merge)) return false;
    Str s = str_of(merge);
    const char *space = memchr(s.ptr, ' ', s.len);
    if (!space) return false;
    size_t left = (size_t)(space - s.ptr);
    parts[0] = str_make(s.ptr, left);
    parts[1] = str_make(space + 1, s.len - left - 1);
    return !memchr(parts[1].ptr, ' ', parts[1].len);
}

static ErrCode read_merges(Reader *r, const json_t *merges) {
    size_t n = json_array_size(merges), i;
    if (n > INT32_MAX) return err_set(r->err, ERR_RANGE, "%zu merges are too many", n);
    if (!n) return ERR_OK;
    r->merges = mem_resize(NULL, n, sizeof *r->merges);
    if (!r->merges) return err_no_memory(r->err, (uint64_t)n * sizeof *r->merges, "the merges");
    json_t *merge;
    json_array_foreach(merges, i, merge)
        if (!read_merge(merge, r->merges[i]))
            return err_set(r->err, ERR_FORMAT, "merge %zu is neither \"left right\" nor [\"left\", \"right\"]", i);
    r->spec.merges = (const Str(*)[2])r->merges;
    r->spec.n_merges = (uint32_t)n;
    return ERR_OK;
}

/* ---- added tokens ---- */

static ErrCode read_added(Reader *r, const json_t *vocab, const json_t *token, json_int_t id) {
    const json_t *content = json_object_get(token, "content");
    if (!json_is_string(content)) return err_set(r->err, ERR_FORMAT, "added token %lld has no content", (long long)id);
    ErrCode code = check_id(r, id, json_string_value(content));
    if (code != ERR_OK) return code;
    static const char *const switches[] = {"lstrip", "rstrip", "single_word"};
    for (size_t i = 0; i < COUNT_OF(switches); i++)
        if (is_true(token, switches[i]))
            return err_set(r->err, ERR_UNSUPPORTED, "added token \"%.60s\" with %s is not supported", json_string_value(content),
                           switches[i]);
    const json_t *normal = json_object_get(vocab, json_string_value(content));
    if (normal && json_integer_value(normal) != id)
        return err_set(r->err, ERR_FORMAT, "added token \"%.60s\" has the id %lld, but %lld in the vocabulary",
                       json_string_value(content), (long long)id, (long long)json_integer_value(normal));
    r->normalized[id] = is_true(token, "normalized");
    return put_token(r, str_of(content), id, is_true(token, "special") ? TEXT_TOKEN_SPECIAL : TEXT_TOKEN_ADDED);
}

/* The keys of added_tokens_decoder are ids written as strings. */
static json_int_t id_of_key(const char *key) {
    char *end;
    errno = 0;
    long id = strtol(key, &end, 10);
    return errno || *end || end == key ? -1 : (json_int_t)id;
}

/* Tokens matched in the raw text and tokens matched in normalised text are found in two passes by HF tokenizers. One pass does
 * the same where there is no normalizer and all are of one sort. */
static ErrCode check_normalized(Reader *r) {
    bool some = false, all = true;
    for (uint32_t id = 0; id < r->spec.n_tokens; id++) {
        if (r->kinds[id] != TEXT_TOKEN_ADDED && r->kinds[id] != TEXT_TOKEN_SPECIAL) continue;
        some |= r->normalized[id] != 0;
        all &= r->normalized[id] != 0;
        if (some && (r->spec.nfc || !all))
            return err_set(r->err, ERR_UNSUPPORTED, "added token \"%.60s\" with normalized: %s is not supported beside %s",
                           r->tokens[id].ptr, r->normalized[id] ? "true" : "false",
                           r->spec.nfc ? "a normalizer" : "others that differ");
    }
    return ERR_OK;
}

/* ---- the whole ---- */

/* The largest id of all three lists, so that the arrays can be made. */
static json_int_t largest_id(json_t *vocab, const json_t *added, json_t *decoder) {
    json_int_t largest = -1;
    const char *key;
    json_t *value;
    size_t i;
    json_object_foreach(vocab, key, value) if (json_integer_value(value) > largest) largest = json_integer_value(value);
    json_array_foreach(added, i, value) {
        json_int_t id = json_integer_value(json_object_get(value, "id"));
        if (id > largest) largest = id;
    }
    json_object_foreach(decoder, key, value) if (id_of_key(key) > largest) largest = id_of_key(key);
    return largest > ID_MAX ? ID_MAX : largest;
}

static ErrCode read_tokens(Reader *r, const json_t *root, const json_t *config) {
    json_t *model = json_object_get(root, "model"), *vocab = json_object_get(model, "vocab");
    json_t *added = json_object_get(root, "added_tokens"), *decoder = json_object_get(config, "added_tokens_decoder");
    if (!json_is_object(vocab)) return err_set(r->err, ERR_FORMAT, "there is no model.vocab object");
    size_t n = (size_t)(largest_id(vocab, added, decoder) + 1), i;
    r->tokens = MEM_NEW(Str, n);
    r->kinds = MEM_NEW(uint8_t, n);
    r->normalized = MEM_NEW(uint8_t, n);
    if (!r->tokens || !r->kinds || !r->normalized) return err_no_memory(r->err, n * (sizeof(Str) + 2), "the tokens");
    memset(r->kinds, TEXT_TOKEN_UNUSED, n);
    r->spec.n_tokens = (uint32_t)n;
    r->spec.tokens = r->tokens;
    r->spec.kinds = r->kinds;
    ErrCode code = read_vocab(r, vocab);
    if (code == ERR_OK) code = read_merges(r, json_object_get(model, "merges"));
    json_t *token;
    const char *key;
    json_array_foreach(added, i, token) {
        const json_t *id = json_object_get(token, "id");
        if (code == ERR_OK) code = read_added(r, vocab, token, json_is_integer(id) ? json_integer_value(id) : -1);
    }
    json_object_foreach(decoder, key, token) if (code == ERR_OK) code = read_added(r, vocab, token, id_of_key(key));
    return code == ERR_OK ? check_normalized(r) : code;
}

/* name: "" or the file's name and a space. Whoever calls the door says which tokenizer.json it was. */
static json_t *parse(Str text, const char *name, Err *err) {
    json_error_t where;
    json_t *root = json_loadb(text.ptr ? text.ptr : "", text.len, JSON_REJECT_DUPLICATES, &where);
    if (root && json_is_object(root)) return root;
    if (root) err_set(err, ERR_FORMAT, "%snot a JSON object", name);
    else err_set(err, ERR_FORMAT, "%snot valid JSON: %s (line %d, column %d)", name, where.text, where.line, where.column);
    json_decref(root);
    return NULL;
}

Tokenizer *text_tokenizer_from_json(Str tokenizer_json, Str tokenizer_config_json, Err *err) {
    Reader r = {.err = err};
    Tokenizer *t = NULL;
    json_t *root = parse(tokenizer_json, "", err), *config = NULL;
    if (!root) return NULL;
    if (tokenizer_config_json.ptr && !(config = parse(tokenizer_config_json, "tokenizer_config.json: ", err))) {
        json_decref(root);
        return NULL;
    }
    ErrCode code = check_options(&r, json_object_get(root, "model"));
    if (code == ERR_OK) code = read_pipeline(&r, root);
    if (code == ERR_OK) code = read_tokens(&r, root, config);
    if (code == ERR_OK) t = text_tokenizer_new(&r.spec, err);
    mem_free(r.tokens);
    mem_free(r.kinds);
    mem_free(r.normalized);
    mem_free(r.merges);
    json_decref(root);
    json_decref(config);
    return t;
}
