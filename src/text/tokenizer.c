/* Building a Tokenizer from arrays, and the small questions one can ask it. */
#include "text/tokenizer_parts.h"

#include <limits.h>
#include <string.h>

enum { SHOWN = 60 }; /* bytes of a token that an error message quotes */

#define SHOW(s) ((s).len > SHOWN ? SHOWN : (int)(s).len), (s).ptr

static bool is_added(uint8_t kind) { return kind == TEXT_TOKEN_ADDED || kind == TEXT_TOKEN_SPECIAL; }

static Str token_bytes(const Tokenizer *t, uint32_t id) {
    return str_make(t->bytes + t->starts[id], t->starts[id + 1] - t->starts[id]);
}

/* ---- tokens ---- */

static ErrCode check_tokens(const TextSpec *spec, uint64_t *total, Err *err) {
    if (!spec->n_tokens || !spec->tokens || !spec->kinds) return err_set(err, ERR_FORMAT, "the tokenizer has no tokens");
    if (spec->n_tokens > INT32_MAX) return err_set(err, ERR_RANGE, "%u tokens are more than ids can count", spec->n_tokens);
    if (spec->n_merges && !spec->merges) return err_set(err, ERR_FORMAT, "the tokenizer has no merges");
    *total = 0;
    for (uint32_t id = 0; id < spec->n_tokens; id++) {
        Str token = spec->tokens[id];
        if (spec->kinds[id] > TEXT_TOKEN_UNUSED)
            return err_set(err, ERR_FORMAT, "token %u is of unknown kind %d", id, spec->kinds[id]);
        if (spec->kinds[id] == TEXT_TOKEN_UNUSED) continue;
        if (!utf8_valid(token.ptr, token.len)) return err_set(err, ERR_FORMAT, "token %u is not valid UTF-8", id);
        if (!add_u64(*total, token.len, total) || *total > UINT32_MAX - 1)
            return err_set(err, ERR_RANGE, "the texts of the tokens are more than 4 GiB");
    }
    return ERR_OK;
}

/* Copies the tokens, normal ones as the bytes they stand for, and enters these into `ids`. A normal token with a character
 * outside the byte alphabet can never come out of a text; it decodes to itself. */
static ErrCode copy_tokens(Tokenizer *t, const TextSpec *spec, uint64_t total, StrMap *ids, Err *err) {
    t->starts = mem_resize(NULL, (size_t)spec->n_tokens + 1, sizeof *t->starts);
    t->bytes = mem_resize(NULL, (size_t)total, 1);
    t->kinds = mem_resize(NULL, spec->n_tokens, 1);
    if (!t->starts || !t->bytes || !t->kinds || !strmap_reserve(ids, spec->n_tokens))
        return err_no_memory(err, total + (uint64_t)spec->n_tokens * 32, "the tokens");
    memcpy(t->kinds, spec->kinds, spec->n_tokens);
    t->n_tokens = spec->n_tokens;
    uint32_t at = 0;
    for (uint32_t id = 0; id < spec->n_tokens; id++) {
        Str token = spec->tokens[id];
        uint8_t kind = spec->kinds[id];
        size_t n = 0;
        t->starts[id] = at;
        bool in_alphabet = kind == TEXT_TOKEN_NORMAL && text_alphabet_bytes(token, t->bytes + at, &n);
        if (!in_alphabet && kind != TEXT_TOKEN_UNUSED && (n = token.len) != 0) memcpy(t->bytes + at, token.ptr, n);
        Str bytes = str_make(t->bytes + at, n);
        at += (uint32_t)n;
        if (is_added(kind)) {
            ErrCode code = text_added_put(&t->added, bytes, (int32_t)id, err);
            if (code != ERR_OK) return code;
        }
        bool existed = false;
        if (in_alphabet && !strmap_put(ids, bytes, id, &existed)) {
            uint32_t first = 0;
            if (!existed) return err_no_memory(err, (uint64_t)spec->n_tokens * 32, "the tokens");
            strmap_get(ids, bytes, &first);
            return err_set(err, ERR_FORMAT, "tokens %u and %u are the same, \"%.*s\"", first, id, SHOW(token));
        }
    }
    t->starts[spec->n_tokens] = at;
    return ERR_OK;
}

/* ---- merges ---- */

/* The id of a run of bytes: a normal token, or an added one that is also part of the vocabulary. */
static bool id_of(const Tokenizer *t, const StrMap *ids, Str bytes, uint32_t *id) {
    if (strmap_get(ids, bytes, id)) return true;
    int32_t added = text_added_get(&t->added, bytes);
    *id = (uint32_t)added;
    return added >= 0;
}

