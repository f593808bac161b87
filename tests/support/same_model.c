#include "support/same_model.h"
#include "support/load_dense.h"
#include "support/support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GUARD_BYTES = 256, GUARD = 0xC3 };

static void check_guard(const Opened *o) {
    for (int i = 0; i < GUARD_BYTES; i++)
        if (o->pages[o->model->dense_bytes + (uint64_t)i] != GUARD) fail_msg("loading wrote behind dense_bytes");
}

Opened model_try(const char *path, Err *err) {
    Opened o = {0};
    o.format = format_open(path, err);
    if (o.format) o.model = model_new(o.format, err);
    if (!o.model) {
        model_close(&o);
        return o;
    }
    format_drop_metadata(o.format); /* from here on, only files and tensors */
    o.pages = aligned_alloc(4096, align_up(o.model->dense_bytes + GUARD_BYTES, 4096));
    memset(o.pages, 0, o.model->dense_bytes);
    memset(o.pages + o.model->dense_bytes, GUARD, GUARD_BYTES);
    ErrCode code = load_dense(o.model, o.pages, err);
    check_guard(&o);
    if (code != ERR_OK) model_close(&o);
    return o;
}

Opened model_open_or_fail(const char *path) {
    Err err = {0};
    Opened o = model_try(path, &err);
    if (!o.model) fail_msg("%s", err.text);
    return o;
}

void model_close(Opened *o) {
    model_free(o->model);
    format_close(o->format);
    free(o->pages);
    *o = (Opened){0};
}

/* ---- tiny models ---- */

const char *tiny_write(const TinyModel *m) {
    static char paths[16][256];
    static unsigned turn;
    char *path = paths[turn % 16];
    bool gguf = json_object_get(m->meta, "general.architecture") != NULL;
    snprintf(path, sizeof paths[0], "%s/tiny-%u%s", temp_dir(), turn++, gguf ? ".gguf" : "");
    if (gguf)
        tiny_write_gguf(m, path);
    else
        tiny_write_folder(m, path);
    return path;
}

Opened tiny_open(const TinyModel *m) { return model_open_or_fail(tiny_write(m)); }

void assert_file_refused(const char *path, const char *what, const char *words) {
    Err err = {0};
    Opened o = model_try(path, &err);
    if (o.model) fail_msg("%s: a model that should be refused was opened (%s)", what, words);
    if (!strstr(err.text, words)) fail_msg("%s: '%s' does not say '%s'", what, err.text, words);
    assert_true(err.code == ERR_FORMAT || err.code == ERR_UNSUPPORTED);
}

void assert_refused(const TinyModel *m, const char *what, const char *words) { assert_file_refused(tiny_write(m), what, words); }

/* ---- comparing ---- */

/* Where v-head h of a grouped model (HF's order) stands in this one. */
static uint32_t head_at(const ModelShape *s, uint32_t h) {
    uint32_t r = s->lin_v_heads / s->lin_k_heads;
    return s->heads_tiled ? h % r * s->lin_k_heads + h / r : h;
}

typedef struct Order {
    uint32_t first, per_head; /* entries from `first` on are v-heads of per_head entries; per_head 0: none are */
} Order;

static uint32_t entry_at(const ModelShape *s, Order o, uint32_t i) {
    if (!o.per_head || i < o.first) return i;
    return o.first + head_at(s, (i - o.first) / o.per_head) * o.per_head + (i - o.first) % o.per_head;
}

static void close_to(const char *what, uint32_t row, uint32_t col, float a, float b, float tol) {
    if (!(fabsf(a - b) <= tol)) fail_msg("%s [%u, %u]: %.9g and %.9g", what, row, col, (double)a, (double)b);
}

