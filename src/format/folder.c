/* A Hugging Face folder: config.json, one model.safetensors or several with an index, and the tokenizer's files as text. */
#include "format/json.h"

#include <string.h>

#define TEXT_MAX (UINT64_C(256) << 20) /* bytes of a JSON file; the largest real ones are about 20 MB */

static ErrCode join(Buf *out, const char *folder, Str name, Err *err) {
    size_t n = strlen(folder);
    buf_clear(out);
    buf_puts(out, folder);
    if (n == 0 || folder[n - 1] != '/') buf_putc(out, '/');
    buf_put(out, name.ptr, name.len);
    return out->failed ? err_no_memory(err, n + name.len, "a path") : ERR_OK;
}

static ErrCode file_there(const char *folder, const char *name, bool *there, Buf *path, Err *err) {
    ErrCode code = join(path, folder, str_c(name), err);
    *there = !code && format_exists(path->ptr);
    return code;
}

/* Reads folder/name into slot `i` of the texts, if it is there. */
static ErrCode read_text(FormatModel *m, const char *folder, const char *name, int i, Str *text, Err *err) {
    Buf path = {0};
    bool there;
    ErrCode code = file_there(folder, name, &there, &path, err);
    if (!code && there) code = format_refuse_special(path.ptr, err);
    if (!code && there) code = os_read_file(path.ptr, TEXT_MAX, &m->inner->texts[i], err);
    if (!code && there) *text = format_buf_str(&m->inner->texts[i]);
    buf_free(&path);
    return code;
}

/* chat_template.json holds {"chat_template": "..."}; the template itself is wanted. */
static ErrCode unwrap_template(const char *folder, Buf *from, Str *text, Err *err) {
    Buf path = {0}, scratch = {0}, found = {0};
    bool more = true, seen = false;
    ErrCode code = join(&path, folder, str_c("chat_template.json"), err);
    FormatJson j = {.text = from->ptr, .len = from->len, .path = path.ptr, .err = err};
    if (!code) code = format_json_object(&j);
    while (!code && more) {
        code = format_json_key(&j, &more, &scratch);
        if (code || !more) break;
        bool wanted = !seen && str_eq_c(format_buf_str(&scratch), "chat_template") && format_json_peek(&j) == '"';
        code = wanted ? format_json_string(&j, &found) : format_json_skip(&j);
        seen = seen || wanted;
    }
    if (!code) code = format_json_end(&j);
    buf_free(from);
    if (!code && seen) {
        *from = found;
        *text = format_buf_str(from);
        found = (Buf){0};
    } else {
        *text = (Str){NULL, 0};
    }
    buf_free(&found);
    buf_free(&scratch);
    buf_free(&path);
    return code;
}

static ErrCode read_texts(FormatModel *m, const char *folder, Err *err) {
    ErrCode code = read_text(m, folder, "config.json", 0, &m->config_json, err);
    if (!code && !m->config_json.ptr) {
        Buf path = {0};
        bool flash = false;
        code = file_there(folder, "model_weights.json", &flash, &path, err);
        buf_free(&path);
        if (code) return code;
        if (flash)
            return err_set(err, ERR_UNSUPPORTED, "%s: a folder of packed experts (model_weights.json), not supported yet", folder);
        return err_set(err, ERR_FORMAT, "%s: no model folder, it has no config.json; a GGUF file is named itself, not its folder", folder);
    }
    if (!code) code = read_text(m, folder, "generation_config.json", 1, &m->generation_config_json, err);
    if (!code) code = read_text(m, folder, "tokenizer.json", 2, &m->tokenizer_json, err);
    if (!code) code = read_text(m, folder, "tokenizer_config.json", 3, &m->tokenizer_config_json, err);
    if (!code) code = read_text(m, folder, "chat_template.jinja", 4, &m->chat_template, err);
    if (code || m->chat_template.ptr) return code;
    code = read_text(m, folder, "chat_template.json", 4, &m->chat_template, err);
    if (!code && m->chat_template.ptr) code = unwrap_template(folder, &m->inner->texts[4], &m->chat_template, err);
    return code;
}

/* ---- quantisation ---- */

