/* Names, shapes and keys are those that converters write (GGUF files of qwen35moe, qwen3next, qwen3moe). */
#include "support/make_model.h"

#include "quant/quant.h"
#include "support/gguf_writer.h"
#include "support/support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* All sizes are small, all rows are multiples of a Q8_0 block, and no two that could be mixed up are equal where it matters. */
enum {
    HEADS = 4, KV_HEADS = 2, HEAD_DIM = 16, ROTARY = 8, /* full attention */
    Q_ROWS = HEADS * HEAD_DIM, KV_ROWS = KV_HEADS * HEAD_DIM,
    LIN_K_HEADS = 2, LIN_V_HEADS = 4, LIN_DIM = 16, CONV = 4, BA_ROWS = 2 * LIN_V_HEADS, /* gated delta net */
    LIN_K = LIN_K_HEADS * LIN_DIM, LIN_V = LIN_V_HEADS * LIN_DIM, CONV_DIM = 2 * LIN_K + LIN_V,
    EH_COLS = 2 * MAKE_HIDDEN, INNER = 32, SHARED = 96, CONTEXT = 4096,
    MERGES = 14, FIRST_SPECIAL = 256 + MERGES,
};

typedef struct Maker {
    const MakeModel *o;
    const char *arch;
    bool linear, shared; /* the architecture has linear layers, a shared expert */
    bool set_done;       /* the edited key was written */
    QuantType type;
    uint32_t layers, experts, top_k;
    GgufWriter w;
    uint64_t rng;
} Maker;

/* ---- numbers ---- */

static double uniform(Maker *m) { /* -1..1, xorshift64* */
    m->rng ^= m->rng >> 12;
    m->rng ^= m->rng << 25;
    m->rng ^= m->rng >> 27;
    return (double)(m->rng * UINT64_C(0x2545F4914F6CDD1D) >> 11) * 0x1p-52 - 1;
}

static void put_q8_0(Buf *out, const float *v) { /* one block of 32 */
    float max = 0;
    bool nan = false;
    for (int i = 0; i < 32; i++) {
        nan = nan || isnan(v[i]);
        if (fabsf(v[i]) > max) max = fabsf(v[i]);
    }
    uint16_t d = quant_f32_to_f16(max / 127);
    float scale = quant_f16_to_f32(d);
    put_u16(out, nan ? 0x7E00 : d);
    for (int i = 0; i < 32; i++) buf_putc(out, (char)(nan || scale == 0 ? 0 : lrintf(v[i] / scale)));
}

static Buf encoded(QuantType type, const float *v, uint64_t n) {
    Buf out = {0};
    uint32_t bits;
    for (uint64_t i = 0; i < n; i++) {
        switch (type) {
        case QUANT_F16: put_u16(&out, quant_f32_to_f16(v[i])); break;
        case QUANT_BF16: put_u16(&out, quant_f32_to_bf16(v[i])); break;
        case QUANT_Q8_0:
            if (i % 32 == 0) put_q8_0(&out, v + i);
            break;
        default:
            memcpy(&bits, &v[i], 4);
            put_u32(&out, bits);
        }
    }
    return out;
}

/* ---- tensors ---- */

static bool is(const char *name, const char *edit) { return edit && strcmp(name, edit) == 0; }

/* ne: innermost first; centre and spread of the values. */
static void add(Maker *m, const char *name, QuantType type, int n_dims, const uint64_t *ne, double centre, double spread) {
    const MakeModel *o = m->o;
    if (is(name, o->skip)) return;
    if (is(name, o->reshape)) n_dims = o->n_dims, ne = o->ne;
    uint64_t n = 1;
    for (int i = 0; i < n_dims; i++) n *= ne[i];
    if (ne[0] % quant_traits(type)->block_elems) type = QUANT_F32; /* a reshaped one */
    float *v = calloc((n + 31) / 32 * 32, sizeof *v);
    for (uint64_t i = 0; i < n; i++) v[i] = (float)(centre + spread * uniform(m));
    if (is(name, o->poison)) v[o->poison_at] = o->poison_with != 0 ? o->poison_with : NAN;
    uint32_t ggml = (uint32_t)quant_traits(type)->ggml_id;
    Buf data = encoded(type, v, n);
    if (is(name, o->retype)) {
        ggml = o->retype_to;
        if (quant_from_ggml(ggml, &type)) {
            buf_clear(&data);
            uint64_t bytes = quant_row_bytes(type, ne[0]) * (n / ne[0]);
            while (data.len < bytes) buf_putc(&data, 0);
        }
    }
    gguf_tensor(&m->w, is(name, o->rename) ? o->rename_to : name, ggml, n_dims, ne, data.ptr, data.len);
    buf_free(&data);
    free(v);
}

