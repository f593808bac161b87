/* serve/ask: what a client asks and what it is told, in no API's words.
 *
 * A ServeShape is one API: it reads a request into a ServeAsk and writes events, or the collected answer, as its own JSON. It knows
 * nothing of connections, queues or the model; the worker knows nothing of APIs. To add an endpoint: a file with its shape, its name in
 * shapes.h, and a row of the table in routes.c. */
#ifndef SERVE_ASK_H
#define SERVE_ASK_H

#include "answer/answer.h"
#include "base/base.h"

#include <jansson.h>
#include <sluice.h>

/* ---- refusing ---------------------------------------------------------------------------------------------------- */

/* Why a request cannot be answered. Each shape writes it in its own form. */
typedef struct ServeRefusal {
    int status;           /* HTTP: 400, 401, 403, 404, 405, 413, 422, 429, 500, 503 */
    const char *code;     /* a word for programs ("context_length_exceeded"), or NULL; static */
    char field[96];       /* the field that is wrong, as the client wrote it; "": none */
    char text[700];       /* one sentence */
    int retry_after_s;    /* 0: not said */
    char allow[32];       /* of 405: the methods of this path */
} ServeRefusal;

/* Makes one line of UTF-8 of words that a client wrote, or of which the end was cut off. */
void serve_clean(char *text);
/* Fills it and returns false, so that `return serve_refuse(...)` reads well. field may be NULL. */
bool serve_refuse(ServeRefusal *no, int status, const char *field, const char *fmt, ...) BASE_PRINTF(4, 5);
/* Puts the way to a nested field before its name: "messages[3]" + "content". Returns false. */
bool serve_refuse_inside(ServeRefusal *no, const char *fmt, ...) BASE_PRINTF(2, 3);

/* ---- the model, as far as a shape needs it ----------------------------------------------------------------------- */

typedef struct ServeModel {
    const sluice_model *model; /* its text side only: sluice_token_text, sluice_is_stop */
    const char *name;
    sluice_info info;          /* as it was when the model had been opened */
    sluice_sampling sampling;  /* where the client says nothing */
    int64_t created;           /* seconds since 1970 */
} ServeModel;

/* ---- asking ------------------------------------------------------------------------------------------------------ */

typedef struct ServePrompt {
    int32_t *ids; /* owned */
    size_t n;
} ServePrompt;

typedef enum ServeToolChoice { SERVE_TOOLS_AUTO, SERVE_TOOLS_NONE, SERVE_TOOLS_REQUIRED, SERVE_TOOLS_NAMED } ServeToolChoice;
typedef enum ServeFormat { SERVE_FORMAT_TEXT, SERVE_FORMAT_JSON, SERVE_FORMAT_SCHEMA } ServeFormat;

enum { SERVE_MOST_STOPS = 16, SERVE_MOST_CHOICES = 128, SERVE_MOST_LOGPROBS = 20 };

typedef struct ServeRule ServeRule;

/* Starts as serve_ask_init leaves it; a shape changes what the client said. */
typedef struct ServeAsk {
    json_t *body;             /* the request, held: strings below are borrowed from it */
    uint64_t body_bytes;      /* as it was sent */
    bool stream;
    bool stream_usage;        /* OpenAI's stream_options.include_usage */

    /* Either a conversation, in the form the chat template takes: {"messages": [...], "tools": [...] | null, "kwargs": {...}}. Arguments
     * of tool calls are objects (text_chat_parse_arguments). The server renders and tokenises it and fills prompts. */
    json_t *chat;             /* owned; NULL: a completion */
    const char *chat_name, *format_name; /* the fields that it, and what its answer must be, came in */
    TextCallsSpec parts;      /* how its answer is written: the server finds it when it renders */
    ServeToolChoice tool_choice;
    const char *tool_name;    /* of SERVE_TOOLS_NAMED */
    bool one_tool;            /* parallel_tool_calls: false */
    ServeFormat format;
    const json_t *schema;     /* of SERVE_FORMAT_SCHEMA */
    ServeRule *rule;          /* what format and tool_choice demand: the server builds it; NULL: nothing */

    /* or prompts to continue: ids, or texts that the server tokenises */
    ServePrompt *prompts;     /* [n_prompts] */
    Str *texts;               /* [n_prompts], borrowed; NULL: ids are given. Freed with the ask. */
    size_t n_prompts;
    bool echo;                /* the prompt belongs to the answer */

    int choices;              /* per prompt: n */
    int max_tokens;           /* -1: until the context is full */
    int max_reasoning;        /* of them reasoning; 0: no bound of its own */
    const char *max_tokens_name; /* how the client calls it; NULL: it said nothing */
    sluice_sampling sampling;
    bool seeded;
    uint64_t seed;            /* of the first choice; the next have the numbers behind it */
    Str stops[SERVE_MOST_STOPS];
    size_t n_stops;
    int logprobs;             /* -1: none; otherwise so many alternatives beside each token */
} ServeAsk;

void serve_ask_init(ServeAsk *ask, const ServeModel *model, json_t *body);
void serve_ask_free(ServeAsk *ask);

/* ---- being told -------------------------------------------------------------------------------------------------- */

typedef enum ServeEventKind {
    SERVE_BEGIN,      /* a choice begins: usage has its prompt */
    SERVE_TEXT,       /* text: whole characters */
    SERVE_REASONING,  /* text */
    SERVE_TOOL_BEGIN, /* tool, tool_id, tool_name */
    SERVE_TOOL_ARGS,  /* tool, text: a piece of the JSON of the arguments */
    SERVE_TOOL_END,   /* tool */
    SERVE_FINISH,     /* a choice ends: finish, stop, and usage of this choice */
    SERVE_DONE,       /* all choices have ended: usage of all; the last event */
    SERVE_FAILED      /* refusal: nothing more will come; the last event */
} ServeEventKind;

