/* Which tensors a file of a shape holds, in what order and where; and its header. */
#include "forge/inside.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { ALIGNMENT = 32, RUN_BYTES = 16 << 10, CONV_WIDTH = 4 };

/* ---- tensors ---- */

static ErrCode grow(Forge *f, Err *err) {
    if (f->n_tensors < f->cap_tensors) return ERR_OK;
    uint32_t cap = f->cap_tensors ? f->cap_tensors * 2 : 64;
    ForgeTensor *more = mem_resize(f->tensors, cap, sizeof *more);
    if (!more) return err_no_memory(err, cap * sizeof *more, "the list of tensors");
    f->tensors = more;
    f->cap_tensors = cap;
    return ERR_OK;
}

/* rms: of one weight; dims innermost first, 0 where there is no further one. */
static ErrCode add(Forge *f, uint32_t layer, const char *name, ForgeKind kind, QuantType type, double rms, uint64_t d0, uint64_t d1,
                   uint64_t d2, Err *err) {
    TRY(grow(f, err));
    ForgeTensor *t = &f->tensors[f->n_tensors];
    *t = (ForgeTensor){.kind = kind, .rms = rms, .layer = layer, .n_dims = d2 ? 3 : d1 ? 2 : 1, .dims = {d0, d1, d2}};
    if (layer == UINT32_MAX) snprintf(t->name, sizeof t->name, "%s", name);
    else snprintf(t->name, sizeof t->name, "blk.%u.%s", layer, name);
    const QuantTraits *traits = quant_traits(type);
    uint64_t row = quant_row_bytes(type, d0);
    if (!row)
        return err_set(err, ERR_UNSUPPORTED, "%s: rows of %llu weights cannot be %s, whose blocks hold %u; choose another type", t->name,
                       (unsigned long long)d0, traits->name, traits->block_elems);
    t->bytes = row * (d1 ? d1 : 1) * (d2 ? d2 : 1);
    t->run_bytes = (uint64_t)RUN_BYTES / traits->block_bytes * traits->block_bytes;
    TRY(forge_recipe(&t->recipe, type, rms, err));
    f->n_tensors++;
    return ERR_OK;
}

typedef struct Adder {
    Forge *f;
    Err *err;
    uint32_t layer;
    double branch; /* gain of what is added to the residual: all layers together add about as much as the embedding brings */
} Adder;

static ErrCode matrix(const Adder *a, const char *name, uint64_t in, uint64_t out, double gain) {
    return add(a->f, a->layer, name, FORGE_MATRIX, a->f->o.dense, gain / sqrt((double)in), in, out, 0, a->err);
}

static ErrCode vector(const Adder *a, const char *name, ForgeKind kind, uint64_t d0, uint64_t d1, double rms) {
    return add(a->f, a->layer, name, kind, QUANT_F32, rms, d0, d1, 0, a->err);
}

static ErrCode stack(const Adder *a, const char *name, uint64_t in, uint64_t out, double gain) {
    const Forge *f = a->f;
    return add(a->f, a->layer, name, FORGE_MATRIX, f->o.experts, gain / sqrt((double)in), in, out, f->o.shape.experts, a->err);
}

static ErrCode add_linear(const Adder *a) {
    const ForgeShape *s = &a->f->o.shape;
    uint64_t h = s->hidden, values = (uint64_t)s->lin_v_heads * FORGE_HEAD_DIM_LINEAR;
    uint64_t channels = 2 * (uint64_t)s->lin_k_heads * FORGE_HEAD_DIM_LINEAR + values;
    TRY(matrix(a, "attn_qkv.weight", h, channels, 1));
    TRY(matrix(a, "attn_gate.weight", h, values, 1));
    TRY(vector(a, "ssm_conv1d.weight", FORGE_CONV, CONV_WIDTH, channels, 0.5));
    TRY(vector(a, "ssm_dt.bias", FORGE_DECAY_BIAS, s->lin_v_heads, 0, 1));
    TRY(vector(a, "ssm_a", FORGE_DECAY, s->lin_v_heads, 0, 1));
    if (strcmp(s->arch, "qwen3next") == 0) {
        TRY(matrix(a, "ssm_ba.weight", h, 2 * (uint64_t)s->lin_v_heads, 1));
    } else {
        TRY(matrix(a, "ssm_beta.weight", h, s->lin_v_heads, 1));
        TRY(matrix(a, "ssm_alpha.weight", h, s->lin_v_heads, 1));
    }
    TRY(vector(a, "ssm_norm.weight", FORGE_NORM, FORGE_HEAD_DIM_LINEAR, 0, 1));
    return matrix(a, "ssm_out.weight", values, h, a->branch);
}

