/* sluice render: chat requests to prompt text, one per line. */
#include "cli/commands.h"
#include "cli/io.h"
#include "cli/source.h"

static json_t *answer_line(void *user, json_t *request, Err *err) {
    const Template *chat = user;
    Buf text = {0};
    json_t *answer = NULL;
    if (!json_is_object(request)) {
        err_set(err, ERR_FORMAT, "a line wants an object such as {\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}]}");
    } else if (!text_chat_render(chat, request, &text, err)) {
        answer = text.failed ? NULL : json_pack("{s:o}", "text", json_text(text.ptr ? text.ptr : "", text.len));
        if (!answer) err_no_memory(err, text.len, "the text of a line");
    }
    buf_free(&text);
    return answer;
}

ErrCode render_command(const Options *o, Err *err) {
    Source source;
    ErrCode code = source_open_template(o, &source, err);
    /* the table's user pointer is not const; the template is only read */
    if (!code) code = lines_answer(answer_line, (void *)(uintptr_t)source.chat, true, err);
    source_close(&source);
    return code;
}