static void same_mat(const Opened *a, const Opened *b, const char *what, const ModelMat *x, const ModelMat *y, Order rows, Order cols,
                     float tol) {
    const ModelShape *sa = &a->model->shape, *sb = &b->model->shape;
    if (x->rows != y->rows || x->cols != y->cols || (x->data == NULL) != (y->data == NULL))
        fail_msg("%s: %u x %u and %u x %u", what, x->rows, x->cols, y->rows, y->cols);
    if (!x->data) return;
    assert_int_equal(((uintptr_t)x->data | (uintptr_t)y->data) % 64, 0);
    float *u = malloc(x->cols * sizeof *u), *v = malloc(x->cols * sizeof *v);
    for (uint32_t i = 0; i < x->rows; i++) {
        quant_decode(x->type, x->data + entry_at(sa, rows, i) * x->row_bytes, u, x->cols);
        quant_decode(y->type, y->data + entry_at(sb, rows, i) * y->row_bytes, v, y->cols);
        for (uint32_t k = 0; k < x->cols; k++)
            close_to(what, i, k, u[entry_at(sa, cols, k)], v[entry_at(sb, cols, k)], tol);
    }
    free(u);
    free(v);
}

static void same_vec(const Opened *a, const Opened *b, const char *what, const float *x, const float *y, uint32_t n, uint32_t width,
                     Order order, float tol) {
    const ModelShape *sa = &a->model->shape, *sb = &b->model->shape;
    if ((x == NULL) != (y == NULL)) fail_msg("%s is there in one model only", what);
    for (uint32_t i = 0; x && i < n; i++)
        for (uint32_t k = 0; k < width; k++)
            close_to(what, i, k, x[entry_at(sa, order, i) * width + k], y[entry_at(sb, order, i) * width + k], tol);
}

static void same_shape(const Opened *a, const Opened *b) {
    ModelShape x = a->model->shape, y = b->model->shape;
    x.heads_tiled = y.heads_tiled = false;
    assert_int_equal(x.arch, y.arch);
    const uint32_t p[] = {x.n_layers, x.hidden, x.vocab, x.n_heads, x.n_kv_heads, x.head_dim, x.rotary_dim, x.attn_gate, x.lin_k_heads,
                          x.lin_v_heads, x.lin_k_dim, x.lin_v_dim, x.conv_width, x.n_experts, x.top_k, x.expert_inner, x.shared_inner,
                          x.norm_topk, x.ctx_train};
    const uint32_t q[] = {y.n_layers, y.hidden, y.vocab, y.n_heads, y.n_kv_heads, y.head_dim, y.rotary_dim, y.attn_gate, y.lin_k_heads,
                          y.lin_v_heads, y.lin_k_dim, y.lin_v_dim, y.conv_width, y.n_experts, y.top_k, y.expert_inner, y.shared_inner,
                          y.norm_topk, y.ctx_train};
    assert_memory_equal(p, q, sizeof p);
    assert_true(x.rope_theta == y.rope_theta);
    assert_true(x.eps == y.eps);
}

static const Order plain = {0, 0};

void assert_same_vectors(const Opened *a, const Opened *b, float tol) {
    const Model *m = a->model;
    const ModelShape *s = &m->shape;
    same_shape(a, b);
    same_vec(a, b, "final norm", m->norm_out, b->model->norm_out, s->hidden, 1, plain, tol);
    for (uint32_t i = 0; i < s->n_layers; i++) {
        const ModelLayer *x = &m->layers[i], *y = &b->model->layers[i];
        assert_int_equal(x->mixer, y->mixer);
        uint32_t all_k = s->lin_k_heads * s->lin_k_dim, all_v = s->lin_v_heads * s->lin_v_dim;
        Order heads = {0, 1}, channels = {2 * all_k, s->lin_v_dim};
        same_vec(a, b, "norm_in", x->norm_in, y->norm_in, s->hidden, 1, plain, tol);
        same_vec(a, b, "norm_post", x->norm_post, y->norm_post, s->hidden, 1, plain, tol);
        same_vec(a, b, "conv", x->conv, y->conv, 2 * all_k + all_v, s->conv_width, channels, tol);
        same_vec(a, b, "ssm_a", x->ssm_a, y->ssm_a, s->lin_v_heads, 1, heads, tol);
        same_vec(a, b, "dt_bias", x->dt_bias, y->dt_bias, s->lin_v_heads, 1, heads, tol);
        same_vec(a, b, "lin_norm", x->lin_norm, y->lin_norm, s->lin_v_dim, 1, plain, tol);
        same_vec(a, b, "q_norm", x->q_norm, y->q_norm, s->head_dim, 1, plain, tol);
        same_vec(a, b, "k_norm", x->k_norm, y->k_norm, s->head_dim, 1, plain, tol);
    }
}