static ErrCode add_full(const Adder *a) {
    const ForgeShape *s = &a->f->o.shape;
    uint64_t h = s->hidden, wide = (uint64_t)s->heads * s->head_dim, kv = (uint64_t)s->kv_heads * s->head_dim;
    TRY(matrix(a, "attn_q.weight", h, s->lin_v_heads ? 2 * wide : wide, 1)); /* with linear layers come gated queries */
    TRY(matrix(a, "attn_k.weight", h, kv, 1));
    TRY(matrix(a, "attn_v.weight", h, kv, 1));
    TRY(matrix(a, "attn_output.weight", wide, h, a->branch));
    TRY(vector(a, "attn_q_norm.weight", FORGE_NORM, s->head_dim, 0, 1));
    return vector(a, "attn_k_norm.weight", FORGE_NORM, s->head_dim, 0, 1);
}

static ErrCode add_layer(const Adder *a) {
    const ForgeShape *s = &a->f->o.shape;
    uint64_t h = s->hidden, inner = s->expert_inner, shared = s->shared_inner;
    bool linear = s->lin_v_heads && (a->layer + 1) % FORGE_INTERVAL != 0 && a->layer < s->layers;
    TRY(vector(a, "attn_norm.weight", FORGE_NORM, h, 0, 1));
    TRY(linear ? add_linear(a) : add_full(a));
    TRY(vector(a, s->lin_v_heads ? "post_attention_norm.weight" : "ffn_norm.weight", FORGE_NORM, h, 0, 1));
    TRY(vector(a, "ffn_gate_inp.weight", FORGE_ROUTER, h, s->experts, 1));
    TRY(stack(a, "ffn_gate_exps.weight", h, inner, 1));
    TRY(stack(a, "ffn_up_exps.weight", h, inner, 1));
    TRY(stack(a, "ffn_down_exps.weight", inner, h, a->branch));
    if (!shared) return ERR_OK;
    TRY(vector(a, "ffn_gate_inp_shexp.weight", FORGE_VECTOR, h, 0, 1 / sqrt((double)h)));
    TRY(matrix(a, "ffn_gate_shexp.weight", h, shared, 1));
    TRY(matrix(a, "ffn_up_shexp.weight", h, shared, 1));
    return matrix(a, "ffn_down_shexp.weight", shared, h, a->branch);
}

/* The draft layer: one more full layer, and what brings the hidden state and the next token's embedding together. */
static ErrCode add_mtp(Adder *a) {
    const uint64_t h = a->f->o.shape.hidden;
    a->layer = a->f->o.shape.layers;
    TRY(add_layer(a));
    TRY(matrix(a, "nextn.eh_proj.weight", 2 * h, h, 1));
    TRY(vector(a, "nextn.enorm.weight", FORGE_NORM, h, 0, 1));
    TRY(vector(a, "nextn.hnorm.weight", FORGE_NORM, h, 0, 1));
    return vector(a, "nextn.shared_head_norm.weight", FORGE_NORM, h, 0, 1);
}

static ErrCode add_all(Forge *f, Err *err) {
    const ForgeShape *s = &f->o.shape;
    Adder a = {.f = f, .err = err, .branch = 1 / sqrt(2.0 * s->layers)};
    double token = forge_token_rms(f);
    TRY(add(f, UINT32_MAX, "token_embd.weight", FORGE_TOKENS, f->o.dense, token, s->hidden, s->vocab, 0, err));
    TRY(add(f, UINT32_MAX, "output_norm.weight", FORGE_NORM, QUANT_F32, 1, s->hidden, 0, 0, err));
    TRY(add(f, UINT32_MAX, "output.weight", FORGE_HEAD, f->o.dense, token / sqrt((double)s->hidden), s->hidden, s->vocab, 0, err));
    for (a.layer = 0; a.layer < s->layers; a.layer++) TRY(add_layer(&a));
    return f->o.mtp ? add_mtp(&a) : ERR_OK;
}

/* ---- the header: see format/gguf.c for its grammar ---- */

enum { KIND_U32 = 4, KIND_I32 = 5, KIND_F32 = 6, KIND_STRING = 8, KIND_ARRAY = 9 };

static void put_u32(Buf *b, uint32_t v) {
    uint8_t bytes[4];
    for (int i = 0; i < 4; i++) bytes[i] = (uint8_t)(v >> 8 * i);
    buf_put(b, bytes, sizeof bytes);
}

static void put_u64(Buf *b, uint64_t v) {
    put_u32(b, (uint32_t)v);
    put_u32(b, (uint32_t)(v >> 32));
}

static void put_string(Buf *b, const char *z) {
    put_u64(b, strlen(z));
    buf_puts(b, z);
}

typedef struct Keys {
    Buf bytes;
    uint64_t n;
    const char *arch;
} Keys;

static void key(Keys *k, const char *name, bool of_arch, uint32_t kind) {
    char full[96];
    snprintf(full, sizeof full, "%s%s%s", of_arch ? k->arch : "", of_arch ? "." : "", name);
    put_string(&k->bytes, full);
    put_u32(&k->bytes, kind);
    k->n++;
}

