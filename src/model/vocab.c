/* The tokenizer, the chat template and the beginning-of-text token. A GGUF file brings them as keys, a folder as JSON files. */
#include "model/parts.h"

#include <string.h>

static const FormatKey *strings(const FormatModel *f, const char *name) {
    const FormatKey *k = format_key(f, name);
    return k && k->is_array && k->kind == FORMAT_STRING ? k : NULL;
}

static ErrCode token_kinds(const FormatModel *f, uint32_t n, uint8_t *kinds, Err *err) {
    static const uint8_t of_type[] = {[1] = TEXT_TOKEN_NORMAL, [2] = TEXT_TOKEN_SPECIAL /* "unknown" */, [3] = TEXT_TOKEN_SPECIAL,
                                      [4] = TEXT_TOKEN_ADDED, [5] = TEXT_TOKEN_UNUSED, [6] = TEXT_TOKEN_NORMAL /* a byte */};
    const FormatKey *k = format_key(f, "tokenizer.ggml.token_type");
    if (!k || !k->is_array || k->count != n)
        return err_set(err, ERR_FORMAT, "tokenizer.ggml.token_type must have one entry for each of the %u tokens", n);
    for (uint32_t i = 0; i < n; i++) {
        uint64_t type;
        if (!format_key_u64(k, i, &type) || type < 1 || type >= COUNT_OF(of_type))
            return err_set(err, ERR_FORMAT, "tokenizer.ggml.token_type: entry %u is no known type", i);
        kinds[i] = of_type[type];
    }
    return ERR_OK;
}

/* "a b" -> a, b. The byte alphabet has no space, so the first one is the border; a part is never empty. */
static ErrCode split_merges(const FormatKey *k, Str (*merges)[2], Err *err) {
    const Str *lines = k->data;
    for (uint64_t i = 0; i < k->count; i++) {
        const char *space = lines[i].len > 2 ? memchr(lines[i].ptr + 1, ' ', lines[i].len - 2) : NULL;
        if (!space)
            return err_set(err, ERR_FORMAT, "tokenizer.ggml.merges: entry %llu is not two parts with a space between them",
                           (unsigned long long)i);
        size_t left = (size_t)(space - lines[i].ptr);
        merges[i][0] = str_make(lines[i].ptr, left);
        merges[i][1] = str_make(space + 1, lines[i].len - left - 1);
    }
    return ERR_OK;
}

/* True where no merge makes a token of the vocabulary: then every text falls into its single characters, whatever the regex. */
static ErrCode merges_do_nothing(const TextSpec *spec, bool *nothing, Err *err) {
    StrMap ids = {0};
    Buf both = {0};
    *nothing = true;
    bool ok = strmap_reserve(&ids, spec->n_tokens);
    for (uint32_t i = 0; ok && i < spec->n_tokens; i++) {
        bool existed = false;
        ok = strmap_put(&ids, spec->tokens[i], i, &existed) || existed;
    }
    for (uint32_t i = 0; ok && *nothing && i < spec->n_merges; i++) {
        uint32_t id;
        buf_clear(&both);
        buf_put(&both, spec->merges[i][0].ptr, spec->merges[i][0].len);
        buf_put(&both, spec->merges[i][1].ptr, spec->merges[i][1].len);
        ok = !both.failed;
        *nothing = !(ok && strmap_get(&ids, str_make(both.ptr, both.len), &id));
    }
    strmap_free(&ids);
    buf_free(&both);
    return ok ? ERR_OK : err_no_memory(err, (uint64_t)spec->n_tokens * 32, "the tokenizer");
}

static ErrCode choose_split(const FormatModel *f, TextSpec *spec, Err *err) {
    Str pre = {0};
    const FormatKey *k = format_key(f, "tokenizer.ggml.pre");
    if (k && !format_key_str(k, 0, &pre)) return err_set(err, ERR_FORMAT, "tokenizer.ggml.pre must be a string");
    spec->nfc = true;
    if (str_eq_c(pre, "qwen35")) {
        spec->split = TEXT_SPLIT_QWEN35;
        return ERR_OK;
    }
    if (str_eq_c(pre, "qwen2")) {
        spec->split = TEXT_SPLIT_QWEN2;
        return ERR_OK;
    }
    bool nothing;
    TRY(merges_do_nothing(spec, &nothing, err));
    if (!nothing)
        return err_set(err, ERR_UNSUPPORTED, "tokenizer.ggml.pre is '%.*s': only qwen35 and qwen2 are supported, another way to split "
                       "text would give other tokens", (int)(pre.len < 32 ? pre.len : 32), pre.len ? pre.ptr : "");
    spec->split = TEXT_SPLIT_NONE; /* a character-level vocabulary */
    spec->n_merges = 0;
    spec->nfc = false;
    return ERR_OK;
}

