/* The names and values of a call: which tool is meant, and what a bare text stands for by the tool's schema. */
#include "text/calls.h"

#include <math.h>
#include <string.h>

/* ---- tools ---- */

const char *text_calls_value_tool_name(const json_t *tool) { return json_string_value(json_object_get(tool, "name")); }

static Str trimmed(Str s) {
    while (s.len && text_calls_forms_is_space(s.ptr[s.len - 1])) s.len--;
    size_t skip = text_calls_forms_skip_space(s, 0);
    return str_make(s.ptr + skip, s.len - skip);
}

static char plain(char c) { return c == '-' ? '_' : (char)(c >= 'A' && c <= 'Z' ? c | 0x20 : c); }

static bool alike(Str a, const char *b) {
    for (size_t i = 0; i < a.len; i++)
        if (!b[i] || plain(a.ptr[i]) != plain(b[i])) return false;
    return b[a.len] == 0;
}

/* The tool of exactly this name or, if there is one only, of a name that differs in capitals, - and _. */
const json_t *text_calls_value_tool(const json_t *tools, Str name) {
    name = trimmed(name);
    if (name.len > 1 && (name.ptr[0] == '"' || name.ptr[0] == '\'') && name.ptr[name.len - 1] == name.ptr[0])
        name = str_make(name.ptr + 1, name.len - 2);
    const json_t *near = NULL;
    size_t n_near = 0;
    Str inner = str_starts(name, "functions.") ? str_make(name.ptr + 10, name.len - 10) : name;
    for (size_t i = 0; i < json_array_size(tools); i++) {
        const json_t *tool = json_array_get(tools, i), *function = json_object_get(tool, "function");
        if (json_is_object(function)) tool = function;
        const char *its = text_calls_value_tool_name(tool);
        if (!its) continue;
        if (str_eq_c(name, its)) return tool;
        if (!alike(name, its) && !alike(inner, its)) continue;
        near = tool;
        n_near++;
    }
    return n_near == 1 ? near : NULL;
}

/* ---- schemas ---- */

enum { T_STRING = 1, T_INTEGER = 2, T_NUMBER = 4, T_BOOLEAN = 8, T_NULL = 16, T_OBJECT = 32, T_ARRAY = 64 };
enum { MAX_REFS = 16 }; /* a schema may refer to itself */

static int type_of_word(const char *word) {
    static const struct { const char *begin; int type; } words[] = {
        {"int", T_INTEGER}, {"num", T_NUMBER}, {"float", T_NUMBER}, {"double", T_NUMBER}, {"bool", T_BOOLEAN}, {"null", T_NULL},
        {"none", T_NULL}, {"obj", T_OBJECT}, {"dict", T_OBJECT}, {"arr", T_ARRAY}, {"list", T_ARRAY}, {"tuple", T_ARRAY},
    };
    for (size_t i = 0; word && i < COUNT_OF(words); i++)
        if (strncmp(word, words[i].begin, strlen(words[i].begin)) == 0) return words[i].type;
    return T_STRING;
}

static int type_of_value(const json_t *v) {
    switch (json_typeof(v)) {
    case JSON_OBJECT: return T_OBJECT;
    case JSON_ARRAY: return T_ARRAY;
    case JSON_INTEGER: return T_INTEGER;
    case JSON_REAL: return T_NUMBER;
    case JSON_TRUE:
    case JSON_FALSE: return T_BOOLEAN;
    case JSON_NULL: return T_NULL;
    case JSON_STRING: break;
    }
    /* how text_json_load keeps a long integer */
    return json_string_length(v) && (unsigned char)json_string_value(v)[0] == 0xFF ? T_INTEGER : T_STRING;
}

/* "#/$defs/name" in the document `root`. */
static const json_t *referred(const json_t *root, const char *ref) {
    if (strncmp(ref, "#/", 2) != 0) return NULL;
    const json_t *at = root;
    for (const char *part = ref + 2; at; part++) {
        size_t len = strcspn(part, "/");
        at = json_object_getn(at, part, len);
        part += len;
        if (!*part) return at;
    }
    return NULL;
}

