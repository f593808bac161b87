/* A model of a few kilobytes, made in memory, for tests that need one to break. It is made with the tensor names, shapes and
 * conventions of a Hugging Face folder, and can be converted to those of a GGUF file; names, shapes and numbers may be changed
 * before it is written. Weights are F32 unless a tensor says otherwise.
 * (make_model.h writes GGUF files that are large enough for the quantised types.) */
#ifndef TESTS_TINY_MODEL_H
#define TESTS_TINY_MODEL_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct TinyTensor {
    char name[96];
    int n_dims;
    uint64_t dims[4]; /* outermost first */
    uint64_t count;
    float *data;
    bool bf16;        /* a folder holds it as BF16 */
} TinyTensor;

typedef struct TinyModel {
    char arch[16];  /* "qwen35moe", "qwen3next", "qwen3moe" */
    json_t *meta;   /* config.json, or GGUF keys: integers u32, reals f32, strings, booleans, arrays of one of these */
    json_t *generation; /* generation_config.json, or NULL */
    TinyTensor *tensors;
    size_t n, cap;
} TinyModel;

/* Layers are linear, full, linear, full (qwen3moe: all full); every dimension is another small number, and r = 2. Projections stand
 * apart (in_proj_qkv, in_proj_z, ...), experts are stacked: tiny_interleave and tiny_split_experts give the other forms. */
TinyModel *tiny_new(const char *arch);
TinyModel *tiny_to_gguf(const TinyModel *hf); /* from the form that tiny_new gives; keys, names and values as converters write them */
void tiny_free(TinyModel *m);

void tiny_interleave(TinyModel *hf);    /* in_proj_qkvz and in_proj_ba, as Qwen3-Next has them */
void tiny_split_experts(TinyModel *hf); /* one tensor per expert */
void tiny_prefix(TinyModel *hf, const char *prefix); /* in place of "model." */

TinyTensor *tiny_get(TinyModel *m, const char *name); /* fails the test when absent */
TinyTensor *tiny_add(TinyModel *m, const char *name, int n_dims, uint64_t d0, uint64_t d1, uint64_t d2); /* zeros */
void tiny_remove(TinyModel *m, const char *name);
void tiny_rename(TinyModel *m, const char *from, const char *to);

void tiny_write_folder(const TinyModel *hf, const char *folder); /* makes it */
void tiny_write_gguf(const TinyModel *gguf, const char *path);

#endif