static ModelMat read_expert(const Opened *o, uint32_t layer, uint32_t expert, int which, uint8_t **bytes) {
    const DiskRange *part = model_record(o->model, layer, expert) + which;
    ModelMat mat = o->model->layers[layer].expert[which];
    assert_int_equal(part->bytes, mat.rows * mat.row_bytes);
    Err err = {0};
    OsFile f;
    const char *path = o->format->files[part->file].path;
    *bytes = aligned_alloc(64, align_up(part->bytes, 64));
    if (os_open(&f, path, false, &err) || os_pread(&f, path, *bytes, part->bytes, part->offset, &err)) fail_msg("%s", err.text);
    os_close(&f);
    mat.data = *bytes;
    return mat;
}

static void same_experts(const Opened *a, const Opened *b, uint32_t layer, float tol) {
    for (uint32_t e = 0; e < a->model->shape.n_experts; e++)
        for (int i = 0; i < 3; i++) {
            uint8_t *p, *q;
            assert_null(a->model->layers[layer].expert[i].data);
            ModelMat x = read_expert(a, layer, e, i, &p), y = read_expert(b, layer, e, i, &q);
            same_mat(a, b, i == 0 ? "expert gate" : i == 1 ? "expert up" : "expert down", &x, &y, plain, plain, tol);
            free(p);
            free(q);
        }
}

void assert_same_model(const Opened *a, const Opened *b, float tol) {
    const ModelShape *s = &a->model->shape;
    assert_same_vectors(a, b, tol);
    same_mat(a, b, "embedding", &a->model->embedding, &b->model->embedding, plain, plain, tol);
    same_mat(a, b, "head", &a->model->head, &b->model->head, plain, plain, tol);
    for (uint32_t i = 0; i < s->n_layers; i++) {
        const ModelLayer *x = &a->model->layers[i], *y = &b->model->layers[i];
        Order v_rows = {2 * s->lin_k_heads * s->lin_k_dim, s->lin_v_dim}, values = {0, s->lin_v_dim}, heads = {0, 1};
        same_mat(a, b, "lin_qkv", &x->lin_qkv, &y->lin_qkv, v_rows, plain, tol);
        same_mat(a, b, "lin_z", &x->lin_z, &y->lin_z, values, plain, tol);
        same_mat(a, b, "lin_b", &x->lin_b, &y->lin_b, heads, plain, tol);
        same_mat(a, b, "lin_a", &x->lin_a, &y->lin_a, heads, plain, tol);
        same_mat(a, b, "lin_out", &x->lin_out, &y->lin_out, plain, values, tol);
        same_mat(a, b, "q", &x->q, &y->q, plain, plain, tol);
        same_mat(a, b, "k", &x->k, &y->k, plain, plain, tol);
        same_mat(a, b, "v", &x->v, &y->v, plain, plain, tol);
        same_mat(a, b, "o", &x->o, &y->o, plain, plain, tol);
        same_mat(a, b, "router", &x->router, &y->router, plain, plain, tol);
        same_mat(a, b, "shared_gate", &x->shared_gate, &y->shared_gate, plain, plain, tol);
        same_mat(a, b, "shared_up", &x->shared_up, &y->shared_up, plain, plain, tol);
        same_mat(a, b, "shared_down", &x->shared_down, &y->shared_down, plain, plain, tol);
        same_mat(a, b, "shared_router", &x->shared_router, &y->shared_router, plain, plain, tol);
        same_experts(a, b, i, tol);
    }
}
