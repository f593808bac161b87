/* How models write calls, as rows of one table, and which row a chat template asks for. */
#include "text/calls.h"

#include <string.h>

#define BAR "\xEF\xBD\x9C"   /* U+FF5C, a wide | */
#define BLOCK "\xE2\x96\x81" /* U+2581, a low line */
#define DEEPSEEK_TAG(a, b, c) "<" BAR a BLOCK b BLOCK c BAR ">"
#define DEEPSEEK_OPEN DEEPSEEK_TAG("tool", "calls", "begin")
#define DEEPSEEK_CLOSE DEEPSEEK_TAG("tool", "calls", "end")
#define DEEPSEEK_CALL DEEPSEEK_TAG("tool", "call", "begin")
#define DEEPSEEK_END DEEPSEEK_TAG("tool", "call", "end")
#define DEEPSEEK_SEP "<" BAR "tool" BLOCK "sep" BAR ">"

static const TextCallsForm forms[TEXT_FORMS] = {
    [TEXT_FORM_QWEN_XML] = {.open = "<tool_call>", .call_open = "<function=", .name_end = ">", .key_open = "<parameter=", .key_end = ">",
                            .value_open = "", .value_end = "</parameter>", .call_close = "</function>", .close = "</tool_call>",
                            .lines = true},
    [TEXT_FORM_QWEN_JSON] = {.open = "<tool_call>", .call_open = "", .key_open = "", .call_close = "", .close = "</tool_call>",
                             .name_in_json = true},
    [TEXT_FORM_GLM] = {.open = "<tool_call>", .call_open = "", .key_open = "<arg_key>", .key_end = "</arg_key>",
                       .value_open = "<arg_value>", .value_end = "</arg_value>", .call_close = "", .close = "</tool_call>",
                       .name_at_space = true},
    [TEXT_FORM_MINIMAX] = {.open = "<minimax:tool_call>", .call_open = "<invoke name=\"", .name_end = "\">",
                           .key_open = "<parameter name=\"", .key_end = "\">", .value_open = "", .value_end = "</parameter>",
                           .call_close = "</invoke>", .close = "</minimax:tool_call>"},
    [TEXT_FORM_KIMI] = {.open = "<|tool_calls_section_begin|>", .call_open = "<|tool_call_begin|>",
                        .name_end = "<|tool_call_argument_begin|>", .key_open = "", .call_close = "<|tool_call_end|>",
                        .close = "<|tool_calls_section_end|>", .name_is_id = true},
    [TEXT_FORM_DEEPSEEK] = {.open = DEEPSEEK_OPEN, .call_open = DEEPSEEK_CALL, .name_end = DEEPSEEK_SEP, .key_open = "",
                            .call_close = DEEPSEEK_END, .close = DEEPSEEK_CLOSE},
    [TEXT_FORM_DEEPSEEK_V3] = {.open = DEEPSEEK_OPEN, .call_open = DEEPSEEK_CALL "function" DEEPSEEK_SEP, .name_end = "\n```json\n",
                               .key_open = "", .call_close = "```" DEEPSEEK_END, .close = DEEPSEEK_CLOSE},
};

const TextCallsForm *text_calls_forms_get(TextForm form) { return form > TEXT_FORM_NONE && form < TEXT_FORMS ? &forms[form] : NULL; }

static bool contains(Str s, const char *word) {
    size_t len = strlen(word);
    for (size_t i = 0; i + len <= s.len; i++)
        if (s.ptr[i] == word[0] && memcmp(s.ptr + i, word, len) == 0) return true;
    return false;
}

/* From the rarest sign to the commonest: <tool_call> alone says nothing. */
TextForm text_calls_form(Str t) {
    if (contains(t, "<minimax:tool_call>")) return TEXT_FORM_MINIMAX;
    if (contains(t, "<|tool_calls_section_begin|>")) return TEXT_FORM_KIMI;
    if (contains(t, DEEPSEEK_OPEN)) return contains(t, "```json") ? TEXT_FORM_DEEPSEEK_V3 : TEXT_FORM_DEEPSEEK;
    if (!contains(t, "<tool_call>")) return TEXT_FORM_NONE;
    if (contains(t, "<arg_key>")) return TEXT_FORM_GLM;
    if (contains(t, "<function=")) return TEXT_FORM_QWEN_XML;
    return contains(t, "\"arguments\"") || contains(t, "\\\"arguments\\\"") ? TEXT_FORM_QWEN_JSON : TEXT_FORM_NONE;
}

bool text_calls_is_tag(TextForm form, Str token) {
    const TextCallsForm *f = text_calls_forms_get(form);
    if (!f || !token.len) return false;
    const char *const tags[] = {f->open, f->call_open, f->name_end, f->key_open, f->key_end, f->value_open, f->value_end,
                                f->call_close, f->close};
    for (size_t i = 0; i < COUNT_OF(tags); i++) {
        Str tag = str_c(tags[i] ? tags[i] : "");
        for (size_t at = 0; at + token.len <= tag.len; at++)
            if (memcmp(tag.ptr + at, token.ptr, token.len) == 0) return true;
    }
    return false;
}

bool text_calls_thinks(Str t) { return contains(t, "</think>"); }

bool text_calls_inside_think(Str prompt) {
    while (prompt.len && text_calls_forms_is_space(prompt.ptr[prompt.len - 1])) prompt.len--;
    return str_ends(prompt, "<think>");
}

bool text_calls_behind_think(Str prompt) {
    while (prompt.len && text_calls_forms_is_space(prompt.ptr[prompt.len - 1])) prompt.len--;
    return str_ends(prompt, "</think>");
}

TextCallsMatch text_calls_forms_match(Str s, size_t at, const char *word) {
    size_t len = strlen(word), left = s.len - at;
    if (left < len) return memcmp(s.ptr + at, word, left) == 0 ? TEXT_MATCH_MAYBE : TEXT_MATCH_NO;
    return memcmp(s.ptr + at, word, len) == 0 ? TEXT_MATCH_YES : TEXT_MATCH_NO;
}

bool text_calls_forms_is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

size_t text_calls_forms_skip_space(Str s, size_t at) {
    while (at < s.len && text_calls_forms_is_space(s.ptr[at])) at++;
    return at;
}
