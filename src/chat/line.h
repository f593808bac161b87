/* chat/line: a line from the keyboard, with history, or from a pipe. Apart from inside.h, for libedit has a Tokenizer of its own. */
#ifndef CHAT_LINE_H
#define CHAT_LINE_H

#include "base/base.h"

typedef struct ChatLine ChatLine;
typedef const char *ChatLineName(size_t i);
/* folder: where the history is kept; NULL: nowhere. name: of the i-th command, for completion; NULL behind the last. */
ChatLine *chat_line_new(const char *folder, ChatLineName *name, Err *err);
void chat_line_free(ChatLine *l);
/* The next line, without its end; one that ends in \ goes on in the one after it, Alt-Enter begins a new one, and what is pasted
 * is one text. False: there is no more. */
bool chat_line_read(ChatLine *l, Buf *out);
/* A short answer to a question, which the history does not keep; what was typed before it was asked does not count. False: none came
 * (Ctrl-C, Ctrl-D). */
bool chat_line_ask(ChatLine *l, const char *question, Buf *out);
bool chat_line_is_typed(const ChatLine *l); /* somebody sits there */

#endif
