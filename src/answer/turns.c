/* The turns that were generated here, in a bounded memory: under what a client will send back, and the prompt that was answered, the
 * ids that were sampled. */
#include "answer/inside.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

struct AnswerTurns {
    pthread_mutex_t lock; /* one thread makes prompts while another remembers */
    AnswerTurn *turns;    /* [n] */
    size_t n, cap;
    uint64_t bytes, limit, clock;
};

/* ---- what a turn is known by --------------------------------------------------------------------------------------- */

static void put_length(Buf *out, char kind, size_t len) { buf_printf(out, "%c%zu:", kind, len); }

static int by_name(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

static void put_value(Buf *out, const json_t *v);

static void put_object(Buf *out, const json_t *object) {
    size_t n = json_object_size(object), i = 0;
    const char **keys = MEM_NEW(const char *, n + 1);
    if (!keys) {
        out->failed = true;
        return;
    }
    json_t *o = (json_t *)object;
    for (void *it = json_object_iter(o); it; it = json_object_iter_next(o, it)) keys[i++] = json_object_iter_key(it);
    qsort(keys, n, sizeof *keys, by_name);
    for (i = 0; i < n; i++) {
        put_length(out, 'k', strlen(keys[i]));
        buf_puts(out, keys[i]);
        put_value(out, json_object_get(object, keys[i]));
    }
    mem_free(keys);
}

/* One spelling for each value: members by name, 1.0 like 1. */
static void put_value(Buf *out, const json_t *v) {
    double real = json_number_value(v);
    if (json_is_object(v)) {
        put_length(out, 'o', json_object_size(v));
        put_object(out, v);
    } else if (json_is_array(v)) {
        put_length(out, 'a', json_array_size(v));
        for (size_t i = 0; i < json_array_size(v); i++) put_value(out, json_array_get(v, i));
    } else if (json_is_string(v)) {
        put_length(out, 's', json_string_length(v));
        buf_put(out, json_string_value(v), json_string_length(v));
    } else if (json_is_real(v) && !(real == floor(real) && fabs(real) < 1e15)) {
        buf_printf(out, "r%.17g;", real);
    } else if (json_is_number(v)) {
        buf_printf(out, "i%lld;", json_is_real(v) ? (long long)real : (long long)json_integer_value(v));
    } else {
        buf_putc(out, json_is_true(v) ? 't' : json_is_false(v) ? 'f' : 'n');
    }
}

void answer_turns_content(Buf *message, Str text) { buf_put(message, text.ptr, text.len); }

static bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

/* White space around the text is often lost on the way; a zero byte is in no text. */
static void end_content(Buf *message) {
    while (message->len && is_space(message->ptr[message->len - 1])) message->len--;
    buf_putc(message, 0);
}

void answer_turns_call(Buf *message, Str name, const json_t *arguments) {
    if (!message->len || !memchr(message->ptr, 0, message->len)) end_content(message);
    put_length(message, 'c', name.len);
    buf_put(message, name.ptr, name.len);
    put_value(message, arguments);
}

static Str trimmed(Str s) {
    while (s.len && is_space(*s.ptr)) s = str_make(s.ptr + 1, s.len - 1);
    while (s.len && is_space(s.ptr[s.len - 1])) s.len--;
    return s;
}

/* Behind calls there is no white space that could be lost: a string of theirs has its length before it. */
uint64_t answer_turns_key(const Buf *message) {
    Str s = trimmed(str_make(message->ptr ? message->ptr : "", message->len));
    return XXH3_64bits(s.ptr, s.len);
}

uint64_t answer_turns_reasoning(Str text) {
    text = trimmed(text);
    return text.len ? XXH3_64bits(text.ptr, text.len) : 0;
}

uint64_t answer_turns_message_reasoning(const json_t *message) {
    static const char *const names[] = {"reasoning_content", "thinking", "reasoning"};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        const json_t *text = json_object_get(message, names[i]);
        uint64_t known = json_is_string(text) ? answer_turns_reasoning(str_make(json_string_value(text), json_string_length(text))) : 0;
        if (known) return known;
    }
    return 0;
}

static void put_content(Buf *message, const json_t *content) {
    if (json_is_string(content)) answer_turns_content(message, str_make(json_string_value(content), json_string_length(content)));
    for (size_t i = 0; i < json_array_size(content); i++) {
        const json_t *text = json_object_get(json_array_get(content, i), "text");
        if (json_is_string(text)) answer_turns_content(message, str_make(json_string_value(text), json_string_length(text)));
    }
}

uint64_t answer_turns_message_key(const json_t *message, bool *failed) {
    Buf known = {0};
    const json_t *calls = json_object_get(message, "tool_calls");
    put_content(&known, json_object_get(message, "content"));
    for (size_t i = 0; i < json_array_size(calls); i++) {
        const json_t *call = json_array_get(calls, i), *function = json_object_get(call, "function");
        if (!function) function = call;
        const json_t *name = json_object_get(function, "name");
        answer_turns_call(&known, str_make(json_string_value(name), json_string_length(name)), json_object_get(function, "arguments"));
    }
    *failed = *failed || known.failed;
    uint64_t key = answer_turns_key(&known);
    buf_free(&known);
    return key;
}

