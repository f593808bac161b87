/* sluice plot: a trace, or the lines of simulate --json or bench --json, as a picture. */
#include "cli/commands.h"
#include "cli/io.h"
#include "lab/lab.h"

#include <stdio.h>
#include <string.h>

enum { POINTS_MAX = 256 };

typedef struct Lines {
    char names[LAB_SERIES_MAX][32];
    double x[LAB_SERIES_MAX][POINTS_MAX], y[LAB_SERIES_MAX][POINTS_MAX];
    LabSeries series[LAB_SERIES_MAX];
    int n;
    char model[64];
    uint64_t tokens;
} Lines;

static const char *const kinds = "heat or reuse of a trace, hits of simulate --json, bench of bench --json";

static void add_point(Lines *l, const char *name, double x, double y, bool dashed) {
    int i = 0;
    while (i < l->n && strcmp(l->names[i], name) != 0) i++;
    if (i == LAB_SERIES_MAX) return;
    LabSeries *s = &l->series[i];
    if (i == l->n) {
        l->n++;
        snprintf(l->names[i], sizeof l->names[i], "%s", name);
        *s = (LabSeries){.name = l->names[i], .x = l->x[i], .y = l->y[i], .dashed = dashed};
    }
    if (s->n == POINTS_MAX) return;
    int at = s->n++; /* in ascending x */
    for (; at > 0 && l->x[i][at - 1] > x; at--) l->x[i][at] = l->x[i][at - 1], l->y[i][at] = l->y[i][at - 1];
    l->x[i][at] = x;
    l->y[i][at] = y;
}

/* ---- a trace ------------------------------------------------------------------------------------------------------- */

static ErrCode plot_heat(const LabTrace *t, const char *out, Err *err) {
    size_t layers = t->facts.layers, experts = t->facts.experts;
    uint64_t *uses = MEM_NEW(uint64_t, layers * experts);
    double *shares = MEM_NEW(double, layers * experts);
    ErrCode code = uses && shares ? ERR_OK : err_no_memory(err, layers * experts * 16, "a picture");
    if (!code) {
        lab_uses(t, uses);
        for (size_t i = 0; i < layers * experts; i++) shares[i] = 100 * (double)uses[i] / (double)t->n_tokens;
        char title[160];
        snprintf(title, sizeof title, "Use of experts: %s, %llu tokens", t->facts.model, (unsigned long long)t->n_tokens);
        LabHeat heat = {title, "expert", "layer", "% of tokens use it", shares, (uint32_t)layers, (uint32_t)experts};
        code = lab_plot_heat(out, &heat, err);
    }
    mem_free(uses);
    mem_free(shares);
    return code;
}

static ErrCode plot_reuse(const LabTrace *t, const char *out, Lines *l, Err *err) {
    LabLocality locality;
    ErrCode code = lab_locality(t, &locality, err);
    if (code) return code;
    for (int i = 0; i < LAB_REUSE_BUCKETS && (i == 0 || 1u << (i - 1) < t->facts.experts); i++)
        add_point(l, "wanted again", (double)(1u << i), locality.reuse[i], false);
    char title[160];
    snprintf(title, sizeof title, "Reuse distances: %s, %llu tokens", t->facts.model, (unsigned long long)t->n_tokens);
    LabChart chart = {title, "experts of the layer wanted since, fewer than", "share of all wants", l->series, l->n, true, true};
    return lab_plot_lines(out, &chart, err);
}

static ErrCode plot_trace(const char *path, const Buf *bytes, const char *kind, const char *out, Lines *l, Err *err) {
    bool reuse = kind && strcmp(kind, "reuse") == 0;
    if (kind && !reuse && strcmp(kind, "heat") != 0)
        return err_set(err, ERR_USAGE, "--kind %s: a trace can be drawn as heat or reuse", kind);
    LabTrace *t = lab_trace_parse(path, bytes->ptr, bytes->len, err);
    if (!t) return err ? err->code : ERR_FORMAT;
    ErrCode code = reuse ? plot_reuse(t, out, l, err) : plot_heat(t, out, err);
    lab_trace_free(t);
    return code;
}

/* ---- lines of JSON ------------------------------------------------------------------------------------------------- */

static double real(const json_t *o, const char *key) { return json_number_value(json_object_get(o, key)); }

