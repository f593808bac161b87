#include "support/load_dense.h"

ErrCode load_dense_from(Model *m, void *pages, const DiskConfig *config, const ModelLoad *how, Err *err) {
    ModelLoad load = *how;
    load.disk = disk_new(config, err);
    ErrCode code = load.disk ? ERR_OK : err->code;
    uint32_t id;
    for (uint32_t i = 0; i < m->format->n_files && !code; i++) code = disk_add_file(load.disk, m->format->files[i].path, &id, err);
    if (!code) code = model_load_dense(m, pages, &load, err);
    disk_free(load.disk);
    return code;
}

ErrCode load_dense(Model *m, void *pages, Err *err) {
    return load_dense_from(m, pages, &(DiskConfig){.backend = DISK_THREADS, .depth = 2, .retries = -1}, &(ModelLoad){0}, err);
}
