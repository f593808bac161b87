/* What the two files of full attention share: its buffers, and the way from one to the other. */
#ifndef FORWARD_ATTENTION_H
#define FORWARD_ATTENTION_H

#include "forward/inside.h"

typedef struct Attention {
    float *inv_freq;         /* [rotary / 2] */
    float *cosines, *sines;  /* [chunk][rotary / 2] */
    Rows o;                  /* [chunk][heads * head_dim] input of the output projection */
    /* passing */
    float *q;                /* [chunk][heads * head_dim * 2] queries and gates; without gates [heads * head_dim] */
    float *k, *v;            /* [chunk][kv_heads * head_dim] */
    float *parts;            /* [few tokens][heads][1 + blocks of a round][head_dim + 2]: attend.c */
} Attention;

static inline Attention *forward_attention_of(const Forward *f) { return f->mixers[MODEL_MIXER_FULL]; }

/* Its lists are [keys, values][kv_heads]. */
ForwardLists forward_attention_lists(const ForwardConfig *c);
static inline uint64_t forward_kv_block(const ForwardConfig *c, uint32_t kv_head, uint32_t block) {
    return forward_list_block(c, forward_attention_lists(c), kv_head, block);
}
static inline uint8_t *forward_keys(const ForwardState *s, const LayerAt *at) { return s->lists + at->lists_at; }
static inline uint8_t *forward_values(const ForwardState *s, const LayerAt *at) {
    return forward_keys(s, at) + forward_kv_block(&s->f->c, s->f->s->n_kv_heads, 0);
}

/* attend.c: turned queries against a layer's keys and values, into o; and the memory it takes, per thread and once. */
void forward_attend(Forward *f, const LayerAt *at);
uint64_t forward_attend_scratch_floats(const ForwardConfig *c);
uint64_t forward_attend_parts_floats(const ForwardConfig *c);

#endif
