/* The web page: a few files inside the program (page_files.S), served under a policy that lets nothing in from elsewhere and no script
 * run that is not one of them. */
#include "serve/http.h"

#include <string.h>

#define FILES(X)                                \
    X(index, "/", "text/html")                  \
    X(style, "/page/page.css", "text/css")      \
    X(main, "/page/main.js", "text/javascript") \
    X(api, "/page/api.js", "text/javascript")   \
    X(talks, "/page/talks.js", "text/javascript") \
    X(markdown, "/page/markdown.js", "text/javascript") \
    X(live, "/page/live.js", "text/javascript")

#define X(name, path, type) extern const char serve_page_##name[], serve_page_##name##_end[];
FILES(X)
#undef X

typedef struct PageFile {
    const char *path, *type, *begin, *end;
} PageFile;

static const PageFile files[] = {
#define X(name, path, type) {path, type "; charset=utf-8", serve_page_##name, serve_page_##name##_end},
    FILES(X)
#undef X
};

static const char POLICY[] = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
                             "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

void serve_page(ServeVisit *v) {
    size_t i = 0;
    while (i < COUNT_OF(files) && strcmp(files[i].path, v->path) != 0) i++;
    if (i == COUNT_OF(files)) {
        (void)serve_refuse(&v->no, 404, NULL, "there is nothing at %.120s", v->path);
        serve_reply_refusal(v);
        return;
    }
    Buf text = {0};
    buf_put(&text, files[i].begin, (size_t)(files[i].end - files[i].begin));
    v->policy = POLICY;
    serve_reply_text(v, 200, files[i].type, &text);
}
