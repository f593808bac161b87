/* Safetensors files for tests. */
#ifndef TESTS_SAFETENSORS_WRITER_H
#define TESTS_SAFETENSORS_WRITER_H

#include "format/format.h"

/* Tensors of wide elements come first, so that each lies aligned to its element, as readers that map the file like it. */
ErrCode write_safetensors(const char *path, const FormatOut *tensors, size_t n, Err *err);

#endif
