/* What the table of experts says of all of them together. The draft layer's are not counted: a token of the trunk never reads them. */
#include "model/parts.h"

static size_t n_records(const Model *m) { return (size_t)m->shape.n_layers * m->shape.n_experts; }

uint64_t model_experts_bytes(const Model *m) {
    uint64_t bytes = 0;
    for (size_t i = 0; i < n_records(m) * MODEL_MATS; i++) bytes += m->records[i].bytes;
    return bytes;
}

uint64_t model_record_bytes(const Model *m) { return n_records(m) ? model_experts_bytes(m) / n_records(m) : 0; }

bool model_retype_experts(Model *m, QuantType type) {
    uint64_t row_bytes[MODEL_MATS], bytes[MODEL_MATS];
    for (int i = 0; i < MODEL_MATS; i++) {
        const ModelMat *mat = &m->layers[0].expert[i];
        row_bytes[i] = quant_row_bytes(type, mat->cols);
        bytes[i] = mat->rows * row_bytes[i];
        if (bytes[i] == 0 || bytes[i] > UINT32_MAX) return false;
    }
    for (uint32_t l = 0; l < m->shape.n_layers; l++)
        for (int i = 0; i < MODEL_MATS; i++) {
            m->layers[l].expert[i].type = type;
            m->layers[l].expert[i].row_bytes = row_bytes[i];
        }
    for (size_t r = 0; r < n_records(m); r++)
        for (uint32_t i = 0; i < MODEL_MATS; i++)
            m->records[r * MODEL_MATS + i] = (DiskRange){.file = i, .bytes = (uint32_t)bytes[i], .offset = r * bytes[i]};
    return true;
}
