/* cli/source: where a model, a tokenizer or a template comes from: -m, --tokenizer, --template, or the model inside the program. */
#ifndef CLI_SOURCE_H
#define CLI_SOURCE_H

#include "cli/options.h"
#include "model/model.h"
#include "text/text.h"

/* The embedded model lies in the program's own file, at an offset that its program headers tell; read like any other file. */
#define EMBEDDED_PATH "/proc/self/exe"
ErrCode embedded_locate(uint64_t *offset, uint64_t *bytes, Err *err);

/* Opens the headers of -m or of the embedded model; never loads weights. */
FormatModel *source_format(const Options *o, Err *err);
/* What to call it in messages: the path, or "the embedded model". */
const char *source_name(const Options *o);

typedef struct Source {
    FormatModel *format;
    Model *model;
    Tokenizer *own_tokenizer;
    Template *own_template;
    const Tokenizer *tokenizer; /* of --tokenizer or of the model */
    const Template *chat;       /* of --template or of the model */
} Source;
ErrCode source_open_tokenizer(const Options *o, Source *s, Err *err);
ErrCode source_open_template(const Options *o, Source *s, Err *err);
void source_close(Source *s);

#endif
