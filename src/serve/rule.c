/* From response_format and tool_choice to the grammar that the answer keeps to. */
#include "serve/rule.h"
#include "text/text.h"

enum { VOCAB_BYTES = 64 /* of a token, at most on average */ };

#include <string.h>

void serve_rule_release(ServeRule *rule) {
    if (!rule || atomic_fetch_sub(&rule->holders, 1) > 1) return;
    grammar_masks_free(rule->masks);
    grammar_free(rule->grammar);
    mem_free(rule->key);
    serve_purse_give(rule->purse, rule->held);
    mem_free(rule);
}

void serve_rules_free(ServeRules *rules) {
    for (size_t i = 0; i < COUNT_OF(rules->kept); i++) serve_rule_release(rules->kept[i]);
    grammar_vocab_free(rules->vocab);
    *rules = (ServeRules){{NULL}, NULL};
}

/* ---- building ---------------------------------------------------------------------------------------------------- */

static bool calls_must_come(const ServeAsk *ask) {
    return ask->chat && (ask->tool_choice == SERVE_TOOLS_REQUIRED || ask->tool_choice == SERVE_TOOLS_NAMED);
}

/* The function of one tool, whether it stands alone or in its wrapping. */
static const json_t *function_of(const json_t *tool) {
    const json_t *function = json_object_get(tool, "function");
    return function ? function : tool;
}

static Grammar *calls_grammar(const ServeAsk *ask, Err *err) {
    const json_t *list = json_object_get(ask->chat, "tools");
    size_t n = 0;
    GrammarTool *tools = MEM_NEW(GrammarTool, json_array_size(list) + 1);
    if (!tools) {
        err_no_memory(err, 0, "the tools");
        return NULL;
    }
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *function = function_of(json_array_get(list, i));
        const char *name = json_string_value(json_object_get(function, "name"));
        bool wanted = name && (ask->tool_choice == SERVE_TOOLS_REQUIRED || strcmp(name, ask->tool_name) == 0);
        if (wanted) tools[n++] = (GrammarTool){str_c(name), json_object_get(function, "parameters")};
    }
    GrammarCallForm form = ask->parts.form == TEXT_FORM_QWEN_JSON ? GRAMMAR_CALLS_JSON : GRAMMAR_CALLS_XML;
    bool several = ask->tool_choice == SERVE_TOOLS_REQUIRED && !ask->one_tool;
    Grammar *g = grammar_tool_calls(form, tools, n, several, err);
    mem_free(tools);
    return g;
}

static Grammar *build(const ServeAsk *ask, Err *err) {
    if (calls_must_come(ask)) return calls_grammar(ask, err);
    return ask->format == SERVE_FORMAT_JSON ? grammar_json_object(err) : grammar_json_schema(ask->schema, err);
}

/* Everything that build looks at. */
static bool put_key(const ServeAsk *ask, Buf *key) {
    bool calls = calls_must_come(ask);
    buf_printf(key, "%d %d %d %d %s\n", calls, (int)ask->format, (int)ask->parts.form, ask->one_tool, ask->tool_name ? ask->tool_name : "");
    buf_printf(key, "%d ", (int)ask->tool_choice);
    const json_t *value = calls ? json_object_get(ask->chat, "tools") : ask->format == SERVE_FORMAT_SCHEMA ? ask->schema : NULL;
    return (!value || text_json_put(value, key)) && !key->failed;
}

/* ---- finding ----------------------------------------------------------------------------------------------------- */

static ServeRule *make(const ServeAsk *ask, const char *key, ServePurse *purse, Err *err) {
    ServeRule *rule = MEM_NEW(ServeRule, 1);
    if (!rule) {
        err_no_memory(err, sizeof *rule, "a rule");
        return NULL;
    }
    atomic_init(&rule->holders, 1);
    rule->purse = purse;
    rule->key = mem_strdup(key);
    rule->grammar = rule->key ? build(ask, err) : NULL;
    if (rule->grammar) return rule;
    if (!rule->key) err_no_memory(err, strlen(key), "a rule");
    serve_rule_release(rule);
    return NULL;
}

