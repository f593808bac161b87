/* Who may ask: keys, the pages that may call us, and requests that could be read in two ways. SECURITY.md says against whom. */
#define _GNU_SOURCE
#include "serve/http.h"
#include "os/os.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { MOST_KEY_BYTES = 512, KEY_FILE_BYTES = 1 << 20 };

/* ---- keys -------------------------------------------------------------------------------------------------------- */

static ErrCode add_key(Serve *s, const char *line, size_t len, Err *err) {
    while (len && strchr(" \t\r", line[len - 1])) len--;
    while (len && strchr(" \t", *line)) line++, len--;
    if (len == 0 || *line == '#') return ERR_OK;
    if (len > MOST_KEY_BYTES)
        return err_set(err, ERR_USAGE, "%s: a key of %zu characters; at most %d are taken", s->config->key_file, len, MOST_KEY_BYTES);
    char **more = mem_resize(s->keys, s->n_keys + 1, sizeof *more);
    if (!more) return err_no_memory(err, sizeof *more, "the keys");
    s->keys = more;
    s->keys[s->n_keys] = mem_strndup(line, len);
    if (!s->keys[s->n_keys]) return err_no_memory(err, len, "the keys");
    s->n_keys++;
    return ERR_OK;
}

ErrCode serve_guard_open(Serve *s, Err *err) {
    const char *path = s->config->key_file;
    if (!path) return ERR_OK;
    Buf text = {0};
    ErrCode code = os_read_file(path, KEY_FILE_BYTES, &text, err);
    for (size_t at = 0; !code && at < text.len;) {
        const char *end = memchr(text.ptr + at, '\n', text.len - at);
        size_t len = end ? (size_t)(end - (text.ptr + at)) : text.len - at;
        code = add_key(s, text.ptr + at, len, err);
        at += len + 1;
    }
    buf_free(&text);
    if (!code && s->n_keys == 0) code = err_set(err, ERR_USAGE, "%s has no key; write one on a line of its own", path);
    return code;
}

void serve_guard_close(Serve *s) {
    for (size_t i = 0; i < s->n_keys; i++) mem_free(s->keys[i]);
    mem_free(s->keys);
}

/* Takes as long for a wrong first character as for a wrong last one: every byte of a padded copy is looked at. */
static bool same_key(const char *key, const char *given) {
    unsigned char a[MOST_KEY_BYTES + 1] = {0}, b[MOST_KEY_BYTES + 1] = {0};
    size_t len = strnlen(given, MOST_KEY_BYTES + 1);
    memcpy(a, key, strnlen(key, MOST_KEY_BYTES));
    memcpy(b, given, len);
    volatile unsigned char differ = 0;
    for (size_t i = 0; i < sizeof a; i++) differ = (unsigned char)(differ | (a[i] ^ b[i]));
    return differ == 0;
}

static const char *header(const ServeVisit *v, const char *name) {
    return MHD_lookup_connection_value(v->connection, MHD_HEADER_KIND, name);
}

bool serve_guard_key(const ServeVisit *v, ServeRefusal *no) {
    const Serve *s = v->serve;
    if (s->n_keys == 0) return true;
    const char *given = header(v, "Authorization");
    if (given && strncasecmp(given, "Bearer ", 7) == 0) given += 7;
    else given = header(v, "x-api-key");
    if (!given) return serve_refuse(no, 401, NULL, "a key is needed: Authorization: Bearer KEY, or x-api-key: KEY");
    bool found = false;
    for (size_t i = 0; i < s->n_keys; i++) found = same_key(s->keys[i], given) || found;
    return found || serve_refuse(no, 401, NULL, "this key is not known here");
}

/* ---- pages ------------------------------------------------------------------------------------------------------- */

/* The name of "name:port" or "[::1]:port". */
static Str host_name(const char *host) {
    if (*host == '[') {
        const char *end = strchr(host, ']');
        return str_make(host, end ? (size_t)(end - host) + 1 : strlen(host));
    }
    return str_make(host, strcspn(host, ":"));
}

static bool is_name(Str name, const char *known) {
    return name.len == strlen(known) && strncasecmp(name.ptr, known, name.len) == 0;
}