static ErrCode add_merge(Tokenizer *t, const TextSpec *spec, const StrMap *ids, uint32_t rank, Buf *scratch, Err *err) {
    Str part[2] = {spec->merges[rank][0], spec->merges[rank][1]};
    uint32_t id[2];
    buf_clear(scratch);
    for (int side = 0; side < 2; side++) {
        char small[256];
        char *room = part[side].len <= sizeof small ? small : mem_new(part[side].len, 1);
        size_t n = 0;
        if (!room) return err_no_memory(err, part[side].len, "a merge");
        bool known = part[side].len && text_alphabet_bytes(part[side], room, &n) && id_of(t, ids, str_make(room, n), &id[side]);
        buf_put(scratch, room, n);
        if (room != small) mem_free(room);
        if (!known)
            return err_set(err, ERR_FORMAT, "merge %u names \"%.*s\", which is no token of the vocabulary", rank, SHOW(part[side]));
    }
    if (scratch->failed) return err_no_memory(err, part[0].len + part[1].len, "a merge");
    TextMerge merge = {id[0], id[1], rank, 0};
    if (!id_of(t, ids, str_make(scratch->ptr, scratch->len), &merge.id))
        return err_set(err, ERR_FORMAT, "merge %u makes \"%.*s%.*s\", which is no token of the vocabulary", rank, SHOW(part[0]),
                       SHOW(part[1]));
    uint32_t other;
    if (!text_bpe_put(&t->bpe, merge, &other))
        return err_set(err, ERR_FORMAT, "merges %u and %u are the same, \"%.*s\" + \"%.*s\"", other, rank, SHOW(part[0]),
                       SHOW(part[1]));
    return ERR_OK;
}

static ErrCode add_merges(Tokenizer *t, const TextSpec *spec, const StrMap *ids, Err *err) {
    ErrCode code = text_bpe_new(&t->bpe, spec->n_merges, err);
    if (code != ERR_OK) return code;
    for (unsigned byte = 0; byte < 256; byte++) {
        char c = (char)byte;
        uint32_t id;
        if (id_of(t, ids, str_make(&c, 1), &id)) t->bpe.byte_ids[byte] = (int32_t)id;
    }
    Buf scratch = {0};
    for (uint32_t rank = 0; rank < spec->n_merges && code == ERR_OK; rank++)
        code = add_merge(t, spec, ids, rank, &scratch, err);
    buf_free(&scratch);
    return code;
}

/* ---- the door ---- */

Tokenizer *text_tokenizer_new(const TextSpec *spec, Err *err) {
    uint64_t total = 0;
    if (check_tokens(spec, &total, err) != ERR_OK) return NULL;
    Tokenizer *t = MEM_NEW(Tokenizer, 1);
    if (!t) {
        err_no_memory(err, sizeof *t, "a tokenizer");
        return NULL;
    }
    t->nfc = spec->nfc;
    StrMap ids = {0}; /* needed to resolve the merges, not afterwards */
    ErrCode code = copy_tokens(t, spec, total, &ids, err);
    if (code == ERR_OK) code = add_merges(t, spec, &ids, err);
    if (code == ERR_OK) code = text_splitter_new(&t->splitter, spec->split, spec->split_pattern, err);
    strmap_free(&ids);
    if (code == ERR_OK) return t;
    text_tokenizer_free(t);
    return NULL;
}

void text_tokenizer_free(Tokenizer *t) {
    if (!t) return;
    text_splitter_free(&t->splitter);
    text_added_free(&t->added);
    text_bpe_free(&t->bpe);
    mem_free(t->starts);
    mem_free(t->bytes);
    mem_free(t->kinds);
    mem_free(t);
}

uint64_t text_tokenizer_bytes(const Tokenizer *t) {
    uint64_t tokens = ((uint64_t)t->n_tokens + 1) * sizeof *t->starts + t->starts[t->n_tokens] + t->n_tokens;
    uint64_t added = (uint64_t)t->added.cap * sizeof *t->added.nodes;
    return sizeof *t + tokens + added + text_bpe_bytes(&t->bpe) + text_splitter_bytes(&t->splitter);
}

uint32_t text_token_count(const Tokenizer *t) { return t->n_tokens; }

bool text_token_id(const Tokenizer *t, const char *token, int32_t *id) {
    int32_t found = text_added_get(&t->added, str_c(token));
    if (found >= 0) *id = found;
    return found >= 0;
}

bool text_token_is_special(const Tokenizer *t, int32_t id) {
    return id >= 0 && (uint32_t)id < t->n_tokens && t->kinds[id] == TEXT_TOKEN_SPECIAL;
}

bool text_token_is_added(const Tokenizer *t, int32_t id) {
    return id >= 0 && (uint32_t)id < t->n_tokens && (t->kinds[id] == TEXT_TOKEN_SPECIAL || t->kinds[id] == TEXT_TOKEN_ADDED);
}

Str text_token_bytes(const Tokenizer *t, int32_t id) {
    if (id < 0 || (uint32_t)id >= t->n_tokens || t->kinds[id] == TEXT_TOKEN_UNUSED) return str_make("", 0);
    return token_bytes(t, (uint32_t)id);
}

bool text_decode(const Tokenizer *t, int32_t id, bool skip_special, Buf *out) {
    if (id < 0 || (uint32_t)id >= t->n_tokens || t->kinds[id] == TEXT_TOKEN_UNUSED) return false;
    Str bytes = token_bytes(t, (uint32_t)id);
    if (!skip_special || t->kinds[id] != TEXT_TOKEN_SPECIAL) buf_put(out, bytes.ptr, bytes.len);
    return true;
}
