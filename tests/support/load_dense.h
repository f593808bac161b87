/* Loading dense weights without an engine. */
#ifndef TESTS_LOAD_DENSE_H
#define TESTS_LOAD_DENSE_H

#include "model/model.h"

/* From a disk that behaves, by this thread alone. */
ErrCode load_dense(Model *m, void *pages, Err *err);
/* From such a disk; how->disk is not looked at. */
ErrCode load_dense_from(Model *m, void *pages, const DiskConfig *disk, const ModelLoad *how, Err *err);

#endif
