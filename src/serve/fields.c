/* Reading the fields of a request: every one has a row, or is refused by its name. */
#include "serve/ask.h"

#include <math.h>
#include <string.h>

bool serve_read_fields(ServeReading *r, json_t *object, const ServeField *fields, size_t n) {
    if (!json_is_object(object)) return serve_refuse(r->no, 400, NULL, "a JSON object is expected here");
    const char *name;
    json_t *value;
    json_object_foreach(object, name, value) {
        size_t i = 0;
        while (i < n && strcmp(fields[i].name, name) != 0) i++;
        if (i == n) return serve_refuse(r->no, 400, name, "the field '%.80s' is not supported here", name);
        if (!json_is_null(value) && !fields[i].read(r, name, value)) return false;
    }
    return true;
}

/* ---- kinds of values --------------------------------------------------------------------------------------------- */

bool serve_want_bool(ServeReading *r, const char *name, const json_t *value, bool *out) {
    if (!json_is_boolean(value)) return serve_refuse(r->no, 400, name, "'%s' must be true or false", name);
    *out = json_is_true(value);
    return true;
}

bool serve_want_int(ServeReading *r, const char *name, const json_t *value, int64_t low, int64_t high, int64_t *out) {
    if (!json_is_integer(value)) return serve_refuse(r->no, 400, name, "'%s' must be a whole number", name);
    int64_t v = json_integer_value(value);
    if (v < low || v > high)
        return serve_refuse(r->no, 400, name, "'%s' is %lld; it must be between %lld and %lld", name, (long long)v, (long long)low,
                            (long long)high);
    *out = v;
    return true;
}

bool serve_want_number(ServeReading *r, const char *name, const json_t *value, double low, double high, double *out) {
    if (!json_is_number(value)) return serve_refuse(r->no, 400, name, "'%s' must be a number", name);
    double v = json_number_value(value);
    if (!isfinite(v) || v < low || v > high)
        return serve_refuse(r->no, 400, name, "'%s' is %g; it must be between %g and %g", name, v, low, high);
    *out = v;
    return true;
}

bool serve_want_text(ServeReading *r, const char *name, const json_t *value, Str *out) {
    if (!json_is_string(value)) return serve_refuse(r->no, 400, name, "'%s' must be a string", name);
    *out = str_make(json_string_value(value), json_string_length(value));
    return true;
}

/* ---- rows that several APIs share -------------------------------------------------------------------------------- */

bool serve_field_idle(ServeReading *r, const char *name, json_t *value) {
    (void)r, (void)name, (void)value;
    return true;
}

bool serve_field_empty(ServeReading *r, const char *name, json_t *value) {
    bool empty = json_is_false(value) || (json_is_number(value) && json_number_value(value) == 0) ||
                 (json_is_string(value) && json_string_length(value) == 0) || (json_is_array(value) && json_array_size(value) == 0) ||
                 (json_is_object(value) && json_object_size(value) == 0);
    return empty || serve_refuse(r->no, 400, name, "'%s' is not supported", name);
}

bool serve_field_stream(ServeReading *r, const char *name, json_t *value) { return serve_want_bool(r, name, value, &r->ask->stream); }

static bool read_include_usage(ServeReading *r, const char *name, json_t *value) {
    return serve_want_bool(r, name, value, &r->ask->stream_usage);
}

bool serve_field_stream_options(ServeReading *r, const char *name, json_t *value) {
    static const ServeField fields[] = {{"include_usage", read_include_usage}, {"include_obfuscation", serve_field_idle}};
    if (!json_is_object(value)) return serve_refuse(r->no, 400, name, "'%s' must be an object", name);
    return serve_read_fields(r, value, fields, COUNT_OF(fields)) || serve_refuse_inside(r->no, "%s", name);
}

bool serve_field_max_tokens(ServeReading *r, const char *name, json_t *value) {
    int64_t v = 0;
    if (!serve_want_int(r, name, value, 0, INT32_MAX, &v)) return false;
    r->ask->max_tokens = (int)v;
    r->ask->max_tokens_name = name;
    return true;
}

bool serve_field_n(ServeReading *r, const char *name, json_t *value) {
    int64_t v = 0;
    if (!serve_want_int(r, name, value, 1, SERVE_MOST_CHOICES, &v)) return false;
    r->ask->choices = (int)v;
    return true;
}

bool serve_field_seed(ServeReading *r, const char *name, json_t *value) {
    int64_t v = 0;
    if (!serve_want_int(r, name, value, INT64_MIN, INT64_MAX, &v)) return false;
    r->ask->seed = (uint64_t)v;
    r->ask->seeded = true;
    return true;
}

static bool add_stop(ServeReading *r, const char *name, const json_t *value) {
    Str stop = {0};
    if (!serve_want_text(r, name, value, &stop)) return false;
    if (stop.len == 0) return serve_refuse(r->no, 400, name, "'%s' has an empty string, which would stop every answer at once", name);
    r->ask->stops[r->ask->n_stops++] = stop;
    return true;
}

bool serve_field_stop(ServeReading *r, const char *name, json_t *value) {
    if (!json_is_array(value)) return add_stop(r, name, value);
    if (json_array_size(value) > SERVE_MOST_STOPS)
        return serve_refuse(r->no, 400, name, "'%s' has %zu strings; at most %d are looked for", name, json_array_size(value),
                            SERVE_MOST_STOPS);
    size_t i;
    json_t *one;
    json_array_foreach(value, i, one)
        if (!add_stop(r, name, one)) return false;
    return true;
}

#define SAMPLING_NUMBER(field, low, high)                                                             \
    bool serve_field_##field(ServeReading *r, const char *name, json_t *value) {                      \
        double v = 0;                                                                                     \
        if (!serve_want_number(r, name, value, low, high, &v)) return false;                          \
        r->ask->sampling.field = (float)v;                                                            \
        return true;                                                                                  \
    }
SAMPLING_NUMBER(temperature, 0, 1000)
SAMPLING_NUMBER(top_p, 0, 1)
SAMPLING_NUMBER(min_p, 0, 1)
SAMPLING_NUMBER(presence, -100, 100)
SAMPLING_NUMBER(frequency, -100, 100)
SAMPLING_NUMBER(repeat, 0.01, 100)

bool serve_field_top_k(ServeReading *r, const char *name, json_t *value) {
    int64_t v = 0;
    if (!serve_want_int(r, name, value, -1, INT32_MAX, &v)) return false;
    r->ask->sampling.top_k = v < 0 ? 0 : (int)v; /* -1: off, as some clients say it */
    return true;
}
