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
    Str *tokens;           /* [cap] by id; borrowed from the walks and the JSON trees */
    uint8_t *kinds;        /* [cap] */
    uint8_t *normalized;   /* [cap] 1: an added token that is matched in normalised text */
    uint32_t cap;
    Str (*merges)[2];      /* [merges_cap] */
    size_t merges_cap;
    TextJsonWalk vocab_walk, merges_walk;
    bool byte_level;       /* the pre-tokenizer ends in the byte alphabet */
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
    return ERR_OK;
}

/* Room for one more id. */
static ErrCode reach(Reader *r, int64_t id, Str token) {
    if (id < 0 || id > ID_MAX)
        return err_set(r->err, ERR_RANGE, "token \"%.*s\" has the id %lld; ids go from 0 to %d",
                       token.len > 60 ? 60 : (int)token.len, token.ptr, (long long)id, ID_MAX);
    if (id >= r->cap) {
        uint32_t cap = (uint32_t)id + (uint32_t)id / 2 + 256;
        Str *tokens = mem_resize(r->tokens, cap, sizeof *tokens);
        if (tokens) r->tokens = tokens;
        uint8_t *kinds = mem_resize(r->kinds, cap, 1);
        if (kinds) r->kinds = kinds;
        uint8_t *normalized = mem_resize(r->normalized, cap, 1);
        if (normalized) r->normalized = normalized;
        if (!tokens || !kinds || !normalized) return err_no_memory(r->err, (uint64_t)cap * (sizeof(Str) + 2), "the tokens");
        memset(kinds + r->cap, TEXT_TOKEN_UNUSED, cap - r->cap);
        memset(normalized + r->cap, 0, cap - r->cap);
        r->cap = cap;
    }
    if (id >= r->spec.n_tokens) r->spec.n_tokens = (uint32_t)id + 1;
    return ERR_OK;
}

/* Puts one token at its place; the same again is fine for an added token, a different one is not. */
static ErrCode put_token(Reader *r, Str text, int64_t id, uint8_t kind) {
    ErrCode code = reach(r, id, text);
    if (code != ERR_OK) return code;
    Str *token = &r->tokens[id];
    uint8_t *old = &r->kinds[id];
    if (*old != TEXT_TOKEN_UNUSED && (kind == TEXT_TOKEN_NORMAL || !str_eq(*token, text)))
        return err_set(r->err, ERR_FORMAT, "id %lld belongs to two tokens, \"%.*s\" and \"%.*s\"", (long long)id,
                       token->len > 60 ? 60 : (int)token->len, token->ptr, text.len > 60 ? 60 : (int)text.len, text.ptr);
    *token = text;
    *old = kind;
    return ERR_OK;
}

static ErrCode read_vocab(Reader *r) {
    for (;;) {
        Str text;
        int64_t id;
        bool end;
        ErrCode code = text_json_vocab_next(&r->vocab_walk, &text, &id, &end, r->err);
        if (code != ERR_OK || end) return code;
        code = put_token(r, text, id, TEXT_TOKEN_NORMAL);
        if (code != ERR_OK) return code;
    }
}

static ErrCode read_merges(Reader *r) {
    while (r->merges_walk.text.len) {
        if (r->spec.n_merges == r->merges_cap) {
            size_t cap = r->merges_cap + r->merges_cap / 2 + 256;
            Str(*merges)[2] = cap < INT32_MAX ? mem_resize(r->merges, cap, sizeof *merges) : NULL;
            if (!merges) return err_no_memory(r->err, cap * sizeof *merges, "the merges");
            r->merges = merges;
            r->merges_cap = cap;
        }
        bool end;
        ErrCode code = text_json_merges_next(&r->merges_walk, r->merges[r->spec.n_merges], &end, r->err);
        if (code != ERR_OK || end) return code;
        r->spec.n_merges++;
    }
    return ERR_OK;
}