static const char *in_layer(uint32_t layer, const char *suffix) {
    static char names[4][96];
    static unsigned turn;
    char *name = names[turn++ % COUNT_OF(names)];
    snprintf(name, sizeof names[0], "blk.%u.%s", layer, suffix);
    return name;
}

static void matrix(Maker *m, const char *name, uint64_t in, uint64_t out) {
    add(m, name, m->type, 2, (uint64_t[]){in, out}, 0, 1.7 / sqrt((double)in));
}

static void norm(Maker *m, const char *name, uint64_t n) { add(m, name, QUANT_F32, 1, &n, 1, 0.3); }

static void linear_layer(Maker *m, uint32_t l) {
    const uint64_t v_heads = LIN_V_HEADS;
    matrix(m, in_layer(l, "attn_qkv.weight"), MAKE_HIDDEN, CONV_DIM);
    matrix(m, in_layer(l, "attn_gate.weight"), MAKE_HIDDEN, LIN_V);
    if (strcmp(m->arch, "qwen3next") == 0) {
        matrix(m, in_layer(l, "ssm_ba.weight"), MAKE_HIDDEN, BA_ROWS);
    } else {
        matrix(m, in_layer(l, "ssm_beta.weight"), MAKE_HIDDEN, LIN_V_HEADS);
        matrix(m, in_layer(l, "ssm_alpha.weight"), MAKE_HIDDEN, LIN_V_HEADS);
    }
    add(m, in_layer(l, "ssm_conv1d.weight"), QUANT_F32, 2, (uint64_t[]){CONV, CONV_DIM}, 0, 0.8);
    add(m, in_layer(l, "ssm_a"), QUANT_F32, 1, &v_heads, -2, 1.9); /* = -exp(A_log) < 0 */
    add(m, in_layer(l, "ssm_dt.bias"), QUANT_F32, 1, &v_heads, -1, 1);
    norm(m, in_layer(l, "ssm_norm.weight"), LIN_DIM);
    matrix(m, in_layer(l, "ssm_out.weight"), LIN_V, MAKE_HIDDEN);
}

static void full_layer(Maker *m, uint32_t l) {
    matrix(m, in_layer(l, "attn_q.weight"), MAKE_HIDDEN, m->linear ? 2 * (uint64_t)Q_ROWS : Q_ROWS);
    matrix(m, in_layer(l, "attn_k.weight"), MAKE_HIDDEN, KV_ROWS);
    matrix(m, in_layer(l, "attn_v.weight"), MAKE_HIDDEN, KV_ROWS);
    matrix(m, in_layer(l, "attn_output.weight"), Q_ROWS, MAKE_HIDDEN);
    norm(m, in_layer(l, "attn_q_norm.weight"), HEAD_DIM);
    norm(m, in_layer(l, "attn_k_norm.weight"), HEAD_DIM);
}

static void expert_layer(Maker *m, uint32_t l) {
    const double spread = 1.7 / sqrt(MAKE_HIDDEN);
    add(m, in_layer(l, "ffn_gate_inp.weight"), QUANT_F32, 2, (uint64_t[]){MAKE_HIDDEN, m->experts}, 0, 4 * spread);
    add(m, in_layer(l, "ffn_gate_exps.weight"), m->type, 3, (uint64_t[]){MAKE_HIDDEN, INNER, m->experts}, 0, spread);
    add(m, in_layer(l, "ffn_up_exps.weight"), m->type, 3, (uint64_t[]){MAKE_HIDDEN, INNER, m->experts}, 0, spread);
    add(m, in_layer(l, "ffn_down_exps.weight"), m->type, 3, (uint64_t[]){INNER, MAKE_HIDDEN, m->experts}, 0, 1.7 / sqrt(INNER));
    if (!m->shared) return;
    matrix(m, in_layer(l, "ffn_gate_shexp.weight"), MAKE_HIDDEN, SHARED);
    matrix(m, in_layer(l, "ffn_up_shexp.weight"), MAKE_HIDDEN, SHARED);
    matrix(m, in_layer(l, "ffn_down_shexp.weight"), SHARED, MAKE_HIDDEN);
    add(m, in_layer(l, "ffn_gate_inp_shexp.weight"), QUANT_F32, 2, (uint64_t[]){MAKE_HIDDEN, 1}, 0, spread);
}