static void key_u32(Keys *k, const char *name, uint32_t v) {
    key(k, name, true, KIND_U32);
    put_u32(&k->bytes, v);
}

static void key_f32(Keys *k, const char *name, double v) {
    float f = (float)v;
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    key(k, name, true, KIND_F32);
    put_u32(&k->bytes, bits);
}

static void key_string(Keys *k, const char *name, const char *v) {
    key(k, name, false, KIND_STRING);
    put_string(&k->bytes, v);
}

static void linear_keys(Keys *k, const ForgeShape *s, uint32_t rotary) {
    uint32_t pairs = rotary / 2;
    key_u32(k, "ssm.conv_kernel", CONV_WIDTH);
    key_u32(k, "ssm.state_size", FORGE_HEAD_DIM_LINEAR);
    key_u32(k, "ssm.group_count", s->lin_k_heads);
    key_u32(k, "ssm.time_step_rank", s->lin_v_heads);
    key_u32(k, "ssm.inner_size", s->lin_v_heads * FORGE_HEAD_DIM_LINEAR);
    key_u32(k, "full_attention_interval", FORGE_INTERVAL);
    if (strcmp(s->arch, "qwen35moe") != 0) return;
    key(k, "rope.dimension_sections", true, KIND_ARRAY);
    put_u32(&k->bytes, KIND_I32);
    put_u64(&k->bytes, 4);
    for (uint32_t i = 0; i < 4; i++) put_u32(&k->bytes, i < 3 ? (pairs + 2 - i) / 3 : 0);
}

/* The seed and the skew stand in the name, so that a part file of other weights has another header. */
static void put_keys(Keys *k, const ForgeOptions *o) {
    const ForgeShape *s = &o->shape;
    char name[128];
    uint32_t rotary = s->lin_v_heads ? s->head_dim / 4 : s->head_dim;
    snprintf(name, sizeof name, "%s with random weights, seed %llu, skew %g", s->name, (unsigned long long)o->seed, o->skew);
    key_string(k, "general.architecture", s->arch);
    key_string(k, "general.name", name);
    key(k, "general.quantization_version", false, KIND_U32);
    put_u32(&k->bytes, 2);
    key_u32(k, "block_count", s->layers + o->mtp);
    if (o->mtp) key_u32(k, "nextn_predict_layers", 1);
    key_u32(k, "context_length", s->context);
    key_u32(k, "embedding_length", s->hidden);
    key_u32(k, "feed_forward_length", s->ffn ? s->ffn : s->expert_inner * s->top_k);
    key_u32(k, "attention.head_count", s->heads);
    key_u32(k, "attention.head_count_kv", s->kv_heads);
    key_u32(k, "attention.key_length", s->head_dim);
    key_u32(k, "attention.value_length", s->head_dim);
    key_f32(k, "attention.layer_norm_rms_epsilon", 1e-6);
    key_f32(k, "rope.freq_base", s->rope_theta);
    key_u32(k, "rope.dimension_count", rotary);
    key_u32(k, "expert_count", s->experts);
    key_u32(k, "expert_used_count", s->top_k);
    key_u32(k, "expert_feed_forward_length", s->expert_inner);
    if (s->shared_inner) key_u32(k, "expert_shared_feed_forward_length", s->shared_inner);
    if (s->lin_v_heads) linear_keys(k, s, rotary);
    key_u32(k, "vocab_size", s->vocab);
    key_string(k, "tokenizer.ggml.model", "no_vocab");
}

static ErrCode put_header(Forge *f, Err *err) {
    Keys k = {.arch = f->o.shape.arch};
    Buf *b = &f->header;
    put_keys(&k, &f->o);
    buf_puts(b, "GGUF");
    put_u32(b, 3);
    put_u64(b, f->n_tensors);
    put_u64(b, k.n);
    buf_put(b, k.bytes.ptr, k.bytes.len);
    bool failed = k.bytes.failed;
    buf_free(&k.bytes);
    uint64_t at = 0;
    for (uint32_t i = 0; i < f->n_tensors; i++) {
        ForgeTensor *t = &f->tensors[i];
        put_string(b, t->name);
        put_u32(b, t->n_dims);
        for (uint32_t d = 0; d < t->n_dims; d++) put_u64(b, t->dims[d]);
        put_u32(b, (uint32_t)quant_traits(t->recipe.type)->ggml_id);
        put_u64(b, at);
        t->offset = at;
        at = align_up(at + t->bytes, ALIGNMENT);
    }
    while (b->len % ALIGNMENT && !b->failed) buf_putc(b, 0);
    if (failed || b->failed) return err_no_memory(err, b->len, "the header of the file");
    for (uint32_t i = 0; i < f->n_tensors; i++) f->tensors[i].offset += b->len;
    f->bytes = b->len + at;
    return ERR_OK;
}

ErrCode forge_layout(Forge *f, Err *err) {
    TRY(add_all(f, err));
    return put_header(f, err);
}
