#include "support/grammar_rig.h"
#include "support/support.h"

#include "format/format.h"
#include "model/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

GrammarRig *grammar_rig_new(void) {
    Err err = {0};
    GrammarRig *r = calloc(1, sizeof *r);
    FormatModel *f = format_open(source_path("data/tiny-tales.gguf"), &err);
    Model *m = f ? model_new(f, &err) : NULL;
    if (!m) fail_msg("%s", err.text);
    r->n = text_token_count(m->tokenizer);
    r->stop = m->stop_ids[0];
    r->tokens = calloc(r->n, sizeof *r->tokens);
    for (uint32_t i = 0; i < r->n; i++) {
        size_t from = r->bytes.len;
        text_decode(m->tokenizer, (int32_t)i, true, &r->bytes);
        r->tokens[i].len = r->bytes.len - from;
    }
    size_t at = 0;
    for (uint32_t i = 0; i < r->n; i++) {
        r->tokens[i].ptr = r->bytes.ptr + at;
        at += r->tokens[i].len;
    }
    r->vocab = grammar_vocab_new(r->tokens, r->n, &err);
    assert_non_null(r->vocab);
    model_free(m);
    format_close(f);
    return r;
}

void grammar_rig_free(GrammarRig *r) {
    grammar_vocab_free(r->vocab);
    buf_free(&r->bytes);
    free(r->tokens);
    free(r);
}

bool grammar_takes(const Grammar *g, const char *text, size_t len) {
    GrammarState *s = grammar_state_new(g, NULL);
    assert_non_null(s);
    bool taken = grammar_accept(s, text, len) && grammar_may_end(s);
    grammar_state_free(s);
    return taken;
}

void grammar_expect_mask(const GrammarRig *r, const Grammar *g, GrammarMasks *m, const GrammarState *s) {
    uint32_t *mask = calloc((r->n + 31) / 32, sizeof *mask);
    GrammarState *try = grammar_state_new(g, NULL);
    bool any = false;
    assert_non_null(mask);
    bool said = grammar_mask(m, s, mask);
    for (uint32_t i = 0; i < r->n; i++) {
        bool allowed = mask[i / 32] >> i % 32 & 1, right = false;
        if (r->tokens[i].len > 0) {
            grammar_state_set(try, s);
            right = grammar_accept(try, r->tokens[i].ptr, r->tokens[i].len);
        } else if ((int32_t)i == r->stop) {
            right = grammar_may_end(s);
        }
        any = any || right;
        if (allowed != right)
            fail_msg("token %u \"%.*s\" is %s", i, (int)r->tokens[i].len, r->tokens[i].ptr, right ? "missing" : "allowed");
    }
    assert_true(any);
    assert_true(said == any);
    grammar_state_free(try);
    free(mask);
}

void grammar_expect_masks_along(const GrammarRig *r, const Grammar *g, GrammarMasks *m, const char *text, size_t step) {
    GrammarState *s = grammar_state_new(g, NULL);
    for (size_t i = 0; i <= strlen(text); i++) {
        if (i % step == 0) grammar_expect_mask(r, g, m, s);
        if (i < strlen(text) && !grammar_accept(s, text + i, 1)) fail_msg("%s: not taken from byte %zu on", text, i);
    }
    grammar_state_free(s);
}

/* A random one of the mask's tokens; the least of `tries` by what is missing to an end afterwards. */
static int32_t pick(const GrammarRig *r, const uint32_t *mask, const GrammarState *s, GrammarState *try, Xoshiro *rng, bool nearest) {
    uint32_t best = UINT32_MAX, n_allowed = 0;
    int32_t picked = -1;
    for (uint32_t i = 0; i < r->n; i++)
        if (mask[i / 32] >> i % 32 & 1) n_allowed++;
    assert_true(n_allowed > 0);
    uint64_t skip = xoshiro_next(rng) % n_allowed;
    for (uint32_t i = 0; i < r->n; i++) {
        if (!(mask[i / 32] >> i % 32 & 1)) continue;
        if (!nearest) {
            if (skip-- == 0) return (int32_t)i;
            continue;
        }
        if ((int32_t)i == r->stop) return r->stop;
        grammar_state_set(try, s);
        assert_true(grammar_accept(try, r->tokens[i].ptr, r->tokens[i].len));
        if (grammar_shortest_end(try) < best) best = grammar_shortest_end(try), picked = (int32_t)i;
    }
    return picked;
}

void grammar_random_text(const GrammarRig *r, const Grammar *g, GrammarMasks *m, uint64_t seed, int patience, Buf *out) {
    Xoshiro rng;
    uint32_t *mask = calloc((r->n + 31) / 32, sizeof *mask);
    GrammarState *s = grammar_state_new(g, NULL), *try = grammar_state_new(g, NULL);
    xoshiro_seed(&rng, seed);
    buf_clear(out);
    for (int i = 0;; i++) {
        if (i > patience + 2000) fail_msg("does not end: %.*s", (int)out->len, out->ptr);
        assert_true(grammar_mask(m, s, mask));
        int32_t id = pick(r, mask, s, try, &rng, i >= patience);
        if (id == r->stop) break;
        Str t = r->tokens[id];
        assert_true(grammar_accept(s, t.ptr, t.len));
        buf_put(out, t.ptr, t.len);
    }
    assert_true(grammar_may_end(s));
    grammar_state_free(s);
    grammar_state_free(try);
    free(mask);
}
