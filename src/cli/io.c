/* Standard input and output, whole files, lists of ids. */
#define _POSIX_C_SOURCE 200809L
#include "cli/io.h"
#include "format/format.h"
#include "os/os.h"
#include "text/text.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* ---- output -------------------------------------------------------------------------------------------------------- */

static int out_errno;     /* the first failure of standard output; 0: none */
static bool out_no_memory;

static void note_failure(bool failed) {
    if (failed && !out_errno) out_errno = errno ? errno : EIO;
}

void out_write(const void *bytes, size_t len) {
    if (out_errno || len == 0) return;
    errno = 0;
    note_failure(fwrite(bytes, 1, len, stdout) != len);
}

void out_puts(const char *z) { out_write(z, strlen(z)); }

void out_printf(const char *fmt, ...) {
    if (out_errno) return;
    va_list args;
    va_start(args, fmt);
    errno = 0;
    note_failure(vprintf(fmt, args) < 0);
    va_end(args);
}

static int put_in_buf(const char *bytes, size_t len, void *buf) {
    buf_put(buf, bytes, len);
    return 0;
}

bool json_write(const json_t *value, Buf *out) {
    enum { FLAGS = JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(12) };
    return value && json_dump_callback(value, put_in_buf, out, FLAGS) == 0 && !out->failed;
}

void out_json(json_t *value) {
    Buf text = {0};
    if (json_write(value, &text)) {
        buf_putc(&text, '\n');
        out_write(text.ptr, text.len);
    } else {
        out_no_memory = true;
    }
    buf_free(&text);
    json_decref(value);
}

void out_flush(void) {
    errno = 0;
    if (!out_errno) note_failure(fflush(stdout) != 0);
}

bool out_gone(void) { return out_errno != 0; }

ErrCode out_finish(Err *err) {
    out_flush();
    if (out_errno && out_errno != EPIPE)
        return err_set(err, ERR_IO, "standard output: writing failed: %s", strerror(out_errno));
    if (out_no_memory) return err_set(err, ERR_MEMORY, "out of memory while writing JSON");
    return ERR_OK;
}

/* ---- input --------------------------------------------------------------------------------------------------------- */

static ErrCode read_stream(FILE *f, const char *name, Buf *out, Err *err) {
    char block[65536];
    for (;;) {
        errno = 0;
        size_t n = fread(block, 1, sizeof block, f);
        buf_put(out, block, n);
        if (os_interrupted()) return err_set(err, ERR_INTERRUPTED, "interrupted");
        if (out->failed) return err_no_memory(err, out->len, name);
        if (out->len > (1u << 30)) return err_set(err, ERR_RANGE, "%s: more than 1 GiB of text", name);
        if (n < sizeof block) break;
    }
    if (ferror(f)) return err_set(err, ERR_IO, "%s: reading failed: %s", name, strerror(errno));
    buf_put(out, "", 0);
    return ERR_OK;
}

ErrCode input_file(const char *path, Buf *out, Err *err) {
    if (strcmp(path, "-") == 0) {
        if (isatty(STDIN_FILENO) == 1) log_note("reading from the terminal; Ctrl-D ends the text");
        return read_stream(stdin, "standard input", out, err);
    }
    if (os_is_dir(path)) return err_set(err, ERR_IO, "%s: is a folder, not a text", path);
    FILE *f = fopen(path, "rb");
    if (!f) return err_set(err, ERR_IO, "%s: cannot open: %s", path, strerror(errno));
    ErrCode code = read_stream(f, path, out, err);
    fclose(f);
    return code;
}

LabTrace *input_trace(const char *path, Err *err) {
    Buf bytes = {0};
    LabTrace *t = input_file(path, &bytes, err) ? NULL : lab_trace_parse(path, bytes.ptr, bytes.len, err);
    buf_free(&bytes);
    return t;
}

ErrCode input_text(const Options *o, Buf *out, Err *err) {
    if (opt_given(o, OPT_PROMPT) && opt_given(o, OPT_FILE))
        return err_set(err, ERR_USAGE, "-p and -f exclude each other: the text comes from one of them");
    if (opt_given(o, OPT_PROMPT)) {
        buf_puts(out, opt_text(o, OPT_PROMPT, ""));
        return out->failed ? err_no_memory(err, 0, "the text") : ERR_OK;
    }
    return input_file(opt_text(o, OPT_FILE, "-"), out, err);
}

ErrCode input_parse_ids(const char *text, size_t len, int32_t **ids, size_t *n, Err *err) {
    size_t cap = 0;
    *ids = NULL;
    *n = 0;
    for (size_t i = 0; i < len;) {
        if (isspace((unsigned char)text[i]) || text[i] == ',' || text[i] == '[' || text[i] == ']') {
            i++;
            continue;
        }
        size_t start = i;
        int64_t id = 0;
        while (i < len && text[i] >= '0' && text[i] <= '9' && id <= INT32_MAX) id = id * 10 + (text[i++] - '0');
        if (i == start || id > INT32_MAX || (i < len && isalnum((unsigned char)text[i]))) {
            size_t word = 0;
            while (start + word < len && word < 20 && !isspace((unsigned char)text[start + word]) && text[start + word] != ',') word++;
            mem_free(*ids);
            *ids = NULL;
            return err_set(err, ERR_USAGE, "'%.*s' is no token id: ids are whole numbers, separated by commas or spaces", (int)word,
                           text + start);
        }
        if (*n == cap) {
            cap = cap ? 2 * cap : 64;
            int32_t *more = mem_resize(*ids, cap, sizeof *more);
            if (!more) {
                mem_free(*ids);
                *ids = NULL;
                return err_no_memory(err, cap * sizeof *more, "token ids");
            }
            *ids = more;
        }
        (*ids)[(*n)++] = (int32_t)id;
    }
    return ERR_OK;
}

