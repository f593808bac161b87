/* What a session remembers: delta-rule and convolution state of the linear layers, keys and values of the full ones. */
#include "forward/inside.h"

#include <string.h>

ForwardState *forward_state_new(const Forward *f, Err *err) {
    ForwardState *s = MEM_NEW(ForwardState, 1);
    if (!s) {
        err_no_memory(err, sizeof *s, "a session");
        return NULL;
    }
    ForwardSizes sizes = forward_sizes(&f->c, 1);
    s->f = f;
    s->pages_bytes = sizes.state + sizes.kv;
    s->pages = os_pages_new(s->pages_bytes, err);
    if (!s->pages) {
        mem_free(s);
        return NULL;
    }
    uint64_t linear = 0;
    for (uint32_t l = 0; l < f->s->n_layers; l++) linear += f->c.model->layers[l].linear;
    uint64_t delta = linear * forward_delta_floats(f->s), conv = linear * forward_conv_state_floats(f->s);
    s->recurrent_bytes = (delta + conv) * sizeof(float);
    s->delta = s->pages;
    s->conv = s->delta + delta;
    if (f->c.mtp) {
        s->marked_delta = s->conv + conv;
        s->marked_conv = s->marked_delta + delta;
        s->mtp_rows = s->marked_conv + conv;
    }
    s->kv = (uint8_t *)s->pages + sizes.state;
    return s;
}

void forward_state_free(ForwardState *s) {
    if (!s) return;
    os_pages_free(s->pages, s->pages_bytes);
    mem_free(s);
}

void forward_state_clear(ForwardState *s) {
    memset(s->delta, 0, s->recurrent_bytes); /* keys and values beyond the position are never read */
    s->position = s->mtp_open = s->mtp_count = 0;
    s->broken = false;
}

uint32_t forward_state_position(const ForwardState *s) { return s->position; }

void forward_state_break(ForwardState *s) { s->broken = true; }

bool forward_state_broken(const ForwardState *s) { return s->broken; }

void forward_state_mark(ForwardState *s, uint32_t tokens) { s->mark = tokens; }

static void swap(float **a, float **b) {
    float *was = *a;
    *a = *b;
    *b = was;
}

/* The two states change places: what is taken back is never needed again. Keys and values beyond the position are overwritten. */
void forward_state_back(ForwardState *s) {
    uint32_t taken = s->position - s->marked_position;
    swap(&s->delta, &s->marked_delta);
    swap(&s->conv, &s->marked_conv);
    s->position = s->marked_position;
    s->mtp_open -= taken < s->mtp_open ? taken : s->mtp_open;
}

/* ---- as bytes ---- */

/* Blocks of keys and values: [full layers, the draft layer last][2][kv_heads] runs, each of them forward_kv_blocks long. */
typedef struct KvRuns {
    uint64_t block, stride; /* bytes */
    uint64_t trunk, all;    /* runs: of the trunk, which come first; with the draft layer's */
} KvRuns;

static KvRuns kv_runs(const ForwardState *s) {
    const ForwardConfig *c = &s->f->c;
    KvRuns r = {.block = kernels_kv_bytes(c->kv_type, c->model->shape.head_dim)};
    uint64_t kv_bytes = s->pages_bytes - (uint64_t)(s->kv - (uint8_t *)s->pages);
    r.stride = forward_kv_blocks(c) * r.block;
    r.all = r.stride ? kv_bytes / r.stride : 0;
    r.trunk = r.all - (c->mtp ? 2 * (uint64_t)c->model->shape.n_kv_heads : 0);
    return r;
}

static uint32_t blocks_of(uint32_t positions) { return (positions + KERNELS_KEY_BLOCK - 1) / KERNELS_KEY_BLOCK; }

