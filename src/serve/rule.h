/* serve/rule: what an answer must be, where a request says so: a grammar that is built once and kept for the next request. */
#ifndef SERVE_RULE_H
#define SERVE_RULE_H

#include "grammar/grammar.h"
#include "serve/purse.h"

#include <stdatomic.h>

struct ServeRule {
    atomic_int holders;
    char *key;               /* the kind and the schema it was built from */
    Grammar *grammar;
    GrammarMasks *masks;     /* the worker's: made when it first needs them */
    ServePurse *purse;
    uint64_t held;           /* of the purse, for all of them */
};

/* The rules of late requests. Used under the lock of the model's text side. */
typedef struct ServeRules {
    ServeRule *kept[4];      /* the newest first */
    GrammarVocab *vocab;     /* made with the first rule */
} ServeRules;

/* Fills ask->rule where response_format or tool_choice demand something. */
bool serve_rules_find(ServeRules *rules, ServePurse *purse, const ServeModel *model, ServeAsk *ask, ServeRefusal *no);
void serve_rules_free(ServeRules *rules);
void serve_rule_release(ServeRule *rule);
/* For the worker: the masks, made where they are not there yet. */
GrammarMasks *serve_rule_masks(ServeRule *rule, const ServeModel *model, const GrammarVocab *vocab, Err *err);

#endif
