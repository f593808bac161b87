/* sluice detokenize: ids to text. */
#include "cli/commands.h"
#include "cli/io.h"
#include "cli/source.h"
#include "os/os.h"

typedef struct Detokenizing {
    const Tokenizer *tokenizer;
    bool skip_special;
} Detokenizing;

static ErrCode decode_one(const Detokenizing *d, int64_t id, Buf *out, Err *err) {
    if (id < 0 || id > INT32_MAX || !text_decode(d->tokenizer, (int32_t)id, d->skip_special, out))
        return err_set(err, ERR_RANGE, "%lld is no token of this tokenizer; its ids end at %u", (long long)id,
                       text_token_count(d->tokenizer) - 1);
    return out->failed ? err_no_memory(err, out->len, "the text") : ERR_OK;
}

static json_t *answer_line(void *user, json_t *question, Err *err) {
    if (!json_is_array(question)) {
        err_set(err, ERR_FORMAT, "a line wants a JSON array of ids such as [1,2,3]");
        return NULL;
    }
    Buf text = {0};
    json_t *answer = NULL, *item;
    size_t i;
    ErrCode code = ERR_OK;
    json_array_foreach(question, i, item) {
        if (!json_is_integer(item)) code = err_set(err, ERR_FORMAT, "element %zu of the array is no whole number", i);
        else code = decode_one(user, json_integer_value(item), &text, err);
        if (code) break;
    }
    if (!code) {
        answer = json_text(text.ptr ? text.ptr : "", text.len);
        if (!answer) err_no_memory(err, text.len, "the text of a line");
    }
    buf_free(&text);
    return answer;
}

static ErrCode detokenize_one(const Options *o, const Detokenizing *d, Err *err) {
    Buf input = {0}, text = {0};
    int32_t *ids = NULL;
    size_t n = 0;
    ErrCode code;
    if (opt_given(o, OPT_IDS)) {
        code = input_ids(opt_text(o, OPT_IDS, ""), &ids, &n, err);
    } else {
        code = input_file(opt_text(o, OPT_FILE, "-"), &input, err);
        if (!code) code = input_parse_ids(input.ptr ? input.ptr : "", input.len, &ids, &n, err);
    }
    for (size_t i = 0; !code && i < n; i++) code = decode_one(d, ids[i], &text, err);
    if (!code && opt_on(o, OPT_JSON)) {
        out_json(json_pack("{s:o}", "text", json_text(text.ptr ? text.ptr : "", text.len)));
    } else if (!code) {
        out_write(text.ptr, text.len);
        if (os_stdout_is_terminal()) out_puts("\n");
    }
    mem_free(ids);
    buf_free(&text);
    buf_free(&input);
    return code;
}

ErrCode detokenize_command(const Options *o, Err *err) {
    if (opt_on(o, OPT_LINES) && (opt_given(o, OPT_IDS) || opt_given(o, OPT_FILE)))
        return err_set(err, ERR_USAGE, "--lines reads standard input; it takes neither --ids nor -f");
    if (opt_given(o, OPT_IDS) && opt_given(o, OPT_FILE)) return err_set(err, ERR_USAGE, "--ids and -f exclude each other");
    Source source;
    ErrCode code = source_open_tokenizer(o, &source, err);
    Detokenizing d = {source.tokenizer, opt_on(o, OPT_NO_SPECIAL)};
    if (!code) code = opt_on(o, OPT_LINES) ? lines_answer(answer_line, &d, false, err) : detokenize_one(o, &d, err);
    source_close(&source);
    return code;
}