/* A token for the unknown is never used where every byte has its own. */
static ErrCode check_unknown(Reader *r, const json_t *model) {
    if (absent(json_object_get(model, "unk_token"))) return ERR_OK;
    bool seen[256] = {false};
    int bytes = 0;
    for (uint32_t id = 0; id < r->spec.n_tokens; id++) {
        char byte[2];
        size_t n;
        if (r->kinds[id] != TEXT_TOKEN_NORMAL || r->tokens[id].len > 2) continue;
        if (!text_alphabet_bytes(r->tokens[id], byte, &n) || n != 1 || seen[(unsigned char)byte[0]]) continue;
        seen[(unsigned char)byte[0]] = true;
        bytes++;
    }
    return bytes == 256 ? ERR_OK : refuse(r, "a BPE model that lacks bytes but has an", "unk_token");
}

/* ---- added tokens ---- */

static ErrCode read_added(Reader *r, const json_t *token, int64_t id) {
    const json_t *content = json_object_get(token, "content");
    if (!json_is_string(content)) return err_set(r->err, ERR_FORMAT, "added token %lld has no content", (long long)id);
    static const char *const switches[] = {"lstrip", "rstrip", "single_word"};
    for (size_t i = 0; i < COUNT_OF(switches); i++)
        if (is_true(token, switches[i]))
            return err_set(r->err, ERR_UNSUPPORTED, "added token \"%.60s\" with %s is not supported",
                           json_string_value(content), switches[i]);
    uint8_t kind = is_true(token, "special") ? TEXT_TOKEN_SPECIAL : TEXT_TOKEN_ADDED;
    ErrCode code = put_token(r, str_of(content), id, kind);
    if (code == ERR_OK) r->normalized[id] = is_true(token, "normalized");
    return code;
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

/* An added token may also stand in the vocabulary, but then under the same id. */
static ErrCode check_homonyms(Reader *r) {
    StrMap added = {0};
    ErrCode code = ERR_OK;
    for (uint32_t id = 0; id < r->spec.n_tokens && code == ERR_OK; id++) {
        bool existed = false; /* twice the same text is found when the tokenizer is made */
        if (r->kinds[id] != TEXT_TOKEN_ADDED && r->kinds[id] != TEXT_TOKEN_SPECIAL) continue;
        if (!strmap_put(&added, r->tokens[id], id, &existed) && !existed)
            code = err_no_memory(r->err, r->spec.n_tokens, "the added tokens");
    }
    for (uint32_t id = 0; id < r->spec.n_tokens && code == ERR_OK && added.used; id++) {
        uint32_t other;
        Str text = r->tokens[id];
        if (r->kinds[id] != TEXT_TOKEN_NORMAL || !strmap_get(&added, text, &other)) continue;
        code = err_set(r->err, ERR_FORMAT, "added token \"%.*s\" has the id %u, but %u in the vocabulary",
                       text.len > 60 ? 60 : (int)text.len, text.ptr, other, id);
    }
    strmap_free(&added);
    return code;
}

/* ---- the whole ---- */

static ErrCode read_tokens(Reader *r, const json_t *root, const json_t *config) {
    const json_t *model = json_object_get(root, "model"), *added = json_object_get(root, "added_tokens");
    json_t *decoder = json_object_get(config, "added_tokens_decoder"), *token;
    if (!r->vocab_walk.text.len) return err_set(r->err, ERR_FORMAT, "there is no model.vocab object");
    if (!r->merges_walk.text.len && !absent(json_object_get(model, "merges")))
        return err_set(r->err, ERR_FORMAT, "model.merges is not an array");
    if (!absent(added) && !json_is_array(added)) return err_set(r->err, ERR_FORMAT, "added_tokens is not an array");
    if (!absent(decoder) && !json_is_object(decoder))
        return err_set(r->err, ERR_FORMAT, "tokenizer_config.json: added_tokens_decoder is not an object");
    ErrCode code = read_vocab(r);
    if (code == ERR_OK) code = read_merges(r);
    if (code == ERR_OK) code = check_unknown(r, model);
    const char *key;
    size_t i;
    json_array_foreach(added, i, token) {
        const json_t *id = json_object_get(token, "id");
        if (code == ERR_OK) code = read_added(r, token, json_is_integer(id) ? json_integer_value(id) : -1);
    }
    json_object_foreach(decoder, key, token) if (code == ERR_OK) code = read_added(r, token, id_of_key(key));
    if (code == ERR_OK) code = check_normalized(r);
    if (code == ERR_OK) code = check_homonyms(r);
    r->spec.tokens = r->tokens;
    r->spec.kinds = r->kinds;
    r->spec.merges = (const Str(*)[2])r->merges;
    return code;
}

/* jansson quotes the text, which may go on in the next line: what it says, on one. */
static const char *on_one_line(json_error_t *where) {
    for (char *c = where->text; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7F) *c = ' ';
    return where->text;
}

/* Integers are read as reals: model_max_length is often 10^30, and ids are keys here. */
static json_t *parse_config(Str text, Err *err) {
    json_error_t where;
    json_t *root = json_loadb(text.ptr, text.len, JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL, &where);
    if (!root)
        err_set(err, ERR_FORMAT, "tokenizer_config.json: not valid JSON near byte %d: %s", where.position, on_one_line(&where));
    return root;
}

/* Parses a tokenizer.json without its two long lists, which are left to the walks. */
static json_t *parse_short(Reader *r, Str json) {
    Str model, lists[2] = {{NULL, 0}, {NULL, 0}}; /* vocab, merges */
    if (text_json_member(json, "model", &model)) {
        if (!text_json_member(model, "vocab", &lists[0]) || *lists[0].ptr != '{') lists[0].ptr = NULL;
        if (!text_json_member(model, "merges", &lists[1]) || *lists[1].ptr != '[') lists[1].ptr = NULL;
    }
    if (lists[0].ptr) r->vocab_walk.text = lists[0];
    if (lists[1].ptr) r->merges_walk.text = lists[1];
    if (lists[0].ptr && lists[1].ptr && lists[1].ptr < lists[0].ptr)
        lists[0] = r->merges_walk.text, lists[1] = r->vocab_walk.text;
    Buf rest = {0};
    const char *at = json.ptr;
    for (int i = 0; i < 2; i++) {
        if (!lists[i].ptr) continue;
        buf_put(&rest, at, (size_t)(lists[i].ptr - at));
        buf_puts(&rest, "null");
        at = lists[i].ptr + lists[i].len;
    }
    buf_put(&rest, at, (size_t)(json.ptr + json.len - at));
    json_error_t where = {0};
    json_t *root = rest.failed ? NULL : json_loadb(rest.ptr, rest.len, JSON_REJECT_DUPLICATES, &where);
    size_t place = where.position > 0 ? (size_t)where.position : 0;
    for (int i = 0; i < 2; i++) /* back to a place in the file itself */
        if (lists[i].ptr && place > (size_t)(lists[i].ptr - json.ptr)) place += lists[i].len - strlen("null");
    if (rest.failed) err_no_memory(r->err, json.len, "a tokenizer.json");
    else if (!root) err_set(r->err, ERR_FORMAT, "not valid JSON near byte %zu: %s", place, on_one_line(&where));
    buf_free(&rest);
    if (!root || json_is_object(root)) return root;
    err_set(r->err, ERR_FORMAT, "not a JSON object");
    json_decref(root);
    return NULL;
}

Tokenizer *text_tokenizer_from_json(Str tokenizer_json, Str tokenizer_config_json, Err *err) {
    Reader r = {.err = err};
    Tokenizer *t = NULL;
    json_t *root = parse_short(&r, tokenizer_json), *config = NULL;
    bool parsed = root && (!tokenizer_config_json.ptr || (config = parse_config(tokenizer_config_json, err)));
    ErrCode code = parsed ? check_options(&r, json_object_get(root, "model")) : ERR_FORMAT;
    if (code == ERR_OK) code = read_pipeline(&r, root);
    if (code == ERR_OK) code = read_tokens(&r, root, config);
    if (code == ERR_OK) t = text_tokenizer_new(&r.spec, err);
    mem_free(r.tokens);
    mem_free(r.kinds);
    mem_free(r.normalized);
    mem_free(r.merges);
    arena_free(&r.vocab_walk.strings);
    arena_free(&r.merges_walk.strings);
    json_decref(root);
    json_decref(config);
    return t;
}
