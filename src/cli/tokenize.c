/* sluice tokenize: text to ids. */
#include "cli/commands.h"
#include "cli/io.h"
#include "cli/source.h"

typedef struct Tokenizing {
    const Tokenizer *tokenizer;
    unsigned flags;
} Tokenizing;

static json_t *answer_line(void *user, json_t *question, Err *err) {
    const Tokenizing *t = user;
    if (!json_is_string(question)) {
        err_set(err, ERR_FORMAT, "a line wants a JSON string such as \"Hello\"");
        return NULL;
    }
    TextIds ids = {0};
    json_t *answer = NULL;
    if (!text_encode(t->tokenizer, json_string_value(question), json_string_length(question), t->flags, &ids, err)) {
        answer = json_ids(ids.ids, ids.n);
        if (!answer) err_no_memory(err, ids.n * sizeof(json_t), "the ids of a line");
    }
    text_ids_free(&ids);
    return answer;
}

static ErrCode tokenize_one(const Options *o, const Tokenizing *t, Err *err) {
    Buf text = {0};
    TextIds ids = {0};
    ErrCode code = input_text(o, &text, err);
    if (!code) code = text_encode(t->tokenizer, text.ptr ? text.ptr : "", text.len, t->flags, &ids, err);
    if (!code && opt_on(o, OPT_JSON)) {
        out_json(json_pack("{s:o}", "ids", json_ids(ids.ids, ids.n)));
    } else if (!code) {
        for (size_t i = 0; i < ids.n; i++) out_printf(i ? " %d" : "%d", ids.ids[i]);
        out_puts("\n");
    }
    text_ids_free(&ids);
    buf_free(&text);
    return code;
}

ErrCode tokenize_command(const Options *o, Err *err) {
    if (opt_on(o, OPT_LINES) && (opt_given(o, OPT_PROMPT) || opt_given(o, OPT_FILE)))
        return err_set(err, ERR_USAGE, "--lines reads standard input; it takes neither -p nor -f");
    Source source;
    ErrCode code = source_open_tokenizer(o, &source, err);
    Tokenizing t = {source.tokenizer, opt_on(o, OPT_NO_SPECIAL) ? TEXT_NO_SPECIAL : 0};
    if (!code) code = opt_on(o, OPT_LINES) ? lines_answer(answer_line, &t, false, err) : tokenize_one(o, &t, err);
    source_close(&source);
    return code;
}
