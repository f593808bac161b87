#include "support/scripted_model.h"
#include "support/support.h"
#include "support/tiny_model.h"

#include "base/base.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { BYTES = 256, IM_START = BYTES, IM_END, SPACES, GO, HIDDEN = 8, CERTAIN = 500 /* at any temperature */ };

/* ---- the vocabulary: every byte, the ends of turns, and two tokens for each script ---- */

static void put_letter(Buf *out, unsigned c) {
    if (c >= 0x80) buf_putc(out, (char)(0xC0 | c >> 6)), buf_putc(out, (char)(0x80 | (c & 0x3F)));
    else buf_putc(out, (char)c);
}

/* A text in GPT-2's alphabet, in which each byte is a letter that can be seen. */
static void put_bytes(Buf *out, const char *text, size_t len) {
    for (size_t i = 0; i < len; i++) {
        unsigned b = (unsigned char)text[i], c = b;
        if (b <= 0x20) c = 0x100 + b;
        else if (b >= 0x7F && b <= 0xA0) c = 0x121 + b - 0x7F;
        else if (b == 0xAD) c = 0x143;
        put_letter(out, c);
    }
    buf_putc(out, 0);
}

static void add_token(json_t *tokens, json_t *types, const char *text, int type) {
    json_array_append_new(tokens, json_string(text));
    json_array_append_new(types, json_integer(type));
}

static void put_vocabulary(json_t *meta, const Script *scripts, size_t n) {
    json_t *tokens = json_array(), *types = json_array();
    Buf text = {0};
    char go[32];
    for (int b = 0; b < BYTES; b++) {
        char byte = (char)b;
        buf_clear(&text);
        put_bytes(&text, &byte, 1);
        add_token(tokens, types, text.ptr, 1);
    }
    add_token(tokens, types, "<|im_start|>", 3);
    add_token(tokens, types, "<|im_end|>", 3);
    add_token(tokens, types, "\xC4\xA0\xC4\xA0", 1); /* two spaces, for there must be a merge */
    for (size_t i = 0; i < n; i++) {
        snprintf(go, sizeof go, "<|go%zu|>", i);
        add_token(tokens, types, go, 3);
        buf_clear(&text);
        put_bytes(&text, scripts[i].says, strlen(scripts[i].says));
        add_token(tokens, types, text.ptr, 1);
    }
    buf_free(&text);
    json_object_set_new(meta, "tokenizer.ggml.tokens", tokens);
    json_object_set_new(meta, "tokenizer.ggml.token_type", types);
    json_object_set_new(meta, "tokenizer.ggml.merges", json_pack("[s]", "\xC4\xA0 \xC4\xA0"));
    json_object_set_new(meta, "tokenizer.ggml.eos_token_id", json_integer(IM_END));
}

/* ---- the template ---- */

static void put_go(Buf *out, const Script *scripts, size_t n) {
    for (size_t i = 0; i < n; i++)
        buf_printf(out, "{%%- %s '%s' in ns.last %%}{{- '<|go%zu|>' }}", i ? "elif" : "if", scripts[i].when, i);
    buf_puts(out, "{%- endif %}");
}

static void put_template(json_t *meta, const Script *scripts, size_t n, bool tools) {
    Buf t = {0};
    buf_puts(&t, "{%- set ns = namespace(last='') %}");
    if (tools)
        buf_puts(&t, "{%- if tools %}{{- '<|im_start|>system\\n' }}{%- for tool in tools %}{{- tool | tojson }}{{- '\\n' }}{%- endfor %}"
                     "{{- '<tool_call>\\n{\"name\": NAME, \"arguments\": {...}}\\n</tool_call><|im_end|>\\n' }}{%- endif %}");
    buf_puts(&t, "{%- for m in messages %}{%- if m.role == 'assistant' %}{{- '<|im_start|>assistant\\n' }}");
    put_go(&t, scripts, n);
    buf_puts(&t, "{%- if m.reasoning_content %}{{- '<think>' + m.reasoning_content + '</think>' }}{%- endif %}{{- m.content }}");
    if (tools)
        buf_puts(&t, "{%- for c in m.tool_calls %}{{- '\\n<tool_call>\\n{\"name\": \"' + c.function.name + '\", \"arguments\": ' }}"
                     "{{- c.function.arguments | tojson }}{{- '}\\n</tool_call>' }}{%- endfor %}");
    buf_puts(&t, "{{- '<|im_end|>\\n' }}{%- elif m.role == 'tool' %}"
                 "{{- '<|im_start|>user\\n<tool_response>\\n' + m.content + '\\n</tool_response><|im_end|>\\n' }}{%- else %}"
                 "{{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{%- endif %}"
                 "{%- set ns.last = m.content %}{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}");
    put_go(&t, scripts, n);
    buf_puts(&t, "{%- endif %}");
    json_object_set_new(meta, "tokenizer.chat_template", json_string(t.ptr));
    buf_free(&t);
}

/* ---- the network: layers that add nothing, between what a token is and what follows it ---- */

static float *new_rows(TinyModel *m, const char *name, uint64_t rows) {
    tiny_remove(m, name);
    return tiny_add(m, name, 2, rows, HIDDEN, 0)->data;
}

/* A direction of its own for each script, and all of them at a right angle to the last axis. */
static void direction(size_t i, float *out) {
    uint32_t state = 77u + (uint32_t)i * 7919u;
    double length = 0;
    for (int k = 0; k < HIDDEN - 1; k++) {
        state = state * 1664525u + 1013904223u;
        out[k] = (float)((int32_t)state >> 8) / 8388608.0f;
        length += (double)out[k] * out[k];
    }
    for (int k = 0; k < HIDDEN - 1; k++) out[k] /= (float)sqrt(length);
}

static void set_all(TinyModel *m, const char *name, float value) {
    TinyTensor *t = tiny_get(m, name);
    for (uint64_t k = 0; k < t->count; k++) t->data[k] = value;
}

static void put_network(TinyModel *m, size_t n) {
    char name[64];
    float *is = new_rows(m, "token_embd.weight", GO + 2 * n), *next = new_rows(m, "output.weight", GO + 2 * n);
    for (size_t i = 0; i < n; i++) {
        direction(i, is + (GO + 2 * i) * HIDDEN);
        direction(i, next + (GO + 2 * i + 1) * HIDDEN);
        for (int k = 0; k < HIDDEN; k++) next[(GO + 2 * i + 1) * HIDDEN + (size_t)k] *= CERTAIN;
        is[(GO + 2 * i + 1) * HIDDEN + HIDDEN - 1] = 1;
    }
    next[IM_END * HIDDEN + HIDDEN - 1] = CERTAIN;
    for (int layer = 0; layer < 4; layer++) {
        snprintf(name, sizeof name, "blk.%d.attn_output.weight", layer);
        set_all(m, name, 0);
        snprintf(name, sizeof name, "blk.%d.ffn_down_exps.weight", layer);
        set_all(m, name, 0);
    }
    set_all(m, "output_norm.weight", 1);
}

void scripted_write(const char *path, const Script *scripts, size_t n, bool tools) {
    assert_in_range(n, 1, MOST_SCRIPTS);
    TinyModel *hf = tiny_new("qwen3moe"), *m = tiny_to_gguf(hf);
    put_vocabulary(m->meta, scripts, n);
    put_template(m->meta, scripts, n, tools);
    json_object_set_new(m->meta, "qwen3moe.context_length", json_integer(32768));
    put_network(m, n);
    tiny_write_gguf(m, path);
    tiny_free(m);
    tiny_free(hf);
}