static const char *string(const json_t *o, const char *key) {
    const char *s = json_string_value(json_object_get(o, key));
    return s ? s : "";
}

/* Takes what can be drawn of one line: 'h' of simulate, 'b' of bench, 0 nothing. */
static int take_line(Lines *l, const json_t *line) {
    if (strcmp(string(line, "type"), "trace") == 0) {
        snprintf(l->model, sizeof l->model, "%s", string(line, "model"));
        l->tokens = (uint64_t)real(line, "tokens");
        return 0;
    }
    if (strcmp(string(line, "type"), "replay") == 0) {
        const char *policy = string(line, "policy");
        bool bound = strcmp(policy, "belady") == 0 || strcmp(policy, "pinned") == 0;
        add_point(l, policy, real(line, "slots"), real(line, "hit_rate"), bound);
        return 'h';
    }
    if (!json_is_number(json_object_get(line, "decode_tok_s"))) return 0;
    double ram = real(json_object_get(line, "plan"), "ram_bytes") / 1073741824.0;
    add_point(l, "decode", ram, real(line, "decode_tok_s"), false);
    if (real(line, "bound_serial_tok_s") > 0) add_point(l, "serial bound", ram, real(line, "bound_serial_tok_s"), true);
    if (real(line, "bound_tok_s") > 0) add_point(l, "bound", ram, real(line, "bound_tok_s"), true);
    return 'b';
}

static ErrCode plot_json(const char *path, const Buf *text, const char *kind, const char *out, Lines *l, Err *err) {
    int seen = 0, number = 0;
    for (size_t at = 0; at < text->len;) {
        const char *start = text->ptr + at, *end = memchr(start, '\n', text->len - at);
        size_t len = end ? (size_t)(end - start) : text->len - at;
        at += len + 1;
        number++;
        if (len == 0) continue;
        json_error_t why;
        json_t *line = json_loadb(start, len, 0, &why);
        if (!json_is_object(line)) {
            json_decref(line);
            return err_set(err, ERR_FORMAT, "%s: line %d is neither a trace nor an object of JSON: %s", path, number, why.text);
        }
        int what = take_line(l, line);
        json_decref(line);
        if (what && seen && what != seen)
            return err_set(err, ERR_FORMAT, "%s: holds lines of simulate and of bench; draw them apart", path);
        if (what) seen = what;
    }
    if (!seen) return err_set(err, ERR_FORMAT, "%s: holds nothing that can be drawn; plot takes %s", path, kinds);
    const char *is = seen == 'h' ? "hits" : "bench";
    if (kind && strcmp(kind, is) != 0) return err_set(err, ERR_USAGE, "--kind %s: %s can be drawn as %s", kind, path, is);
    char title[160];
    if (seen == 'h') {
        snprintf(title, sizeof title, "Hit rate: %s, %llu tokens", l->model, (unsigned long long)l->tokens);
        LabChart chart = {title, "experts in memory", "wanted experts found in memory", l->series, l->n, true, false};
        return lab_plot_lines(out, &chart, err);
    }
    LabChart chart = {"Decoding speed over memory", "memory for the process, GiB", "tokens per second", l->series, l->n, false, false};
    return lab_plot_lines(out, &chart, err);
}

ErrCode plot_command(const Options *o, Err *err) {
    if (!opt_given(o, OPT_RECORDED)) return err_set(err, ERR_USAGE, "-f is missing: the file to draw; plot takes %s", kinds);
    if (!opt_given(o, OPT_OUT)) return err_set(err, ERR_USAGE, "-o is missing: the picture to write, .svg or .png");
    const char *path = opt_text(o, OPT_RECORDED, ""), *out = opt_text(o, OPT_OUT, ""), *kind = opt_text(o, OPT_KIND, NULL);
    Buf text = {0};
    Lines *l = MEM_NEW(Lines, 1);
    ErrCode code = l ? input_file(path, &text, err) : err_no_memory(err, sizeof *l, "a picture");
    if (!code && text.len >= 8 && memcmp(text.ptr, "SLTRACE1", 8) == 0) code = plot_trace(path, &text, kind, out, l, err);
    else if (!code) code = plot_json(path, &text, kind, out, l, err);
    if (!code && strcmp(out, "-") != 0) log_note("written to %s", out);
    buf_free(&text);
    mem_free(l);
    return code;
}
