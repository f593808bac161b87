/* Inside the room chat. */
#ifndef CHAT_INSIDE_H
#define CHAT_INSIDE_H

#include "answer/answer.h"
#include "chat/chat.h"
#include "chat/line.h"
#include "os/os.h"
#include "states/states.h"
#include "tools/tools.h"

#include <jansson.h>
#include <stdio.h>

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
    json_t *always;          /* {tool: true}: calls that need not be asked about any more */
    char name[65];           /* of its session; "": not saved yet */
    bool colour, quit, changed;
    struct ChatLine *line;
} Chat;

/* ---- show.c: what a person sees of an answer ---- */
typedef struct ChatShow {
    bool colour, terminal, hide_thoughts;
    bool thinking, code;                  /* inside thoughts; inside a fenced block */
    bool shown, begun;                    /* something of this turn; of the current line */
    bool waiting;                         /* a word about that stands behind the cursor */
    uint64_t told_ns;                     /* when something was shown last */
    Buf word;                             /* of the current line, held until its markup is whole */
    Buf table;                            /* rows of a table, held until all of it is there */
} ChatShow;
void chat_show_event(ChatShow *s, TextEventKind kind, Str text);
void chat_show_waiting(ChatShow *s, size_t tokens); /* tokens that are no text yet, as those of a call */
void chat_show_end(ChatShow *s, bool last); /* of a turn; last: of the answer, which ends its line even where it is empty */
/* Text from elsewhere on a terminal that people believe: what would move, hide or turn it is shown as its number. */
void chat_show_plainly(FILE *to, Str text);

/* ---- table.c: a Markdown table ---- */
/* rows: lines that begin with "|". False: it is none, or too wide for the terminal. put writes the text of a cell. */
bool chat_table_put(Str rows, int columns, void (*put)(void *user, Str cell), void *user);

/* ---- turn.c: a question and its answer ---- */
typedef struct ChatTurn {
    AnswerFinish finish;
    bool interrupted;
    size_t prompt_tokens, known_tokens, answer_tokens;
    uint64_t prefill_ns, decode_ns;
    Buf text, thoughts;
    json_t *calls; /* [{"id", "type": "function", "function": {"name", "arguments": {...}}}]; NULL: none */
} ChatTurn;
typedef struct ChatEars {
    void (*told)(void *user, TextEventKind kind, Str text);
    void (*waiting)(void *user, size_t tokens); /* a token came, and nothing can be told of it yet */
    void (*ended)(void *user, bool last);       /* a turn, which may be the last of the answer */
    void *user;
} ChatEars;
/* Answers the messages; the ears hear it. ERR_INTERRUPTED is no error: turn->interrupted. */
ErrCode chat_turn(Chat *c, json_t *messages, const ChatEars *ears, ChatTurn *turn, Err *err);
void chat_turn_free(ChatTurn *turn);
bool chat_json(const json_t *value, Buf *out); /* as compact text with a final 0; false: NULL, or out of memory */
json_t *chat_message(const char *role, const char *text, size_t len);

/* ---- rounds.c: turns and calls, until there is an answer ---- */
typedef struct ChatRounds {
    ChatTurn last;                        /* the answer; its tokens and times are those of all turns */
    size_t n_calls;
    bool unfinished;                      /* the bound was reached: its calls have results, but nobody has read them */
} ChatRounds;
/* Answers, and appends to the messages all that was said: turns of the assistant, results of tools. */
ErrCode chat_rounds(Chat *c, json_t *messages, const ChatEars *ears, ChatRounds *rounds, Err *err);
void chat_rounds_free(ChatRounds *rounds);

/* ---- calls.c: what a model wants done ---- */
/* Shows each call, asks, runs it, and appends its result to the messages. False: somebody said stop; the rest was not run. */
bool chat_calls(Chat *c, const json_t *calls, json_t *messages, Err *err);
/* Appends results that say why nothing was run. */
ErrCode chat_calls_refuse(const json_t *calls, size_t from, json_t *messages, const char *why, Err *err);

/* ---- commands.c: lines that begin with "/" ---- */
/* line: with its "/". True: the last question is to be answered (again). */
const char *chat_command_name(size_t i); /* NULL: there are no more */
bool chat_command_line(Chat *c, const char *line);
ErrCode chat_save(Chat *c, const char *name, Err *err);
ErrCode chat_load(Chat *c, const char *name, Err *err);

#endif
