/* The tokens of a model as tries, once per model.
 *
 * Inside a string nearly every token may come. So the vocabulary knows beforehand which tokens are plain text, and keeps the others in
 * a trie of their own: there a mask is those that are plain, and a walk over the few that are not. */
#include "grammar/program.h"

#include <stdlib.h>
#include <string.h>

typedef struct Token {
    const uint8_t *bytes;
    uint32_t len, id;
} Token;

static int by_bytes(const void *a, const void *b) {
    const Token *x = a, *y = b;
    uint32_t least = x->len < y->len ? x->len : y->len;
    int order = memcmp(x->bytes, y->bytes, least);
    if (order) return order;
    if (x->len != y->len) return x->len < y->len ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

static uint32_t common(const Token *a, const Token *b) {
    uint32_t n = 0;
    while (n < a->len && n < b->len && a->bytes[n] == b->bytes[n]) n++;
    return n;
}

/* Tokens in order, [n]. */
static bool trie_make(GrammarTrie *t, const Token *tokens, uint32_t n) {
    uint32_t n_nodes = 0;
    for (uint32_t i = 0; i < n; i++) n_nodes += tokens[i].len - (i ? common(&tokens[i - 1], &tokens[i]) : 0);
    t->nodes = MEM_NEW(GrammarTrieNode, (size_t)n_nodes + 1);
    t->tokens = MEM_NEW(uint32_t, n);
    if (!t->nodes || !t->tokens) return false;
    uint32_t open[GRAMMAR_MAX_TOKEN + 1]; /* [depth] the node whose end is not known yet */
    uint32_t depth = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t shared = i ? common(&tokens[i - 1], &tokens[i]) : 0;
        for (; depth > shared; depth--) t->nodes[open[depth]].skip = t->n_nodes;
        for (; depth < tokens[i].len; t->n_nodes++) {
            uint8_t byte = tokens[i].bytes[depth++];
            open[depth] = t->n_nodes;
            t->nodes[t->n_nodes] = (GrammarTrieNode){.first = i, .byte = byte, .depth = (uint8_t)depth};
        }
        t->tokens[t->n_tokens++] = tokens[i].id;
    }
    for (; depth > 0; depth--) t->nodes[open[depth]].skip = t->n_nodes;
    t->nodes[t->n_nodes].first = n;
    return true;
}

/* Is it text that the loop of that kind reads from one character into another (perhaps not all of its last one)? */
static bool is_plain(GrammarText kind, const Token *t) {
    char whole[GRAMMAR_MAX_TOKEN + 4] = {0};
    for (uint32_t i = 0; i < t->len; i++) {
        uint8_t c = t->bytes[i];
        if (kind == GRAMMAR_TEXT_JSON ? c < 0x20 || c == '"' || c == '\\' : c == '\n') return false;
    }
    memcpy(whole, t->bytes, t->len);
    for (uint32_t missing = 0; missing <= 3; missing++) { /* the least bytes that may follow the lead: 80, but for E0 and F0 */
        if (utf8_valid(whole, t->len + missing)) return true;
        uint8_t last = (uint8_t)whole[t->len + missing - 1];
        whole[t->len + missing] = (char)(last == 0xE0 ? 0xA0 : last == 0xF0 ? 0x90 : 0x80);
    }
    return false;
}

static int by_length(const void *a, const void *b) {
    const GrammarLength *x = a, *y = b;
    if (x->n_chars != y->n_chars) return x->n_chars > y->n_chars ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

static uint32_t count_chars(const Token *t) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < t->len; i++) n += (t->bytes[i] & 0xC0) != 0x80;
    return n;
}

static bool split_plain(GrammarVocab *v, GrammarText kind, const Token *tokens, Token *others, uint32_t n) {
    GrammarPlain *p = &v->plain[kind];
    uint32_t n_others = 0;
    p->mask = MEM_NEW(uint32_t, v->n_words);
    p->by_length = MEM_NEW(GrammarLength, n);
    if (!p->mask || !p->by_length) return false;
    for (uint32_t i = 0; i < n; i++) {
        if (!is_plain(kind, &tokens[i])) {
            others[n_others++] = tokens[i];
            continue;
        }
        p->mask[tokens[i].id / 32] |= UINT32_C(1) << tokens[i].id % 32;
        p->by_length[p->n++] = (GrammarLength){tokens[i].id, count_chars(&tokens[i])};
    }
    qsort(p->by_length, p->n, sizeof *p->by_length, by_length);
    return trie_make(&v->rest[kind], others, n_others);
}

static uint64_t trie_bytes(const GrammarTrie *t) {
    return ((uint64_t)t->n_nodes + 1) * sizeof *t->nodes + (uint64_t)t->n_tokens * sizeof *t->tokens;
}

GrammarVocab *grammar_vocab_new(const Str *tokens, uint32_t n_tokens, Err *err) {
    GrammarVocab *v = MEM_NEW(GrammarVocab, 1);
    Token *sorted = MEM_NEW(Token, n_tokens), *others = MEM_NEW(Token, n_tokens);
    bool ok = v && sorted && others;
    uint32_t n = 0;
    if (ok) {
        v->n_tokens = n_tokens;
        v->n_words = n_tokens / 32 + (n_tokens % 32 != 0);
        for (uint32_t i = 0; i < n_tokens; i++) {
            if (tokens[i].len == 0 || tokens[i].len > GRAMMAR_MAX_TOKEN) continue;
            sorted[n++] = (Token){(const uint8_t *)tokens[i].ptr, (uint32_t)tokens[i].len, i};
            if (tokens[i].len > v->longest) v->longest = (uint32_t)tokens[i].len;
        }
        qsort(sorted, n, sizeof *sorted, by_bytes);
        ok = trie_make(&v->all, sorted, n);
        for (int k = GRAMMAR_TEXT_JSON; ok && k < GRAMMAR_N_TEXTS; k++) ok = split_plain(v, (GrammarText)k, sorted, others, n);
    }
    mem_free(sorted);
    mem_free(others);
    if (!ok) {
        grammar_vocab_free(v);
        err_no_memory(err, (uint64_t)n_tokens * 64, "the vocabulary of a grammar");
        return NULL;
    }
    v->bytes = sizeof *v + trie_bytes(&v->all);
    for (int k = GRAMMAR_TEXT_JSON; k < GRAMMAR_N_TEXTS; k++)
        v->bytes += trie_bytes(&v->rest[k]) + (uint64_t)v->n_words * 4 + (uint64_t)n * sizeof(GrammarLength);
    return v;
}

void grammar_vocab_free(GrammarVocab *v) {
    if (!v) return;
    mem_free(v->all.nodes);
    mem_free(v->all.tokens);
    for (int k = 0; k < GRAMMAR_N_TEXTS; k++) {
        mem_free(v->rest[k].nodes);
        mem_free(v->rest[k].tokens);
        mem_free(v->plain[k].mask);
        mem_free(v->plain[k].by_length);
    }
    mem_free(v);
}

uint64_t grammar_vocab_bytes(const GrammarVocab *v) { return v->bytes; }

uint64_t grammar_vocab_bytes_at_most(uint32_t n_tokens, uint64_t token_bytes) {
    uint64_t tries = GRAMMAR_N_TEXTS; /* all of them, and the rest for each kind of text */
    uint64_t words = (uint64_t)n_tokens / 32 + 1;
    uint64_t trie = (token_bytes + 1) * sizeof(GrammarTrieNode) + (uint64_t)n_tokens * 4;
    return sizeof(GrammarVocab) + tries * (trie + words * 4 + (uint64_t)n_tokens * sizeof(GrammarLength));
}
