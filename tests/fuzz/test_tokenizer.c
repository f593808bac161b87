/* Text to ids and back, and tokenizers as files have them (src/text/bpe.c, split.c, nfc.c, added.c, encode.c, tokenizer*.c).
 *
 * Input: a byte for the kind, then a text (even kinds: for the tokenizer that is built in), or a tokenizer.json, and after a line "----"
 * a text.
 * Property: a sentence or ids; of the built-in one they spell the text (in NFC), and that text has the same ids again. */
#include "fuzz/fuzz.h"

#include "format/format.h"
#include "model/model.h"

static Model *model;

static void open_once(void) {
    Err err = {0};
    FormatModel *f = format_open(source_path("data/tiny-tales.gguf"), &err);
    model = f ? model_new(f, &err) : NULL;
    if (!model) fail_msg("%s", err.text);
}

static void spell(const Tokenizer *t, const TextIds *ids, Buf *out) {
    for (size_t i = 0; i < ids->n; i++)
        if (!text_decode(t, ids->ids[i], false, out)) fail_msg("no token has id %d", ids->ids[i]);
}

static void check_round(const Tokenizer *t, Str text, unsigned flags, bool spells) {
    TextIds ids = {0}, again = {0};
    Buf once = {0}, twice = {0};
    Err err = {0};
    ErrCode code = text_encode(t, text.ptr, text.len, flags, &ids, &err);
    if (code) fuzz_sentence(err.text);
    if (!code) spell(t, &ids, &once);
    if (!code && spells) {
        if (!utf8_valid(text.ptr, text.len)) fail_msg("ids of what is no UTF-8");
        assert_int_equal(text_encode(t, once.ptr ? once.ptr : "", once.len, flags, &again, &err), ERR_OK);
        spell(t, &again, &twice);
        assert_int_equal(ids.n, again.n);
        if (ids.n) assert_memory_equal(ids.ids, again.ids, ids.n * sizeof *ids.ids);
        assert_int_equal(once.len, twice.len);
        bool plain = true;
        for (size_t i = 0; i < text.len; i++) plain = plain && (unsigned char)text.ptr[i] < 0x80;
        if (plain && text.len) assert_int_equal(once.len, text.len);
        if (plain && text.len) assert_memory_equal(once.ptr, text.ptr, text.len);
    }
    text_ids_free(&ids);
    text_ids_free(&again);
    buf_free(&once);
    buf_free(&twice);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    FuzzBytes in = {bytes, n};
    if (!model) open_once();
    unsigned kind = fuzz_byte(&in);
    if (kind % 2 == 0) {
        check_round(model->tokenizer, fuzz_rest(&in), kind & 2 ? TEXT_NO_SPECIAL : 0, true);
        return 0;
    }
    Err err = {0};
    Str json = fuzz_part(&in);
    Tokenizer *t = text_tokenizer_from_json(json, str_make(NULL, 0), &err);
    if (!t) fuzz_sentence(err.text);
    else check_round(t, fuzz_rest(&in), 0, false);
    text_tokenizer_free(t);
    return 0;
}