/* A page of another site can reach a loopback server by letting its own name point here; then the name betrays it. */
static bool is_our_name(const Serve *s, Str name) {
    return is_name(name, "localhost") || is_name(name, "[::1]") || is_name(name, s->config->host) ||
           (name.len > 4 && strncmp(name.ptr, "127.", 4) == 0 && strspn(name.ptr, "0123456789.") >= name.len);
}

static bool is_named_origin(const Serve *s, const char *origin) {
    const char *cors = s->config->cors;
    return cors && (strcmp(cors, "*") == 0 || strcasecmp(cors, origin) == 0);
}

bool serve_guard_page(const ServeVisit *v, ServeRefusal *no) {
    const Serve *s = v->serve;
    const char *host = header(v, "Host"), *origin = header(v, "Origin");
    if (host && s->n_keys == 0 && !is_our_name(s, host_name(host)))
        return serve_refuse(no, 403, NULL, "this server is called localhost, not '%.100s'; with --api-key-file it answers to any name",
                            host);
    if (!origin || is_named_origin(s, origin)) return true;
    const char *name = strstr(origin, "://");
    if (name && host && strcasecmp(name + 3, host) == 0) return true; /* our own page */
    return serve_refuse(no, 403, NULL, "pages of '%.100s' may not call this server; --cors %.100s lets them", origin, origin);
}

void serve_guard_headers(const ServeVisit *v, struct MHD_Response *response) {
    const char *origin = header(v, "Origin");
    MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    MHD_add_response_header(response, "Content-Security-Policy", v->policy ? v->policy : "default-src 'none'; frame-ancestors 'none'");
    MHD_add_response_header(response, "Referrer-Policy", "no-referrer");
    if (!origin || !is_named_origin(v->serve, origin)) return;
    MHD_add_response_header(response, "Access-Control-Allow-Origin", v->serve->config->cors);
    MHD_add_response_header(response, "Vary", "Origin");
}

/* ---- framing ----------------------------------------------------------------------------------------------------- */

typedef struct Framing {
    int lengths, encodings, hosts;
    bool odd, packed; /* the body is compressed */
} Framing;

/* libmicrohttpd appends a folded line to the name of its header, so a name that merely begins like these hides one of them from us that a
 * proxy before us may have read. No header of that kind exists. */
static bool hides_length(const char *name) {
    static const char *const lengths[] = {"Content-Length", "Transfer-Encoding"};
    for (size_t i = 0; i < COUNT_OF(lengths); i++) {
        size_t len = strlen(lengths[i]);
        if (strncasecmp(name, lengths[i], len) == 0 && name[len]) return true;
    }
    return false;
}

static bool is_token(const char *name) {
    static const char token[] = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    return *name && !name[strspn(name, token)];
}

static enum MHD_Result look(void *user, enum MHD_ValueKind kind, const char *name, const char *value) {
    (void)kind;
    Framing *f = user;
    if (!is_token(name) || hides_length(name)) {
        f->odd = true;
    } else if (strcasecmp(name, "Content-Length") == 0) {
        f->lengths++;
        if (!value || !*value || value[strspn(value, "0123456789")]) f->odd = true;
    } else if (strcasecmp(name, "Transfer-Encoding") == 0) {
        f->encodings++;
        if (!value || strcasecmp(value, "chunked") != 0) f->odd = true;
    } else if (strcasecmp(name, "Content-Encoding") == 0) {
        f->packed = value && *value && strcasecmp(value, "identity") != 0;
    } else if (strcasecmp(name, "Host") == 0) {
        f->hosts++;
    }
    return MHD_YES;
}

bool serve_guard_framing(const ServeVisit *v, const char *version, ServeRefusal *no) {
    Framing f = {0};
    MHD_get_connection_values(v->connection, MHD_HEADER_KIND, look, &f);
    if (f.encodings && strcmp(version, "HTTP/1.1") != 0) f.odd = true;
    if (f.odd || f.lengths + f.encodings > 1 || f.hosts > 1)
        return serve_refuse(no, 400, NULL, "the headers can be read in more than one way: the length of the body or the host is told twice "
                                           "or oddly, or a name is none");
    if (f.packed) return serve_refuse(no, 415, NULL, "compressed bodies are not read; send it without Content-Encoding");
    return true;
}
