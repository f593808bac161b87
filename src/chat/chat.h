/* chat: the conversation in a terminal, and questions from a file overnight.
 *
 * What this is    a line is read, the model answers while it is watched, commands begin with "/". The text of a conversation and the
 *                 model's state after it are a session in the state folder, so that it goes on later without being computed again.
 * Who owns what   model, session and strings are the caller's. The conversation belongs to chat_run while it runs.
 * What may fail   a template that refuses, a full context, a session that cannot be read or written: said, and the conversation goes on
 *                 as it was. Ctrl-C ends an answer, not the conversation.
 * Threads         one.
 * Promise         an answer is the same bits as with `sluice run` and the same messages, resumed or not.
 *                 No call runs that was not confirmed, or allowed beforehand.
 *                 Checked by tests/cli/test_chat_command.c, test_chat_terminal.c and test_chat_tools.c.
 */
#ifndef CHAT_CHAT_H
#define CHAT_CHAT_H

#include "base/base.h"
#include "tools/tools.h"

#include <sluice.h>

typedef enum ChatThink { CHAT_THINK_DEFAULT, CHAT_THINK_ON, CHAT_THINK_OFF } ChatThink;

typedef struct ChatConfig {
    sluice_model *model;
    sluice_session *session;
    /* feeds the session; ERR_INTERRUPTED when somebody pressed Ctrl-C, with what was through kept */
    ErrCode (*feed)(void *user, const int32_t *ids, size_t n, Err *err);
    void *user;
    sluice_sampling sampling;
    uint64_t seed;
    int max_tokens;       /* of an answer; -1: what the context holds */
    const char *system;   /* NULL: none */
    ChatThink think;
    bool terminal, colour; /* standard output is a terminal; it may be coloured */
    const char *folder;   /* the state folder; NULL: sessions cannot be kept */
    const char *resume;   /* name of a session, "last" for the newest; NULL: a new one */
    Tools *tools;         /* what the model may call; NULL: nothing */
    bool yes;             /* calls run without being asked about. Otherwise, where nobody can be asked, they are refused */
    int rounds;           /* of calls before an answer */
} ChatConfig;

ErrCode chat_run(const ChatConfig *config, Err *err);

/* Answers each line of `in`, a JSON object or a plain prompt, with a line of JSON in `out` (NULL: standard output). Lines that `out`
 * answers already are skipped, so a run that was ended goes on where it was. A JSON line: {"prompt": ...} or {"messages": [...]}, and
 * an "id" that the answer repeats. */
ErrCode chat_batch(const ChatConfig *config, const Buf *in, const char *out, Err *err);

#endif