uint64_t answer_turns_prefix(const int32_t *ids, size_t n) { return XXH3_64bits(ids, n * sizeof *ids); }

/* ---- the memory ---------------------------------------------------------------------------------------------------- */

AnswerTurns *answer_turns_new(uint64_t bytes, Err *err) {
    AnswerTurns *t = MEM_NEW(AnswerTurns, 1);
    if (t && pthread_mutex_init(&t->lock, NULL) != 0) {
        mem_free(t);
        t = NULL;
    }
    if (t) t->limit = bytes;
    else err_no_memory(err, sizeof *t, "the turns");
    return t;
}

void answer_turns_free(AnswerTurns *t) {
    if (!t) return;
    for (size_t i = 0; i < t->n; i++) mem_free(t->turns[i].ids);
    mem_free(t->turns);
    pthread_mutex_destroy(&t->lock);
    mem_free(t);
}

static uint64_t bytes_of(const AnswerTurn *turn) { return sizeof *turn + turn->n * sizeof *turn->ids; }

bool answer_turns_known(AnswerTurns *t, uint64_t key, uint64_t reasoning, AnswerTurn *like) {
    const AnswerTurn *best = NULL;
    pthread_mutex_lock(&t->lock);
    for (size_t i = 0; i < t->n; i++) {
        const AnswerTurn *turn = &t->turns[i];
        if (turn->key != key || (reasoning && turn->reasoning != reasoning)) continue;
        if (!best || turn->used > best->used) best = turn;
    }
    if (best) *like = *best;
    pthread_mutex_unlock(&t->lock);
    like->ids = NULL;
    return best != NULL;
}

static AnswerTurn *find(AnswerTurns *t, const AnswerTurn *want) {
    for (size_t i = 0; i < t->n; i++) {
        AnswerTurn *turn = &t->turns[i];
        bool ends = turn->stop_id < 0 || turn->stop_id == want->stop_id;
        if (ends && turn->key == want->key && turn->prefix == want->prefix && turn->n_prefix == want->n_prefix) return turn;
    }
    return NULL;
}

bool answer_turns_get(AnswerTurns *t, const AnswerTurn *want, TextIds *out, bool *failed) {
    pthread_mutex_lock(&t->lock);
    AnswerTurn *turn = find(t, want);
    if (turn) {
        turn->used = ++t->clock;
        *failed = !answer_ids_put(out, turn->ids, turn->n);
    }
    pthread_mutex_unlock(&t->lock);
    return turn && !*failed;
}

static void forget(AnswerTurns *t, AnswerTurn *turn) {
    t->bytes -= bytes_of(turn);
    mem_free(turn->ids);
    *turn = t->turns[--t->n];
}

static AnswerTurn *oldest(const AnswerTurns *t) {
    AnswerTurn *old = &t->turns[0];
    for (size_t i = 1; i < t->n; i++)
        if (t->turns[i].used < old->used) old = &t->turns[i];
    return old;
}

static bool has_place(AnswerTurns *t) {
    if (t->n < t->cap) return true;
    AnswerTurn *more = mem_resize(t->turns, 2 * t->cap + 16, sizeof *more);
    if (!more) return false;
    t->turns = more;
    t->cap = 2 * t->cap + 16;
    return true;
}

/* A turn that cannot be kept is one that is rendered later like any other. */
void answer_turns_put(AnswerTurns *t, const AnswerTurn *turn) {
    if (bytes_of(turn) > t->limit) return;
    int32_t *ids = MEM_NEW(int32_t, turn->n + 1);
    pthread_mutex_lock(&t->lock);
    AnswerTurn *same = find(t, turn);
    if (same) forget(t, same);
    while (t->bytes + bytes_of(turn) > t->limit) forget(t, oldest(t));
    if (ids && has_place(t)) {
        if (turn->n) memcpy(ids, turn->ids, turn->n * sizeof *ids);
        t->turns[t->n] = *turn;
        t->turns[t->n].ids = ids;
        t->turns[t->n].used = ++t->clock;
        t->bytes += bytes_of(&t->turns[t->n++]);
        ids = NULL;
    }
    pthread_mutex_unlock(&t->lock);
    mem_free(ids);
}

size_t answer_turns_count(const AnswerTurns *t) { return t->n; }
const AnswerTurn *answer_turns_at(const AnswerTurns *t, size_t i) { return &t->turns[i]; }

void answer_turns_forget(AnswerTurns *t) {
    pthread_mutex_lock(&t->lock);
    while (t->n) forget(t, &t->turns[t->n - 1]);
    pthread_mutex_unlock(&t->lock);
}