/* Runs [first, end) of blocks [from, to), block after block: to bytes or, with put, from there. */
static void copy_blocks(const ForwardState *s, uint64_t first, uint64_t end, uint32_t from, uint32_t to, uint8_t *bytes, bool put) {
    KvRuns r = kv_runs(s);
    for (uint64_t block = from; block < to; block++)
        for (uint64_t run = first; run < end; run++, bytes += r.block) {
            uint8_t *here = s->kv + run * r.stride + block * r.block;
            memcpy(put ? here : bytes, put ? bytes : here, r.block);
        }
}

uint64_t forward_state_keys_bytes(const Forward *f) {
    uint64_t full = 0;
    for (uint32_t l = 0; l < f->s->n_layers; l++) full += !f->c.model->layers[l].linear;
    return full * 2 * f->s->n_kv_heads * kernels_kv_bytes(f->c.kv_type, f->s->head_dim);
}

void forward_state_save_keys(const ForwardState *s, uint32_t from, uint32_t to, void *bytes) {
    copy_blocks(s, 0, kv_runs(s).trunk, from, to, bytes, false);
}

void forward_state_restore_keys(ForwardState *s, uint32_t from, uint32_t to, const void *bytes) {
    copy_blocks(s, 0, kv_runs(s).trunk, from, to, (uint8_t *)(uintptr_t)bytes, true);
}

/* What the draft layer remembers: this, the hidden states of its open pairs, its keys and values. */
typedef struct SavedMtp {
    uint32_t open, count;
} SavedMtp;

static uint64_t mtp_rows_bytes(const ForwardState *s) { return FORWARD_MTP_OPEN * (uint64_t)s->f->s->hidden * sizeof(float); }

static uint64_t mtp_bytes(const ForwardState *s, uint32_t count) {
    KvRuns r = kv_runs(s);
    return sizeof(SavedMtp) + mtp_rows_bytes(s) + (r.all - r.trunk) * blocks_of(count) * r.block;
}

uint64_t forward_state_save_bytes(const ForwardState *s) {
    return s->recurrent_bytes + (s->mtp_rows ? mtp_bytes(s, s->mtp_count) : 0);
}

void forward_state_save(const ForwardState *s, void *bytes) {
    uint8_t *to = bytes;
    memcpy(to, s->delta, s->recurrent_bytes);
    to += s->recurrent_bytes;
    if (!s->mtp_rows) return;
    SavedMtp saved = {s->mtp_open, s->mtp_count};
    memcpy(to, &saved, sizeof saved);
    memcpy(to + sizeof saved, s->mtp_rows, mtp_rows_bytes(s));
    copy_blocks(s, kv_runs(s).trunk, kv_runs(s).all, 0, blocks_of(s->mtp_count), to + sizeof saved + mtp_rows_bytes(s), false);
}

/* Of a state that was saved without a draft layer, or by another one, the layer remembers nothing: it guesses worse for a while. */
static void restore_mtp(ForwardState *s, const uint8_t *from, uint64_t n_bytes) {
    SavedMtp saved;
    s->mtp_open = s->mtp_count = 0;
    if (!s->mtp_rows || n_bytes < sizeof saved) return;
    memcpy(&saved, from, sizeof saved);
    if (saved.open > FORWARD_MTP_OPEN || saved.count > s->f->c.ctx || n_bytes != mtp_bytes(s, saved.count)) return;
    memcpy(s->mtp_rows, from + sizeof saved, mtp_rows_bytes(s));
    copy_blocks(s, kv_runs(s).trunk, kv_runs(s).all, 0, blocks_of(saved.count),
                (uint8_t *)(uintptr_t)(from + sizeof saved + mtp_rows_bytes(s)), true);
    s->mtp_open = saved.open;
    s->mtp_count = saved.count;
}

bool forward_state_restore(ForwardState *s, const void *bytes, uint64_t n_bytes, uint32_t position) {
    if (n_bytes < s->recurrent_bytes || position > s->f->c.ctx) return false;
    memcpy(s->delta, bytes, s->recurrent_bytes);
    restore_mtp(s, (const uint8_t *)bytes + s->recurrent_bytes, n_bytes - s->recurrent_bytes);
    s->position = position;
    s->broken = false;
    return true;
}