/* Others that are only kept leave for it. */
static bool pay(ServeRules *rules, ServeRule *rule, Err *err) {
    uint64_t bytes = grammar_bytes(rule->grammar) + strlen(rule->key) + grammar_masks_bytes(rules->vocab);
    for (size_t i = COUNT_OF(rules->kept); !serve_purse_take(rule->purse, bytes); i--) {
        if (i == 0) {
            err_set(err, ERR_MEMORY, "the memory that is set aside for requests does not hold its automaton now");
            return false;
        }
        serve_rule_release(rules->kept[i - 1]);
        rules->kept[i - 1] = NULL;
    }
    rule->held = bytes;
    return true;
}

/* The one with this key, now the newest. */
static ServeRule *find(ServeRules *rules, ServePurse *purse, const ServeAsk *ask, const char *key, Err *err) {
    size_t i = 0, last = COUNT_OF(rules->kept) - 1;
    while (i < last && rules->kept[i] && strcmp(rules->kept[i]->key, key) != 0) i++;
    ServeRule *rule = rules->kept[i];
    if (!rule || strcmp(rule->key, key) != 0) {
        rule = make(ask, key, purse, err);
        if (!rule || !pay(rules, rule, err)) {
            serve_rule_release(rule);
            return NULL;
        }
        serve_rule_release(rules->kept[i]);
    }
    memmove(rules->kept + 1, rules->kept, i * sizeof *rules->kept);
    rules->kept[0] = rule;
    atomic_fetch_add(&rule->holders, 1);
    return rule;
}

/* Made once, and kept. */
static bool have_vocab(ServeRules *rules, ServePurse *purse, const ServeModel *model, Err *err) {
    const uint64_t most = VOCAB_BYTES * (uint64_t)model->info.vocab;
    if (rules->vocab) return true;
    if (!serve_purse_take(purse, most)) {
        err_set(err, ERR_MEMORY, "the memory that is set aside for requests does not hold the tokens' bytes now");
        return false;
    }
    rules->vocab = answer_vocab_new(model->model, err);
    uint64_t bytes = rules->vocab ? grammar_vocab_bytes(rules->vocab) : 0;
    serve_purse_give(purse, bytes < most ? most - bytes : 0);
    return rules->vocab != NULL;
}

bool serve_rules_find(ServeRules *rules, ServePurse *purse, const ServeModel *model, ServeAsk *ask, ServeRefusal *no) {
    bool calls = calls_must_come(ask);
    const char *field = calls ? "tool_choice" : ask->format_name;
    if (!calls && ask->format == SERVE_FORMAT_TEXT) return true;
    if (calls && ask->parts.form != TEXT_FORM_QWEN_XML && ask->parts.form != TEXT_FORM_QWEN_JSON)
        return serve_refuse(no, 400, field, "'%s': calls cannot be forced in the form that this model writes them", field);
    Err err = {0};
    Buf key = {0};
    bool vocab = have_vocab(rules, purse, model, &err);
    if (vocab && !put_key(ask, &key)) err_set(&err, ERR_RANGE, "the schema holds a number of more than 64 bits, or is too large");
    if (vocab && !err.code) ask->rule = find(rules, purse, ask, key.ptr, &err);
    buf_free(&key);
    if (ask->rule) return true;
    (void)serve_refuse(no, err.code == ERR_MEMORY ? 503 : 400, field, "'%s': %s", field, err.text);
    if (err.code == ERR_MEMORY) no->retry_after_s = 1;
    return false;
}

GrammarMasks *serve_rule_masks(ServeRule *rule, const ServeModel *model, const GrammarVocab *vocab, Err *err) {
    if (!rule->masks) rule->masks = answer_masks_new(model->model, rule->grammar, vocab, err);
    return rule->masks;
}
