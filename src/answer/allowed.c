/* Which tokens may come, where a grammar says what the content is. Reasoning is free of it, if the prompt has opened it or the model
 * opens it first; it has to be closed before the turn may end. A prompt that has closed it wants none: then it is not opened again. */
#include "answer/inside.h"

#include <string.h>

struct AnswerAllowed {
    GrammarState *state;
    GrammarMasks *masks;    /* the caller's */
    uint32_t *mask;         /* [(vocab + 31) / 32] */
    uint32_t *no_stop;      /* of the same size: all but the tokens that end a turn */
    size_t words;
    enum { BEGINNING, THINKING, BEHIND, CONTENT } place; /* BEHIND: where the newlines behind reasoning stand */
    int32_t think, newlines[2];
};

int32_t answer_token_of(const sluice_model *model, const char *text) {
    int32_t *ids = NULL, id = -1;
    size_t n;
    if (!sluice_tokenize(model, text, strlen(text), 0, &ids, &n, NULL) && n == 1) id = ids[0];
    sluice_free(ids);
    return id;
}

static void allow(uint32_t *mask, int32_t id) {
    if (id >= 0) mask[id / 32] |= UINT32_C(1) << id % 32;
}

AnswerAllowed *answer_allowed_new(const AnswerSpec *spec, int vocab, Err *err) {
    AnswerAllowed *w = MEM_NEW(AnswerAllowed, 1);
    if (!w) {
        err_no_memory(err, sizeof *w, "an answer");
        return NULL;
    }
    w->words = ((size_t)vocab + 31) / 32;
    w->masks = spec->masks;
    w->mask = MEM_NEW(uint32_t, w->words);
    w->no_stop = MEM_NEW(uint32_t, w->words);
    w->state = grammar_state_new(spec->grammar, err);
    if (!w->mask || !w->no_stop) err_no_memory(err, 8 * w->words, "an answer");
    if (!w->state || !w->mask || !w->no_stop) {
        answer_allowed_free(w);
        return NULL;
    }
    for (int32_t id = 0; id < vocab; id++)
        if (!sluice_is_stop(spec->model, id)) allow(w->no_stop, id);
    for (size_t i = 0; i < spec->n_stop_ids; i++) w->no_stop[spec->stop_ids[i] / 32] &= ~(UINT32_C(1) << spec->stop_ids[i] % 32);
    w->think = answer_token_of(spec->model, "<think>");
    w->newlines[0] = answer_token_of(spec->model, "\n");
    w->newlines[1] = answer_token_of(spec->model, "\n\n");
    bool thinks = spec->parts && spec->parts->thinks && !spec->parts->behind_think;
    w->place = !thinks ? CONTENT : spec->parts->inside_think ? THINKING : BEGINNING;
    return w;
}

void answer_allowed_free(AnswerAllowed *w) {
    if (!w) return;
    grammar_state_free(w->state);
    mem_free(w->mask);
    mem_free(w->no_stop);
    mem_free(w);
}

const uint32_t *answer_allowed_mask(AnswerAllowed *w) {
    if (w->place == THINKING) return w->no_stop;
    if (!grammar_mask(w->masks, w->state, w->mask)) memset(w->mask, 0, w->words * sizeof *w->mask);
    if (w->place == BEGINNING) allow(w->mask, w->think);
    for (int i = 0; w->place == BEHIND && i < 2; i++) allow(w->mask, w->newlines[i]);
    return w->mask;
}

bool answer_allowed_take(AnswerAllowed *w, int32_t id, Str bytes, bool thinking, Str behind) {
    if (w->place == BEGINNING && id == w->think) {
        w->place = THINKING;
        return true;
    }
    if (w->place == THINKING) {
        if (thinking) return true;
        w->place = behind.len ? CONTENT : BEHIND;
        return grammar_accept(w->state, behind.ptr, behind.len);
    }
    bool newlines = w->place == BEHIND && (id == w->newlines[0] || id == w->newlines[1]);
    w->place = CONTENT;
    return newlines || grammar_accept(w->state, bytes.ptr, bytes.len);
}

/* ---- what a model brings for every grammar ------------------------------------------------------------------------- */

/* Of the special tokens only those are text that stand in calls. */
GrammarVocab *answer_vocab_new(const sluice_model *model, Err *err) {
    sluice_info info;
    sluice_get_info(model, &info);
    const char *source = sluice_chat_template(model);
    TextForm form = source ? text_calls_form(str_c(source)) : TEXT_FORM_NONE;
    Buf bytes = {0};
    size_t n = (size_t)info.vocab, at = 0;
    Str *tokens = MEM_NEW(Str, n);
    for (size_t i = 0; tokens && i < n; i++) {
        answer_token_bytes(model, (int32_t)i, &bytes);
        Str token = str_make(bytes.ptr ? bytes.ptr + at : "", bytes.len - at);
        if (sluice_is_stop(model, (int32_t)i) || (sluice_is_special(model, (int32_t)i) && !text_calls_is_tag(form, token))) bytes.len = at;
        tokens[i].len = bytes.len - at;
        at = bytes.len;
    }
    GrammarVocab *vocab = NULL;
    if (!tokens || bytes.failed) err_no_memory(err, n * sizeof *tokens + bytes.len, "the vocabulary");
    else {
        at = 0;
        for (size_t i = 0; i < n; at += tokens[i++].len) tokens[i].ptr = bytes.ptr + at;
        vocab = grammar_vocab_new(tokens, (uint32_t)n, err);
    }
    mem_free(tokens);
    buf_free(&bytes);
    return vocab;
}

GrammarMasks *answer_masks_new(const sluice_model *model, const Grammar *grammar, const GrammarVocab *vocab, Err *err) {
    sluice_info info;
    sluice_get_info(model, &info);
    int32_t stops[64];
    size_t n = 0;
    for (int32_t id = 0; id < info.vocab && n < COUNT_OF(stops); id++)
        if (sluice_is_stop(model, id)) stops[n++] = id;
    return grammar_masks_new(grammar, vocab, stops, n, err);
}