static bool is_linear(const Maker *m, uint32_t l) { return m->linear && l % 2 == 0; }

static void layer(Maker *m, uint32_t l, bool linear) {
    norm(m, in_layer(l, "attn_norm.weight"), MAKE_HIDDEN);
    if (linear) linear_layer(m, l);
    else full_layer(m, l);
    norm(m, in_layer(l, m->shared ? "post_attention_norm.weight" : "ffn_norm.weight"), MAKE_HIDDEN);
    expert_layer(m, l);
}

static void tensors(Maker *m) {
    const uint64_t three = 3;
    matrix(m, "token_embd.weight", MAKE_HIDDEN, MAKE_VOCAB);
    norm(m, "output_norm.weight", MAKE_HIDDEN);
    if (!m->o->tied) add(m, "output.weight", m->type, 2, (uint64_t[]){MAKE_HIDDEN, MAKE_VOCAB}, 0, 5 / sqrt(MAKE_HIDDEN));
    for (uint32_t l = 0; l < m->layers; l++) layer(m, l, is_linear(m, l));
    if (m->o->draft) {
        layer(m, m->layers, false);
        matrix(m, in_layer(m->layers, "nextn.eh_proj.weight"), EH_COLS, MAKE_HIDDEN);
        norm(m, in_layer(m->layers, "nextn.enorm.weight"), MAKE_HIDDEN);
        norm(m, in_layer(m->layers, "nextn.hnorm.weight"), MAKE_HIDDEN);
        norm(m, in_layer(m->layers, "nextn.shared_head_norm.weight"), MAKE_HIDDEN);
    }
    if (m->o->extra) add(m, m->o->extra, QUANT_F32, 1, &three, 0, 1);
}

/* ---- keys ---- */

static void put_edit(Maker *m) {
    const MakeModel *o = m->o;
    if (o->set_text) gguf_str(&m->w, o->set, o->set_text);
    else if (o->set_real != 0) gguf_f32(&m->w, o->set, o->set_real);
    else gguf_u32(&m->w, o->set, o->set_number);
    m->set_done = true;
}

/* True where the options say something else about this key. */
static bool edited(Maker *m, const char *key) {
    if (is(key, m->o->skip)) return true;
    if (!is(key, m->o->set)) return false;
    put_edit(m);
    return true;
}

static const char *of_arch(const Maker *m, const char *suffix) {
    static char key[96];
    snprintf(key, sizeof key, "%s.%s", m->arch, suffix);
    return key;
}

static void number(Maker *m, const char *suffix, uint32_t v) {
    const char *key = of_arch(m, suffix);
    if (!edited(m, key)) gguf_u32(&m->w, key, v);
}

static void real(Maker *m, const char *suffix, float v) {
    const char *key = of_arch(m, suffix);
    if (!edited(m, key)) gguf_f32(&m->w, key, v);
}

static void text(Maker *m, const char *key, const char *v) {
    if (!edited(m, key)) gguf_str(&m->w, key, v);
}

static void shape_keys(Maker *m) {
    text(m, "general.architecture", m->arch);
    text(m, "general.name", "made by a test");
    number(m, "block_count", m->layers + (m->o->draft ? 1 : 0));
    if (m->o->draft) number(m, "nextn_predict_layers", 1);
    number(m, "context_length", CONTEXT);
    number(m, "embedding_length", MAKE_HIDDEN);
    number(m, "attention.head_count", HEADS);
    number(m, "attention.head_count_kv", KV_HEADS);
    number(m, "attention.key_length", HEAD_DIM);
    number(m, "attention.value_length", HEAD_DIM);
    real(m, "attention.layer_norm_rms_epsilon", 1e-6f);
    real(m, "rope.freq_base", 10000);
    number(m, "rope.dimension_count", m->linear ? ROTARY : HEAD_DIM);
    number(m, "expert_count", m->experts);
    number(m, "expert_used_count", m->top_k);
    number(m, "expert_feed_forward_length", INNER);
    if (m->shared) number(m, "expert_shared_feed_forward_length", SHARED);
    if (m->linear) {
        number(m, "ssm.conv_kernel", CONV);
        number(m, "ssm.state_size", LIN_DIM);
        number(m, "ssm.group_count", LIN_K_HEADS);
        number(m, "ssm.time_step_rank", LIN_V_HEADS);
        number(m, "ssm.inner_size", LIN_V);
        number(m, "full_attention_interval", 2);
    }
}