static int types_of(const json_t *root, const json_t *schema, int depth);

static int types_of_all(const json_t *root, const json_t *list, int depth) {
    int types = 0;
    for (size_t i = 0; i < json_array_size(list); i++) types |= types_of(root, json_array_get(list, i), depth);
    return types;
}

/* The types that a schema allows, 0 when it does not say. */
static int types_of(const json_t *root, const json_t *schema, int depth) {
    if (!json_is_object(schema) || depth > MAX_REFS) return 0;
    const json_t *type = json_object_get(schema, "type"), *values = json_object_get(schema, "enum");
    const json_t *only = json_object_get(schema, "const"), *ref = json_object_get(schema, "$ref");
    int types = 0;
    if (json_is_string(type)) types = type_of_word(json_string_value(type));
    for (size_t i = 0; i < json_array_size(type); i++) types |= type_of_word(json_string_value(json_array_get(type, i)));
    if (!types && only) types = type_of_value(only);
    for (size_t i = 0; !json_is_string(type) && i < json_array_size(values); i++) types |= type_of_value(json_array_get(values, i));
    if (!types && json_is_string(ref)) types = types_of(root, referred(root, json_string_value(ref)), depth + 1);
    if (!types) types = types_of_all(root, json_object_get(schema, "anyOf"), depth + 1);
    if (!types) types = types_of_all(root, json_object_get(schema, "oneOf"), depth + 1);
    if (!types) types = types_of_all(root, json_object_get(schema, "allOf"), depth + 1);
    if (!types && json_object_get(schema, "properties")) types = T_OBJECT;
    if (!types && json_object_get(schema, "items")) types = T_ARRAY;
    if (types && json_is_true(json_object_get(schema, "nullable"))) types |= T_NULL;
    return types;
}

/* ---- values ---- */

void text_calls_value_string(Str text, Buf *out) {
    static const char hex[] = "0123456789abcdef", special[] = "\"\\\n\r\t\b\f", escapes[] = "\"\\nrtbf";
    TextStream stream = {0};
    Buf whole = {0};
    text_stream_put(&stream, text.ptr, text.len, &whole);
    text_stream_end(&stream, &whole);
    out->failed = out->failed || whole.failed;
    buf_putc(out, '"');
    for (size_t i = 0; i < whole.len; i++) {
        unsigned char c = (unsigned char)whole.ptr[i];
        const char *at = c ? strchr(special, c) : NULL;
        if (at) {
            buf_putc(out, '\\');
            buf_putc(out, escapes[at - special]);
        } else if (c < 0x20) {
            char code[] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};
            buf_put(out, code, sizeof code);
        } else {
            buf_putc(out, (char)c);
        }
    }
    buf_putc(out, '"');
    buf_free(&whole);
}

static bool is_word(Str s, const char *word) {
    for (size_t i = 0; i < s.len; i++)
        if (plain(s.ptr[i]) != word[i]) return false;
    return word[s.len] == 0;
}

/* What else than a string the text may be, as JSON; NULL: nothing. */
static const char *constant(Str t, int types) {
    bool null = types & T_NULL || (types && !(types & T_STRING));
    if (null && (is_word(t, "null") || is_word(t, "none"))) return "null";
    if (types & T_BOOLEAN && is_word(t, "true")) return "true";
    if (types & T_BOOLEAN && is_word(t, "false")) return "false";
    return NULL;
}