static int64_t little_endian(const unsigned char *bytes, int n) {
    uint64_t value = 0;
    for (int i = 0; i < n; i++) value |= (uint64_t)bytes[i] << (8 * i);
    return (int64_t)value;
}

static ErrCode ids_of_tensor(const FormatModel *m, const FormatTensor *t, int32_t **ids, size_t *n, Err *err) {
    if (t->type != QUANT_I32 && t->type != QUANT_I64)
        return err_set(err, ERR_FORMAT, "%s: input_ids has type %s; I32 or I64 is wanted", m->path, quant_traits(t->type)->name);
    if (t->n_dims != 1 && !(t->n_dims == 2 && t->dims[0] == 1))
        return err_set(err, ERR_FORMAT, "%s: input_ids must have the shape [T] or [1,T]", m->path);
    uint64_t count = format_tensor_count(t);
    int32_t *list = MEM_NEW(int32_t, count + 1);
    unsigned char *raw = mem_new((size_t)t->bytes + 1, 1);
    ErrCode code = ERR_MEMORY;
    if (!list || !raw) err_no_memory(err, t->bytes, "token ids");
    else code = format_read(m, t, 0, t->bytes, raw, err);
    for (uint64_t i = 0; code == ERR_OK && i < count; i++) {
        int64_t id = t->type == QUANT_I64 ? little_endian(raw + 8 * i, 8) : (int32_t)little_endian(raw + 4 * i, 4);
        if (id < 0 || id > INT32_MAX)
            code = err_set(err, ERR_FORMAT, "%s: input_ids[%llu] is %lld, which is no token id", m->path, (unsigned long long)i,
                           (long long)id);
        else list[i] = (int32_t)id;
    }
    mem_free(raw);
    if (code) {
        mem_free(list);
        return code;
    }
    *ids = list;
    *n = (size_t)count;
    return ERR_OK;
}

ErrCode input_ids(const char *text_or_path, int32_t **ids, size_t *n, Err *err) {
    *ids = NULL;
    *n = 0;
    const char *dot = strrchr(text_or_path, '.');
    if (!os_exists(text_or_path) && (!dot || strcmp(dot, ".safetensors") != 0))
        return input_parse_ids(text_or_path, strlen(text_or_path), ids, n, err);
    FormatModel *m = format_open_safetensors_file(text_or_path, err);
    if (!m) return err ? err->code : ERR_FORMAT;
    const FormatTensor *t = format_tensor(m, "input_ids");
    ErrCode code = t ? ids_of_tensor(m, t, ids, n, err)
                     : err_set(err, ERR_FORMAT, "%s: has no tensor input_ids", text_or_path);
    format_close(m);
    return code;
}

/* ---- lines --------------------------------------------------------------------------------------------------------- */

/* Reads one line without its newline; false at the end. */
static bool read_line(Buf *line) {
    buf_clear(line);
    int c;
    while ((c = getc_unlocked(stdin)) != EOF) {
        if (c == '\n') return true;
        buf_putc(line, (char)c);
    }
    return line->len > 0;
}

ErrCode lines_answer(LineAnswer *answer, void *user, bool errors_are_answers, Err *err) {
    Buf line = {0};
    uint64_t number = 0, failed = 0;
    while (!out_gone() && read_line(&line)) {
        Err line_err = {0};
        json_t *question = NULL, *reply = NULL;
        number++;
        if (os_interrupted()) break;
        if (line.failed) err_no_memory(&line_err, line.len, "a line of input");
        else question = text_json_load(line.ptr ? line.ptr : "", line.len, &line_err);
        if (question) reply = answer(user, question, &line_err);
        json_decref(question);
        if (!reply) {
            failed++;
            log_debug("line %llu: %s", (unsigned long long)number, line_err.text);
            reply = json_pack("{s:o}", "error", json_text(line_err.text, strlen(line_err.text)));
        }
        out_json(reply);
        out_flush(); /* whoever feeds us line by line waits for the answer */
    }
    buf_free(&line);
    if (os_interrupted()) return err_set(err, ERR_INTERRUPTED, "interrupted");
    if (ferror(stdin)) return err_set(err, ERR_IO, "standard input: reading failed: %s", strerror(errno));
    if (failed == 0) return ERR_OK;
    static const char sentence[] = "%llu of %llu lines had an error; their answers say which";
    if (!errors_are_answers) return err_set(err, ERR_RANGE, sentence, (unsigned long long)failed, (unsigned long long)number);
    log_note(sentence, (unsigned long long)failed, (unsigned long long)number);
    return ERR_OK;
}

/* ---- JSON ---------------------------------------------------------------------------------------------------------- */

json_t *json_text(const char *bytes, size_t len) {
    Buf whole = {0};
    TextStream stream = {0};
    text_stream_put(&stream, bytes, len, &whole);
    text_stream_end(&stream, &whole);
    json_t *value = whole.failed ? NULL : json_stringn(whole.ptr ? whole.ptr : "", whole.len);
    buf_free(&whole);
    return value;
}

json_t *json_ids(const int32_t *ids, size_t n) {
    json_t *list = json_array();
    for (size_t i = 0; list && i < n; i++)
        if (json_array_append_new(list, json_integer(ids[i]))) {
            json_decref(list);
            return NULL;
        }
    return list;
}