typedef enum ServeFinish { SERVE_STOP, SERVE_STOP_STRING, SERVE_LENGTH, SERVE_TOOL_CALLS } ServeFinish;

/* A token and the natural logarithm of its probability; NaN: the first of a prompt, which nothing predicts. */
typedef AnswerLikely ServeLikely;

typedef struct ServeUsage {
    int prompt, cached, answer, reasoning; /* tokens; cached: of the prompt, reasoning: of the answer */
} ServeUsage;

/* What is pointed at is valid during the call only. */
typedef struct ServeEvent {
    ServeEventKind kind;
    int choice;              /* prompt * choices + choice */
    Str text;
    int tool;                /* which call of this choice, from 0 */
    Str tool_id, tool_name;
    ServeFinish finish;
    Str stop;                /* the stop string that ended it */
    ServeUsage usage;
    const ServeRefusal *refusal;
    /* where logprobs were asked for, any event may bring rows: the tokens sampled since the one before it, each with its alternatives,
     * best first: rows[i * (1 + n_top)] is the token, the n_top behind it the alternatives (id -1: no more) */
    const ServeLikely *rows;
    size_t n_rows;
    int n_top;
} ServeEvent;

/* All events of a request that does not stream. */
typedef struct ServeCall {
    Buf id, name, arguments;
} ServeCall;
typedef struct ServeChoice {
    Buf text, reasoning, stop;
    ServeCall *calls;        /* [n_calls] */
    size_t n_calls;
    ServeLikely *rows;       /* [n_rows][1 + n_top] */
    size_t n_rows, cap_rows;
    ServeFinish finish;
    ServeUsage usage;
} ServeChoice;
typedef struct ServeAnswer {
    ServeChoice *choices;    /* [n_choices] */
    size_t n_choices;
    int n_top;
    ServeUsage usage;
} ServeAnswer;

/* ---- a shape ----------------------------------------------------------------------------------------------------- */

/* A request that is being answered. */
typedef struct ServeReply {
    const ServeModel *model;
    const ServeAsk *ask;
    uint64_t number;         /* random, for ids such as "chatcmpl-..." */
    int64_t created;         /* seconds since 1970 */
    void *own;               /* of the shape: [own_bytes], zeroed at the start */
} ServeReply;

typedef struct ServeShape {
    /* body -> ask. False: *no says why. */
    bool (*read)(const ServeModel *model, json_t *body, ServeAsk *ask, ServeRefusal *no);
    /* Appends the bytes that tell one event to a client that streams: none, one or several server-sent events. */
    void (*stream)(ServeReply *reply, const ServeEvent *event, Buf *out);
    /* The whole answer; the caller owns it. NULL: out of memory. */
    json_t *(*whole)(ServeReply *reply, const ServeAnswer *answer);
    /* The body of an error. */
    json_t *(*error)(const ServeRefusal *refusal);
    const char *alive;       /* what keeps a silent stream open */
    size_t own_bytes;
    void (*close)(void *own); /* lets go of what the stream's own holds; NULL: nothing */
} ServeShape;

/* ---- reading fields ---------------------------------------------------------------------------------------------- */

typedef struct ServeReading {
    const ServeModel *model;
    ServeAsk *ask;
    ServeRefusal *no;
    void *own;               /* what the shape likes to have at hand */
} ServeReading;
typedef bool ServeFieldReader(ServeReading *r, const char *name, json_t *value);
typedef struct ServeField {
    const char *name;
    ServeFieldReader *read;
} ServeField;

/* Reads each field of the object with the row of its name. null is as if the field were absent; a field without a row is refused. */
bool serve_read_fields(ServeReading *r, json_t *object, const ServeField *fields, size_t n);
/* The rows that several APIs share. */
ServeFieldReader serve_field_idle;       /* cannot change the answer: user, metadata, store, model */
ServeFieldReader serve_field_stream, serve_field_stream_options, serve_field_max_tokens, serve_field_n, serve_field_seed, serve_field_stop;
ServeFieldReader serve_field_temperature, serve_field_top_p, serve_field_top_k, serve_field_min_p;
ServeFieldReader serve_field_presence, serve_field_frequency, serve_field_repeat;
ServeFieldReader serve_field_empty;      /* not supported: refused unless it is empty, false or 0, which ask for nothing */
/* Values of a kind and range, refused by name otherwise. */
bool serve_want_bool(ServeReading *r, const char *name, const json_t *value, bool *out);
bool serve_want_int(ServeReading *r, const char *name, const json_t *value, int64_t low, int64_t high, int64_t *out);
bool serve_want_number(ServeReading *r, const char *name, const json_t *value, double low, double high, double *out);
bool serve_want_text(ServeReading *r, const char *name, const json_t *value, Str *out);

/* ---- writing ----------------------------------------------------------------------------------------------------- */

/* A JSON string of bytes that may hold anything (what is no UTF-8 becomes U+FFFD). */
json_t *serve_json_text(const char *bytes, size_t len);
json_t *serve_json_str(Str s);
/* Appends "data: JSON\n\n", with "event: NAME\n" before it where a name is given, and frees the value. */
void serve_put_event(Buf *out, const char *name, json_t *value);
/* "PREFIX0123456789abcdef" of the reply's number. */
json_t *serve_json_id(const ServeReply *reply, const char *prefix);
/* The bytes of a token, appended. */
void serve_token_bytes(const ServeModel *model, int32_t id, Buf *out);

#endif