/* kinds: [n_tokens], pairs: [n_merges], to be filled; the tokenizer copies what it needs. */
static ErrCode new_tokenizer(Model *m, TextSpec spec, const FormatKey *merges, uint8_t *kinds, Str (*pairs)[2], Err *err) {
    TRY(token_kinds(m->format, spec.n_tokens, kinds, err));
    TRY(split_merges(merges, pairs, err));
    spec.kinds = kinds;
    spec.merges = (const Str(*)[2])pairs;
    TRY(choose_split(m->format, &spec, err));
    m->tokenizer = text_tokenizer_new(&spec, err);
    return m->tokenizer ? ERR_OK : err->code;
}

static ErrCode tokenizer_from_keys(Model *m, Err *err) {
    const FormatModel *f = m->format;
    Str model;
    const FormatKey *k = format_key(f, "tokenizer.ggml.model"), *tokens = strings(f, "tokenizer.ggml.tokens");
    if (!k && !tokens) return ERR_OK;
    if (!k || !format_key_str(k, 0, &model))
        return err_set(err, ERR_FORMAT, "tokenizer.ggml.model is missing beside tokenizer.ggml.tokens");
    if (str_eq_c(model, "none") || str_eq_c(model, "no_vocab")) return ERR_OK;
    if (!str_eq_c(model, "gpt2"))
        return err_set(err, ERR_UNSUPPORTED, "tokenizer.ggml.model is '%.*s': only gpt2 (byte-level BPE) is supported",
                       (int)(model.len < 32 ? model.len : 32), model.ptr);
    const FormatKey *merges = strings(f, "tokenizer.ggml.merges");
    if (!tokens || tokens->count > m->shape.vocab)
        return err_set(err, ERR_FORMAT, "tokenizer.ggml.tokens holds %llu tokens, but the embedding has %u rows",
                       (unsigned long long)(tokens ? tokens->count : 0), m->shape.vocab);
    if (!merges || merges->count > UINT32_MAX) return err_set(err, ERR_FORMAT, "tokenizer.ggml.merges is missing");

    TextSpec spec = {.n_tokens = (uint32_t)tokens->count, .tokens = tokens->data, .n_merges = (uint32_t)merges->count};
    uint8_t *kinds = mem_new(spec.n_tokens, 1);
    Str(*pairs)[2] = mem_new(spec.n_merges, sizeof *pairs);
    ErrCode code = ERR_MEMORY;
    if (kinds && pairs)
        code = new_tokenizer(m, spec, merges, kinds, pairs, err);
    else
        err_no_memory(err, (uint64_t)spec.n_merges * sizeof *pairs + spec.n_tokens, "the tokenizer");
    mem_free(kinds);
    mem_free(pairs);
    return code;
}

static ErrCode tokenizer_from_folder(Model *m, Err *err) {
    const FormatModel *f = m->format;
    if (!f->tokenizer_json.ptr) return ERR_OK;
    m->tokenizer = text_tokenizer_from_json(f->tokenizer_json, f->tokenizer_config_json, err);
    if (!m->tokenizer) return err_prefix(err, "tokenizer.json");
    if (text_token_count(m->tokenizer) > m->shape.vocab)
        return err_set(err, ERR_FORMAT, "tokenizer.json: the largest token id is %u, but the embedding has %u rows",
                       text_token_count(m->tokenizer) - 1, m->shape.vocab);
    return ERR_OK;
}

/* tokenizer_config.json holds one template, or a list of named ones. */
static Str template_of_config(const HfJson *hf) {
    const json_t *t = model_hf_member(hf->tokenizer, "chat_template");
    if (json_is_array(t)) {
        size_t i;
        json_t *one, *found = NULL;
        json_array_foreach(t, i, one) {
            const char *name = json_string_value(json_object_get(one, "name"));
            if (name && strcmp(name, "default") == 0) found = json_object_get(one, "template");
        }
        t = found;
    }
    return json_is_string(t) ? str_make(json_string_value(t), json_string_length(t)) : (Str){0};
}

/* A template that cannot be parsed does not stop the model: text without a template still works, and the reason is kept. */
static ErrCode open_template(Model *m, const HfJson *hf, Err *err) {
    Str source = {0};
    Err why = {0};
    if (m->format->kind == FORMAT_GGUF) {
        const FormatKey *k = format_key(m->format, "tokenizer.chat_template");
        if (k && !format_key_str(k, 0, &source)) return err_set(err, ERR_FORMAT, "tokenizer.chat_template must be a string");
    } else {
        source = m->format->chat_template.ptr ? m->format->chat_template : template_of_config(hf);
    }
    if (!source.ptr || source.len == 0) return ERR_OK;
    m->chat_source = mem_strndup(source.ptr, source.len);
    if (!m->chat_source) return err_no_memory(err, source.len, "the chat template");
    m->chat = text_template_new(source.ptr, source.len, &why);
    if (m->chat) return ERR_OK;
    if (why.code == ERR_MEMORY) {
        *err = why;
        return ERR_MEMORY;
    }
    m->chat_error = mem_strdup(why.text);
    return m->chat_error ? ERR_OK : err_no_memory(err, sizeof why.text, "the chat template");
}

ErrCode model_vocab_open(Model *m, const HfJson *hf, Err *err) {
    TRY(m->format->kind == FORMAT_GGUF ? tokenizer_from_keys(m, err) : tokenizer_from_folder(m, err));
    return open_template(m, hf, err);
}