/* The scalar entries that tell what kind of quantisation it is, as "name value, name value". */
static ErrCode describe_quantisation(FormatJson *j, Buf *words, Buf *scratch) {
    static const char *const telling[] = {"quant_method", "quant_algo", "bits", "group_size", "mode", "fmt", "format"};
    bool more = true;
    ErrCode code = format_json_object(j);
    for (;;) {
        if (!code) code = format_json_key(j, &more, scratch);
        if (code || !more) return code;
        const char *name = NULL;
        for (size_t i = 0; i < COUNT_OF(telling); i++)
            if (str_eq_c(format_buf_str(scratch), telling[i])) name = telling[i];
        char c = format_json_peek(j);
        uint64_t number = 0;
        char shown[FORMAT_SHOWN_BYTES];
        if (name && c == '"') {
            code = format_json_string(j, scratch);
            if (!code) buf_printf(words, "%s%s %s", words->len ? ", " : "", name, format_shown(format_buf_str(scratch), shown));
        } else if (name && c >= '0' && c <= '9') {
            code = format_json_u64(j, &number);
            if (!code) buf_printf(words, "%s%s %llu", words->len ? ", " : "", name, (unsigned long long)number);
        } else {
            code = format_json_skip(j);
        }
    }
}

static ErrCode find_quantisation(FormatJson *j, int depth, bool *found, Buf *words, Buf *scratch) {
    bool more = true;
    ErrCode code = format_json_object(j);
    for (;;) {
        if (!code) code = format_json_key(j, &more, scratch);
        if (code || !more) return code;
        Str key = format_buf_str(scratch);
        bool object = format_json_peek(j) == '{';
        if (object && !*found && (str_eq_c(key, "quantization_config") || str_eq_c(key, "quantization"))) {
            *found = true;
            code = describe_quantisation(j, words, scratch);
        } else if (object && depth == 0 && str_eq_c(key, "text_config")) {
            code = find_quantisation(j, 1, found, words, scratch);
        } else {
            code = format_json_skip(j);
        }
    }
}

static ErrCode quantised(Err *err, const char *config, const char *how) {
    return err_set(err, ERR_UNSUPPORTED,
                   "%s: the weights are quantised (%s), and such folders are not supported yet; use the BF16 folder or a GGUF file "
                   "of this model", config, how);
}

static ErrCode refuse_quantised(FormatModel *m, const char *folder, Err *err) {
    Buf path = {0}, words = {0}, scratch = {0};
    bool found = false, modelopt = false;
    ErrCode code = file_there(folder, "hf_quant_config.json", &modelopt, &path, err);
    if (!code) code = join(&path, folder, str_c("config.json"), err);
    FormatJson j = {.text = m->config_json.ptr, .len = m->config_json.len, .path = path.ptr, .err = err};
    if (!code) code = find_quantisation(&j, 0, &found, &words, &scratch);
    if (!code) code = format_json_end(&j);
    if (!code && words.failed) code = err_no_memory(err, words.len, "a sentence");
    if (!code && found) code = quantised(err, path.ptr, words.len ? words.ptr : "of an unnamed kind");
    else if (!code && modelopt) code = quantised(err, path.ptr, "modelopt");
    buf_free(&scratch);
    buf_free(&words);
    buf_free(&path);
    return code;
}

/* ---- the shards ---- */

static ErrCode add_shard(FormatModel *m, const char *folder, Str name, Err *err) {
    Buf path = {0};
    ErrCode code = join(&path, folder, name, err);
    if (!code) code = format_add_file(m, path.ptr, err);
    buf_free(&path);
    return code ? code : format_safetensors_read(m, m->n_files - 1, err);
}

/* A shard is a plain file of this folder: no path may lead out of it. */
static ErrCode check_shard_name(FormatJson *j, uint64_t at, Str name) {
    char shown[FORMAT_SHOWN_BYTES];
    format_shown(name, shown);
    if (name.len == 0 || name.len > 255 || !format_name_ok(name) || memchr(name.ptr, '/', name.len) ||
        memchr(name.ptr, '\\', name.len) || name.ptr[0] == '.')
        return format_bad(j->err, j->path, at, "the index names '%s', which is not a plain file name of this folder", shown);
    if (!str_ends(name, ".safetensors"))
        return format_bad(j->err, j->path, at, "the index names '%s', which is not a .safetensors file", shown);
    return ERR_OK;
}

