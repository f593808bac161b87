/* What a session remembers: what its layers change with every token, and what they keep of each position (ForwardMixer). */
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
    s->recurrent_bytes = forward_recurrent_floats(&f->c) * sizeof(float);
    s->recurrent = s->pages;
    if (f->c.mtp) {
        s->marked = s->recurrent + forward_recurrent_floats(&f->c);
        s->mtp_rows = s->marked + forward_recurrent_floats(&f->c);
    }
    s->lists = (uint8_t *)s->pages + sizes.state;
    return s;
}

void forward_state_free(ForwardState *s) {
    if (!s) return;
    os_pages_free(s->pages, s->pages_bytes);
    mem_free(s);
}

void forward_state_clear(ForwardState *s) {
    memset(s->recurrent, 0, s->recurrent_bytes); /* lists beyond the position are never read */
    s->position = s->mtp_open = s->mtp_count = 0;
    s->broken = false;
}

uint32_t forward_state_position(const ForwardState *s) { return s->position; }

void forward_state_break(ForwardState *s) { s->broken = true; }

bool forward_state_broken(const ForwardState *s) { return s->broken; }

void forward_state_mark(ForwardState *s, uint32_t tokens) { s->mark = tokens; }

/* The two states change places: what is taken back is never needed again. Keys and values beyond the position are overwritten. */
void forward_state_back(ForwardState *s) {
    uint32_t taken = s->position - s->marked_position;
    float *undone = s->recurrent;
    s->recurrent = s->marked;
    s->marked = undone;
    s->position = s->marked_position;
    s->mtp_open -= taken < s->mtp_open ? taken : s->mtp_open;
}

/* ---- as bytes ---- */

static uint32_t blocks_of(uint32_t positions) { return (positions + KERNELS_KEY_BLOCK - 1) / KERNELS_KEY_BLOCK; }

/* Blocks [from, to) of layers [first, end), block after block: to bytes or, with put, from there. */
static void copy_blocks(const ForwardState *s, uint32_t first, uint32_t end, uint32_t from, uint32_t to, uint8_t *bytes, bool put) {
    const ForwardConfig *c = &s->f->c;
    for (uint64_t block = from; block < to; block++)
        for (uint32_t l = first; l < end; l++) {
            ForwardLists lists = forward_lists_of(c, l);
            for (uint64_t list = 0; list < lists.n; list++, bytes += lists.block_bytes) {
                uint8_t *here = s->lists + s->f->layers[l].lists_at + forward_list_block(c, lists, list, block);
                memcpy(put ? here : bytes, put ? bytes : here, lists.block_bytes);
            }
        }
}

/* Of layers [first, end), one block. */
static uint64_t block_bytes(const Forward *f, uint32_t first, uint32_t end) {
    uint64_t bytes = 0;
    for (uint32_t l = first; l < end; l++) bytes += forward_lists_of(&f->c, l).n * forward_lists_of(&f->c, l).block_bytes;
    return bytes;
}

uint64_t forward_state_keys_bytes(const Forward *f) { return block_bytes(f, 0, f->s->n_layers); }

void forward_state_save_keys(const ForwardState *s, uint32_t from, uint32_t to, void *bytes) {
    copy_blocks(s, 0, s->f->s->n_layers, from, to, bytes, false);
}

void forward_state_restore_keys(ForwardState *s, uint32_t from, uint32_t to, const void *bytes) {
    copy_blocks(s, 0, s->f->s->n_layers, from, to, (uint8_t *)(uintptr_t)bytes, true);
}

/* What the draft layer remembers: this, the hidden states of its open pairs, its keys and values. */
typedef struct SavedMtp {
    uint32_t open, count;
} SavedMtp;

static uint64_t mtp_rows_bytes(const ForwardState *s) { return FORWARD_MTP_OPEN * (uint64_t)s->f->s->hidden * sizeof(float); }

static uint64_t mtp_bytes(const ForwardState *s, uint32_t count) {
    uint32_t draft = s->f->s->n_layers;
    return sizeof(SavedMtp) + mtp_rows_bytes(s) + block_bytes(s->f, draft, draft + 1) * blocks_of(count);
}

uint64_t forward_state_save_bytes(const ForwardState *s) {
    return s->recurrent_bytes + (s->mtp_rows ? mtp_bytes(s, s->mtp_count) : 0);
}

void forward_state_save(const ForwardState *s, void *bytes) {
    uint8_t *to = bytes;
    memcpy(to, s->recurrent, s->recurrent_bytes);
    to += s->recurrent_bytes;
    if (!s->mtp_rows) return;
    SavedMtp saved = {s->mtp_open, s->mtp_count};
    uint32_t draft = s->f->s->n_layers;
    memcpy(to, &saved, sizeof saved);
    memcpy(to + sizeof saved, s->mtp_rows, mtp_rows_bytes(s));
    copy_blocks(s, draft, draft + 1, 0, blocks_of(s->mtp_count), to + sizeof saved + mtp_rows_bytes(s), false);
}

/* Of a state that was saved without a draft layer, or by another one, the layer remembers nothing: it guesses worse for a while. */
static void restore_mtp(ForwardState *s, const uint8_t *from, uint64_t n_bytes) {
    SavedMtp saved;
    uint32_t draft = s->f->s->n_layers;
    s->mtp_open = s->mtp_count = 0;
    if (!s->mtp_rows || n_bytes < sizeof saved) return;
    memcpy(&saved, from, sizeof saved);
    if (saved.open > FORWARD_MTP_OPEN || saved.count > s->f->c.ctx || n_bytes != mtp_bytes(s, saved.count)) return;
    memcpy(s->mtp_rows, from + sizeof saved, mtp_rows_bytes(s));
    copy_blocks(s, draft, draft + 1, 0, blocks_of(saved.count),
                (uint8_t *)(uintptr_t)(from + sizeof saved + mtp_rows_bytes(s)), true);
    s->mtp_open = saved.open;
    s->mtp_count = saved.count;
}

bool forward_state_restore(ForwardState *s, const void *bytes, uint64_t n_bytes, uint32_t position) {
    if (n_bytes < s->recurrent_bytes || position > s->f->c.ctx) return false;
    memcpy(s->recurrent, bytes, s->recurrent_bytes);
    restore_mtp(s, (const uint8_t *)bytes + s->recurrent_bytes, n_bytes - s->recurrent_bytes);
    s->position = position;
    s->broken = false;
    return true;
}
