/* Safetensors files: the header (src/format/safetensors.c, json.c, table.c).
 *
 * Input: the JSON of the header; its length is put before it, and 4 KiB of zeros behind it.
 * Property: a sentence, or a table in which names are clean and tensors lie apart inside the file. */
#include "fuzz/fuzz.h"

#include "os/os.h"
#include "support/malformed.h"

#include <unistd.h>

enum { DATA = 4 << 10 };

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    char path[64];
    int fd;
    Err err = {0};
    Buf file = {0};
    uint64_t len = n;
    buf_put(&file, &len, sizeof len);
    buf_put(&file, bytes, n);
    if (os_memory_file(file.ptr, file.len, file.len + DATA, path, sizeof path, &fd, &err)) fail_msg("%s", err.text);
    FormatModel *m = format_open_safetensors_file(path, &err);
    (void)malformed_or_sound("safetensors", m, &err);
    close(fd);
    buf_free(&file);
    return 0;
}
