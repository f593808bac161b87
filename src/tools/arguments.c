/* Whether arguments are those that a function declares: what is required is there, types and choices fit. A model that reads what is
 * wrong can call again; the function need not find out. Inner objects are the function's own business. */
#include "tools/inside.h"

#include "text/text.h"

#include <math.h>
#include <string.h>

static bool is_type(const json_t *value, const char *type) {
    double real = json_number_value(value);
    if (strcmp(type, "string") == 0) return json_is_string(value);
    if (strcmp(type, "integer") == 0) return json_is_integer(value) || (json_is_real(value) && real == floor(real));
    if (strcmp(type, "number") == 0) return json_is_number(value);
    if (strcmp(type, "boolean") == 0) return json_is_boolean(value);
    if (strcmp(type, "array") == 0) return json_is_array(value);
    if (strcmp(type, "object") == 0) return json_is_object(value);
    if (strcmp(type, "null") == 0) return json_is_null(value);
    return true; /* a word that JSON Schema does not know forbids nothing */
}

/* type: a word, or a list of words. */
static bool fits_type(const json_t *value, const json_t *type) {
    if (json_is_string(type)) return is_type(value, json_string_value(type));
    bool any = json_array_size(type) == 0;
    for (size_t i = 0; i < json_array_size(type); i++) {
        const char *word = json_string_value(json_array_get(type, i));
        any = any || !word || is_type(value, word);
    }
    return any;
}

static bool fits_choice(const json_t *value, const json_t *choices) {
    bool any = !json_is_array(choices);
    for (size_t i = 0; i < json_array_size(choices); i++) any = any || json_equal(value, json_array_get(choices, i));
    return any;
}

static bool check_one(const char *name, const json_t *value, const json_t *schema, Buf *why) {
    const json_t *type = json_object_get(schema, "type"), *choices = json_object_get(schema, "enum");
    if (!fits_type(value, type)) {
        buf_printf(why, "'%.100s' must be of type ", name);
        (void)text_json_put(type, why);
    } else if (!fits_choice(value, choices)) {
        buf_printf(why, "'%.100s' must be one of ", name);
        (void)text_json_put(choices, why);
    }
    return why->len == 0;
}

bool tools_arguments_check(const json_t *parameters, const json_t *arguments, Buf *why) {
    const json_t *properties = json_object_get(parameters, "properties"), *required = json_object_get(parameters, "required");
    if (!json_is_object(arguments)) {
        buf_puts(why, "the arguments must be a JSON object");
        return false;
    }
    for (size_t i = 0; i < json_array_size(required); i++) {
        const char *name = json_string_value(json_array_get(required, i));
        if (!name || json_object_get(arguments, name)) continue;
        buf_printf(why, "'%.100s' is missing", name);
        return false;
    }
    json_t *all = (json_t *)arguments; /* jansson's iterators are older than const */
    for (void *it = json_object_iter(all); it; it = json_object_iter_next(all, it)) {
        const char *name = json_object_iter_key(it);
        const json_t *schema = json_object_get(properties, name);
        if (!schema && json_is_false(json_object_get(parameters, "additionalProperties")))
            buf_printf(why, "there is no argument '%.100s'", name);
        if (why->len || !check_one(name, json_object_iter_value(it), schema, why)) return false;
    }
    return true;
}
