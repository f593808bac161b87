/* GGUF files: what stands before the tensors (src/format/gguf*.c, table.c), and the model that it describes (src/model/).
 *
 * Input: the file. What follows it, up to 64 KiB, is a hole of zeros, so that tensors have where to lie.
 * Property: a sentence that names the file, or a table in which names are clean and tensors lie apart inside the file; the same of the
 * hyperparameters, the tokenizer and the template. */
#include "fuzz/fuzz.h"

#include "model/model.h"
#include "os/os.h"
#include "support/malformed.h"

#include <unistd.h>

enum { HOLE = 64 << 10 };

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    char path[64];
    int fd;
    Err err = {0};
    if (os_memory_file(bytes, n, n + HOLE, path, sizeof path, &fd, &err)) fail_msg("%s", err.text);
    FormatModel *m = format_open(path, &err);
    if (m) {
        Err why = {0};
        Model *model = model_new(m, &why);
        if (!model) fuzz_sentence(why.text);
        model_free(model);
    }
    (void)malformed_or_sound("gguf", m, &err);
    close(fd);
    return 0;
}