typedef struct Index {
    FormatModel *m;
    const char *folder;
    StrMap shards;   /* file name -> index into m->files */
    Buf name, shard; /* scratch */
    bool check;      /* second walk: every tensor is where the index says */
} Index;

static ErrCode index_entry(Index *x, FormatJson *j, uint64_t at) {
    FormatModel *m = x->m;
    Str tensor = format_buf_str(&x->name), shard = format_buf_str(&x->shard);
    uint32_t file, i;
    bool known = strmap_get(&x->shards, shard, &file);
    if (!x->check) {
        if (known) return ERR_OK;
        ErrCode code = check_shard_name(j, at, shard);
        if (code) return code;
        char *own = arena_strndup(&m->inner->arena, shard.ptr, shard.len);
        if (!own || !strmap_put(&x->shards, str_make(own, shard.len), m->n_files, NULL))
            return err_no_memory(j->err, shard.len, "the shard table");
        return add_shard(m, x->folder, shard, j->err);
    }
    if (known && strmap_get(&m->inner->tensors, tensor, &i) && m->tensors[i].file == file) return ERR_OK;
    char a[FORMAT_SHOWN_BYTES], b[FORMAT_SHOWN_BYTES];
    return format_bad(j->err, j->path, at, "the index says that tensor '%s' is in %s, but it is not there", format_shown(tensor, a),
                      format_shown(shard, b));
}

static ErrCode walk_weight_map(Index *x, FormatJson *j) {
    bool more = true;
    ErrCode code = format_json_object(j);
    for (;;) {
        if (!code) code = format_json_key(j, &more, &x->name);
        if (code || !more) return code;
        code = format_json_string(j, &x->shard);
        if (!code) code = index_entry(x, j, j->key_at);
    }
}

static ErrCode walk_index(Index *x, FormatJson *j) {
    bool more = true, seen = false;
    ErrCode code = format_json_object(j);
    while (!code) {
        code = format_json_key(j, &more, &x->name);
        if (code || !more) break;
        bool map = str_eq_c(format_buf_str(&x->name), "weight_map");
        if (map && seen) return format_json_bad(j, "weight_map is there twice");
        seen = seen || map;
        code = map ? walk_weight_map(x, j) : format_json_skip(j);
    }
    if (!code) code = format_json_end(j);
    return !code && !seen ? format_json_bad(j, "the index has no weight_map") : code;
}

/* The index is walked twice: first to open the shards it names, then to find each of its tensors there. */
static ErrCode read_index(FormatModel *m, const char *folder, const char *path, Err *err) {
    Buf text = {0};
    Index x = {.m = m, .folder = folder};
    ErrCode code = format_refuse_special(path, err);
    if (!code) code = os_read_file(path, TEXT_MAX, &text, err);
    for (int walk = 0; walk < 2 && !code; walk++) {
        FormatJson j = {.text = text.ptr, .len = text.len, .path = path, .err = err};
        x.check = walk == 1;
        code = walk_index(&x, &j);
    }
    if (!code && m->n_files == 0) code = err_set(err, ERR_FORMAT, "%s: the index names no tensor", path);
    strmap_free(&x.shards);
    buf_free(&x.name);
    buf_free(&x.shard);
    buf_free(&text);
    return code;
}

ErrCode format_folder_open(FormatModel *m, const char *folder, Err *err) {
    Buf path = {0};
    bool single = false, index = false;
    ErrCode code = read_texts(m, folder, err);
    if (!code) code = refuse_quantised(m, folder, err);
    if (!code) code = file_there(folder, "model.safetensors", &single, &path, err);
    if (!code && single) {
        code = add_shard(m, folder, str_c("model.safetensors"), err);
    } else if (!code) {
        code = file_there(folder, "model.safetensors.index.json", &index, &path, err);
        if (!code && index) code = read_index(m, folder, path.ptr, err);
        else if (!code)
            code = err_set(err, ERR_FORMAT, "%s: there is neither model.safetensors nor model.safetensors.index.json in this folder",
                           folder);
    }
    buf_free(&path);
    return code;
}
