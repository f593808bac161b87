/* Turns that outlive the process: what is remembered of them as JSON, and back. Hashes are 16 hexadecimal digits, for JSON's integers have
 * a sign. */
#include "answer/inside.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static json_t *hash_json(uint64_t hash) {
    char digits[20];
    snprintf(digits, sizeof digits, "%016llx", (unsigned long long)hash);
    return json_string(digits);
}

static bool read_hash(const json_t *turn, const char *name, uint64_t *hash) {
    const char *digits = json_string_value(json_object_get(turn, name));
    char *end = NULL;
    if (!digits || strlen(digits) != 16 || strspn(digits, "0123456789abcdef") != 16) return false;
    *hash = strtoull(digits, &end, 16);
    return true;
}

static json_t *turn_json(const AnswerTurn *turn) {
    json_t *ids = json_array();
    for (size_t i = 0; i < turn->n; i++)
        if (json_array_append_new(ids, json_integer(turn->ids[i])) != 0) {
            json_decref(ids);
            return NULL;
        }
    return json_pack("{s:o,s:o,s:o,s:I,s:b,s:b,s:i,s:o}", "key", hash_json(turn->key), "reasoning", hash_json(turn->reasoning), "prefix",
                     hash_json(turn->prefix), "n_prefix", (json_int_t)turn->n_prefix, "thought", (int)turn->thought, "inside",
                     (int)turn->inside, "stop", (int)turn->stop_id, "ids", ids);
}

json_t *answer_turns_keep(const AnswerTurns *turns) {
    json_t *all = json_array();
    for (size_t i = 0; all && i < answer_turns_count(turns); i++)
        if (json_array_append_new(all, turn_json(answer_turns_at(turns, i))) != 0) {
            json_decref(all);
            return NULL;
        }
    return all;
}

/* False: it is no turn of this vocabulary. */
static bool read_turn(const json_t *kept, int vocab, AnswerTurn *turn, TextIds *ids) {
    const json_t *list = json_object_get(kept, "ids"), *stop = json_object_get(kept, "stop"), *n = json_object_get(kept, "n_prefix");
    bool ok = read_hash(kept, "key", &turn->key) && read_hash(kept, "reasoning", &turn->reasoning) &&
              read_hash(kept, "prefix", &turn->prefix) && json_is_integer(stop) && json_is_array(list) && json_integer_value(n) >= 0;
    ok = ok && json_integer_value(stop) >= -1 && json_integer_value(stop) < vocab;
    for (size_t i = 0; ok && i < json_array_size(list); i++) {
        const json_t *item = json_array_get(list, i);
        int32_t id = (int32_t)json_integer_value(item);
        ok = json_is_integer(item) && json_integer_value(item) >= 0 && json_integer_value(item) < vocab && answer_ids_put(ids, &id, 1);
    }
    if (!ok) return false;
    turn->n_prefix = (size_t)json_integer_value(n);
    turn->thought = json_is_true(json_object_get(kept, "thought"));
    turn->inside = json_is_true(json_object_get(kept, "inside"));
    turn->stop_id = (int32_t)json_integer_value(stop);
    turn->ids = ids->ids;
    turn->n = ids->n;
    return true;
}

void answer_turns_recall(AnswerTurns *turns, const json_t *kept, int vocab) {
    for (size_t i = 0; i < json_array_size(kept); i++) {
        AnswerTurn turn = {0};
        TextIds ids = {0};
        if (read_turn(json_array_get(kept, i), vocab, &turn, &ids)) answer_turns_put(turns, &turn);
        text_ids_free(&ids);
    }
}
