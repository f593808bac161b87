/* Text to ids: cut out the added tokens, bring what lies between them into NFC, split it into words, encode each word. Words
 * repeat, so a table remembers where the ids of a word seen before lie in the answer. */
#include "text/tokenizer_parts.h"

#include <string.h>
#include <xxhash.h>

enum { SEEN_BYTES = 23, SEEN_MAX = 1 << 14 };

typedef struct SeenWord {
    uint32_t at;   /* of its ids among those of this call */
    uint8_t n_ids; /* 0: an empty slot */
    uint8_t len;
    char bytes[SEEN_BYTES + 3]; /* zero behind len; 32 bytes in all */
} SeenWord;

typedef struct Encoder {
    const Tokenizer *t;
    TextIds *out;
    size_t first;     /* ids that were there before this call */
    SeenWord *seen;   /* [seen_mask + 1], a word has one place */
    size_t seen_mask;
    TextBpeScratch scratch;
    TextSplitRun run;
    Buf normal;       /* the normal form of a piece */
    Err *err;
} Encoder;

/* A byte of the text that the vocabulary cannot express. */
static ErrCode missing_byte(Encoder *e, const char *piece, size_t at, size_t offset) {
    unsigned byte = (unsigned char)piece[at];
    char shown[8] = "";
    if (byte >= 0x20 && byte < 0x7F) {
        shown[0] = ' ', shown[1] = '\'', shown[2] = (char)byte, shown[3] = '\'';
    }
    return err_set(e->err, ERR_RANGE, "the vocabulary has no token for the byte 0x%02X%s, found near byte %zu of the text", byte,
                   shown, offset + at);
}

static ErrCode encode_word(Encoder *e, const char *piece, size_t at, size_t n, size_t offset) {
    const char *word = piece + at;
    SeenWord *seen = NULL;
    TextIds *out = e->out;
    if (n <= SEEN_BYTES) {
        seen = &e->seen[XXH3_64bits(word, n) & e->seen_mask];
        if (seen->n_ids && seen->len == n && memcmp(seen->bytes, word, n) == 0) {
            if (!text_ids_room(out, seen->n_ids)) return err_no_memory(e->err, (uint64_t)out->n * 8, "the ids of a text");
            memcpy(out->ids + out->n, out->ids + e->first + seen->at, seen->n_ids * sizeof *out->ids);
            out->n += seen->n_ids;
            return ERR_OK;
        }
    }
    size_t before = out->n, missing = SIZE_MAX;
    ErrCode code = text_bpe_word(&e->t->bpe, &e->scratch, word, n, out, &missing, e->err);
    if (code == ERR_RANGE && missing != SIZE_MAX) return missing_byte(e, piece, at + missing, offset);
    if (code == ERR_OK && seen && before - e->first <= UINT32_MAX) {
        seen->at = (uint32_t)(before - e->first);
        seen->n_ids = (uint8_t)(out->n - before);
        seen->len = (uint8_t)n;
        memcpy(seen->bytes, word, n);
    }
    return code;
}

/* A piece without added tokens, found at `offset` of the text. */
static ErrCode encode_piece(Encoder *e, const char *piece, size_t len, size_t offset) {
    if (!len) return ERR_OK;
    if (e->t->nfc) {
        bool changed;
        buf_clear(&e->normal);
        ErrCode code = text_nfc(piece, len, &e->normal, &changed, e->err);
        if (code != ERR_OK) return code;
        if (changed) {
            piece = e->normal.ptr;
            len = e->normal.len;
        }
    }
    text_split_text(&e->run, piece, len);
    for (;;) {
        size_t at = 0, n;
        ErrCode code = text_split_next(&e->run, &at, &n, e->err);
        if (code != ERR_OK || !n) return code;
        code = encode_word(e, piece, at, n, offset);
        if (code != ERR_OK) return code;
    }
}

static ErrCode encode_all(Encoder *e, const char *text, size_t len, unsigned flags) {
    size_t done = 0;
    while (!(flags & TEXT_NO_SPECIAL)) {
        size_t at, n;
        int32_t id = text_added_find(&e->t->added, text, len, done, &at, &n);
        if (id < 0) break;
        ErrCode code = encode_piece(e, text + done, at - done, done);
        if (code != ERR_OK) return code;
        if (!text_ids_room(e->out, 1)) return err_no_memory(e->err, (uint64_t)e->out->n * 8, "the ids of a text");
        e->out->ids[e->out->n++] = id;
        done = at + n;
    }
    return encode_piece(e, text + done, len - done, done);
}

ErrCode text_encode(const Tokenizer *t, const char *text, size_t len, unsigned flags, TextIds *out, Err *err) {
    if (!len) return ERR_OK;
    size_t valid = text_utf8_prefix(text, len);
    if (valid < len) return err_set(err, ERR_FORMAT, "the text is not valid UTF-8 at byte %zu", valid);
    Encoder e = {.t = t, .out = out, .first = out->n, .err = err};
    size_t n_seen = 16;
    while (n_seen < SEEN_MAX && n_seen * 8 < len) n_seen *= 2;
    e.seen = MEM_NEW(SeenWord, n_seen);
    e.seen_mask = n_seen - 1;
    ErrCode code = e.seen ? text_split_begin(&e.run, &t->splitter, len, err)
                          : err_no_memory(err, n_seen * sizeof *e.seen, "the words of a text");
    if (code == ERR_OK) code = encode_all(&e, text, len, flags);
    if (code != ERR_OK) out->n = e.first; /* all or nothing */
    text_split_end(&e.run);
    text_bpe_scratch_free(&e.scratch);
    buf_free(&e.normal);
    mem_free(e.seen);
    return code;
}

void text_ids_free(TextIds *ids) {
    mem_free(ids->ids);
    memset(ids, 0, sizeof *ids);
}