/* Whether the text spells a JSON value of one of these types. It is then passed on as it is, so no digit is lost. */
static bool spells(Str t, int types, bool *failed) {
    char first = t.len ? t.ptr[0] : 0;
    bool bracket = first == '{' || first == '[', number = first == '-' || (first >= '0' && first <= '9');
    if (!(bracket && types & (T_OBJECT | T_ARRAY)) && !(number && types & (T_INTEGER | T_NUMBER))) return false;
    Err err = {0};
    json_t *v = text_json_load(t.ptr, t.len, &err);
    *failed = *failed || err.code == ERR_MEMORY;
    if (!v) return false;
    int type = type_of_value(v);
    if (type == T_NUMBER && json_real_value(v) == floor(json_real_value(v))) type = T_INTEGER; /* 5.0 */
    json_decref(v);
    return types & type || (type == T_INTEGER && types & T_NUMBER);
}

void text_calls_value_put(const json_t *tool, Str key, Str value, Buf *out) {
    const json_t *parameters = json_object_get(tool, "parameters"), *own = NULL;
    const json_t *properties = json_object_get(parameters, "properties");
    if (json_is_object(properties)) own = json_object_getn(properties, key.ptr, key.len);
    int types = types_of(parameters, own, 0);
    if (own && !types) types = T_STRING | T_OBJECT | T_ARRAY; /* anything: brackets that match are hardly meant as text */
    Str t = trimmed(value);
    const char *fixed = constant(t, types);
    if (fixed) buf_puts(out, fixed);
    else if (spells(t, types, &out->failed)) buf_put(out, t.ptr, t.len);
    else text_calls_value_string(value, out);
}

/* ---- objects ---- */

bool text_calls_value_is_object(Str text, const json_t *tool, bool *failed) {
    Err err = {0};
    json_t *v = text_json_load(text.ptr, text.len, &err);
    *failed = *failed || err.code == ERR_MEMORY;
    bool good = json_is_object(v);
    const json_t *required = json_object_get(json_object_get(tool, "parameters"), "required");
    for (size_t i = 0; good && i < json_array_size(required); i++) {
        const char *key = json_string_value(json_array_get(required, i));
        good = !key || json_object_get(v, key);
    }
    json_decref(v);
    return good;
}

void text_calls_value_mend(Str json, Buf *out) {
    bool in_string = false;
    for (size_t i = 0; i < json.len; i++) {
        char c = json.ptr[i];
        if (in_string && (unsigned char)c < 0x20) {
            buf_printf(out, "\\u%04x", (unsigned)(unsigned char)c);
            continue;
        }
        buf_putc(out, c);
        if (c == '"') in_string = !in_string;
        else if (in_string && c == '\\' && i + 1 < json.len && (unsigned char)json.ptr[i + 1] >= 0x20) buf_putc(out, json.ptr[++i]);
    }
}

/* Behind the value that begins at `at`, in JSON that is valid. */
static size_t value_end(Str s, size_t at) {
    int depth = 0;
    for (bool in_string = false; at < s.len; at++) {
        char c = s.ptr[at];
        if (in_string) {
            if (c == '\\') at++;
            else if (c == '"') in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            depth++;
        } else if (c == '}' || c == ']') {
            if (depth-- == 0) return at;
        } else if (c == ',' && depth == 0) {
            return at;
        }
    }
    return at;
}

Str text_calls_value_member(Str object, const char *key, size_t *others) {
    Str found = {NULL, 0};
    size_t at = text_calls_forms_skip_space(object, 0) + 1, key_len = strlen(key);
    *others = 0;
    for (;;) {
        at = text_calls_forms_skip_space(object, at);
        if (at >= object.len || object.ptr[at] != '"') return found;
        size_t name = at + 1, end = name;
        while (end < object.len && object.ptr[end] != '"') end += object.ptr[end] == '\\' ? 2 : 1;
        at = text_calls_forms_skip_space(object, end + 1) + 1; /* the colon */
        size_t value = at;
        at = value_end(object, at);
        if (!str_eq(str_make(object.ptr + name, end - name), str_make(key, key_len))) ++*others;
        else found = trimmed(str_make(object.ptr + value, at - value));
        at++; /* the comma */
    }
}
