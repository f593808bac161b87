/* Inside the room chat. */
#ifndef CHAT_INSIDE_H
#define CHAT_INSIDE_H

#include "answer/answer.h"
#include "chat/chat.h"
#include "chat/line.h"
#include "os/os.h"
#include "states/states.h"

#include <jansson.h>

/* A conversation under way. */
typedef struct Chat {
    const ChatConfig *c;
    AnswerPrompts *prompts;
    States *states;          /* NULL: there is no memory for any */
    json_t *messages;        /* without the system text */
    Buf system;
    ChatThink think;
    bool hide_thoughts;
    sluice_sampling sampling;
    char name[65];           /* of its session; "": not saved yet */
    bool colour, quit, changed;
    struct ChatLine *line;
} Chat;

/* ---- show.c: what a person sees of an answer ---- */
typedef struct ChatShow {
    bool colour, hide_thoughts;
    bool thinking, code;                  /* inside thoughts; inside a fenced block */
    Buf word;                             /* of the current line, held until its markup is whole */
} ChatShow;
void chat_show_event(ChatShow *s, TextEventKind kind, Str text);
void chat_show_end(ChatShow *s);

/* ---- turn.c: a question and its answer ---- */
typedef struct ChatTurn {
    AnswerFinish finish;
    bool interrupted;
    size_t prompt_tokens, known_tokens, answer_tokens;
    uint64_t prefill_ns, decode_ns;
    Buf text, thoughts;
} ChatTurn;
/* Answers the messages; told(user, ...) hears it. ERR_INTERRUPTED is no error: turn->interrupted. */
typedef void ChatTold(void *user, TextEventKind kind, Str text);
ErrCode chat_turn(Chat *c, json_t *messages, ChatTold *told, void *user, ChatTurn *turn, Err *err);
void chat_turn_free(ChatTurn *turn);
bool chat_json(const json_t *value, Buf *out); /* as compact text with a final 0; false: NULL, or out of memory */
json_t *chat_message(const char *role, const char *text, size_t len);

/* ---- commands.c: lines that begin with "/" ---- */
/* line: with its "/". True: the last question is to be answered (again). */
bool chat_command_line(Chat *c, const char *line);
ErrCode chat_save(Chat *c, const char *name, Err *err);
ErrCode chat_load(Chat *c, const char *name, Err *err);

#endif