/* GPT-2's byte alphabet: printable bytes stand for themselves, the others for U+0100 and following, in this order of ids. */
static void byte_token(uint32_t id, char out[8]) {
    uint32_t c = id < 94 ? 33 + id : id < 106 ? 161 + id - 94 : id < 188 ? 174 + id - 106 : 256 + id - 188;
    int n = 0;
    if (c >= 0x80) out[n++] = (char)(0xC0 | c >> 6);
    out[n++] = (char)(c < 0x80 ? c : 0x80 | (c & 0x3F));
    out[n] = 0;
}

static void tokenizer_keys(Maker *m) {
    static const char *const merges[MERGES] = {"t h", "th e", "\xC4\xA0 the", "a n", "an d", "\xC4\xA0 and", "i n", "in g", "o n",
                                               "e r", "r e", "\xC4\xA0 a", "\xC4\xA0 t", "h e"};
    static const char *const special[] = {"<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>"};
    char own[MAKE_VOCAB][24];
    const char *tokens[MAKE_VOCAB];
    Buf types = {0};
    for (uint32_t i = 0; i < MAKE_VOCAB; i++) {
        uint32_t type = 1;
        tokens[i] = own[i];
        if (i < 256) {
            byte_token(i, own[i]);
        } else if (i < FIRST_SPECIAL) {
            const char *merge = merges[i - 256], *space = strchr(merge, ' ');
            snprintf(own[i], sizeof own[i], "%.*s%s", (int)(space - merge), merge, space + 1);
        } else if (i < FIRST_SPECIAL + COUNT_OF(special)) {
            tokens[i] = special[i - FIRST_SPECIAL];
            type = i <= MAKE_IM_END ? 3 : 4;
        } else {
            snprintf(own[i], sizeof own[i], "[PAD%u]", i);
            type = 5;
        }
        put_u32(&types, type);
    }
    text(m, "tokenizer.ggml.model", "gpt2");
    text(m, "tokenizer.ggml.pre", strcmp(m->arch, "qwen35moe") == 0 ? "qwen35" : "qwen2");
    if (!edited(m, "tokenizer.ggml.tokens")) gguf_strings(&m->w, "tokenizer.ggml.tokens", tokens, MAKE_VOCAB);
    if (!edited(m, "tokenizer.ggml.token_type")) gguf_array(&m->w, "tokenizer.ggml.token_type", 5, MAKE_VOCAB, types.ptr, types.len);
    if (!edited(m, "tokenizer.ggml.merges")) gguf_strings(&m->w, "tokenizer.ggml.merges", merges, MERGES);
    if (!edited(m, "tokenizer.ggml.eos_token_id")) gguf_u32(&m->w, "tokenizer.ggml.eos_token_id", MAKE_IM_END);
    if (!edited(m, "tokenizer.ggml.padding_token_id")) gguf_u32(&m->w, "tokenizer.ggml.padding_token_id", MAKE_ENDOFTEXT);
    text(m, "tokenizer.chat_template",
         "{%- for message in messages %}{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}{%- endfor %}"
         "{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{%- endif %}");
    buf_free(&types);
}

const char *make_model(const MakeModel *o, const char *file_name) {
    Maker m = {.o = o, .arch = o->arch ? o->arch : "qwen35moe", .rng = o->seed * 2 + 0x9E3779B97F4A7C15};
    m.linear = m.shared = strcmp(m.arch, "qwen3moe") != 0;
    m.layers = o->layers ? o->layers : 4;
    m.experts = o->experts ? o->experts : 8;
    m.top_k = o->top_k ? o->top_k : 3;
    if (!quant_from_name(o->type ? o->type : "F32", &m.type)) fail_msg("no type %s", o->type);
    gguf_begin(&m.w);
    shape_keys(&m);
    tokenizer_keys(&m);
    if (o->set && !m.set_done) put_edit(&m); /* a key that these models do not have */
    tensors(&m);
    Buf b = gguf_end(&m.w);
    const char *path = write_temp(file_name, b.ptr, b.len);
    buf_free(&b);
    return path;
}
