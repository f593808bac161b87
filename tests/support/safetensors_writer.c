#include "support/safetensors_writer.h"
#include "os/os.h"

#include <stdlib.h>

static ErrCode write_in_this_order(const char *path, const FormatOut *tensors, size_t n, Err *err) {
    Buf file = {0};
    uint64_t *begin = calloc(n + 1, sizeof *begin);
    ErrCode code = begin ? format_safetensors_header(path, tensors, n, &file, begin, err) : err_no_memory(err, n, "offsets");
    for (size_t i = 0; i < n && !code; i++) buf_put(&file, tensors[i].data, (size_t)(begin[i + 1] - begin[i]));
    if (!code) code = file.failed ? err_no_memory(err, (size_t)begin[n], path) : os_write_file(path, file.ptr, file.len, err);
    buf_free(&file);
    free(begin);
    return code;
}

ErrCode write_safetensors(const char *path, const FormatOut *tensors, size_t n, Err *err) {
    FormatOut *sorted = calloc(n ? n : 1, sizeof *sorted);
    size_t at = 0;
    if (!sorted) return err_no_memory(err, n, "tensors");
    for (uint32_t width = 256; width > 0; width--) /* bytes of an element, or of a block, which the header refuses */
        for (size_t i = 0; i < n; i++)
            if (quant_traits(tensors[i].type)->block_bytes == width) sorted[at++] = tensors[i];
    ErrCode code = write_in_this_order(path, sorted, at, err);
    free(sorted);
    return code;
}
