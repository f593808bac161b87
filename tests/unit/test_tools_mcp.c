/* The MCP client against a server that this very program is, when it is called with a word: well-behaved, slow, talkative or broken. */
#include "os/os.h"
#include "support/program.h"
#include "tools/tools.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the server -------------------------------------------------------------------------------------------------- */

static void say(json_t *message) {
    char *text = json_dumps(message, JSON_COMPACT);
    printf("%s\n", text);
    fflush(stdout);
    free(text);
    json_decref(message);
}

static void reply(json_t *id, json_t *result) { say(json_pack("{s:s,s:O,s:o}", "jsonrpc", "2.0", "id", id, "result", result)); }

static json_t *tool(const char *name) {
    return json_pack("{s:s,s:s,s:{s:s,s:{s:{s:s}},s:[s]}}", "name", name, "description", "a tool", "inputSchema", "type", "object",
                     "properties", "word", "type", "string", "required", "word");
}

static void list_tools(json_t *id, const json_t *params) { /* on two pages */
    if (!json_object_get(params, "cursor")) reply(id, json_pack("{s:[o,o],s:s}", "tools", tool("say"), tool("fail"), "nextCursor", "next"));
    else reply(id, json_pack("{s:[o,o,o,o]}", "tools", tool("hang"), tool("die"), tool("picture"), tool("shell")));
}

static void call_tool(json_t *id, const json_t *params) {
    const char *name = json_string_value(json_object_get(params, "name"));
    json_t *word = json_object_get(json_object_get(params, "arguments"), "word");
    if (strcmp(name, "die") == 0) exit(3);
    if (strcmp(name, "hang") == 0) return;
    if (strcmp(name, "fail") == 0) {
        reply(id, json_pack("{s:[{s:s,s:s}],s:b}", "content", "type", "text", "text", "it went wrong", "isError", 1));
    } else if (strcmp(name, "picture") == 0) {
        reply(id, json_pack("{s:[{s:s,s:s},{s:s,s:s},{s:s,s:s}]}", "content", "type", "text", "text", "one", "type", "image", "data",
                            "AAAA", "type", "text", "text", "two"));
    } else {
        reply(id, json_pack("{s:[{s:s,s:o}]}", "content", "type", "text", "text",
                            json_sprintf("%s said %s", name, json_string_value(word))));
    }
}

/* Before every answer it asks and tells what nobody wants to know; the client must have answered when the next line comes. */
static void chatter(void) {
    static char line[65536];
    say(json_pack("{s:s,s:s,s:{}}", "jsonrpc", "2.0", "method", "notifications/message", "params"));
    say(json_pack("{s:s,s:i,s:s}", "jsonrpc", "2.0", "id", 99, "method", "ping"));
    say(json_pack("{s:s,s:s,s:s}", "jsonrpc", "2.0", "id", "other", "method", "roots/list"));
    printf("no JSON at all\n\n");
    fflush(stdout);
    if (!fgets(line, sizeof line, stdin) || !strstr(line, "\"id\":99,\"result\":{}")) exit(4);
    if (!fgets(line, sizeof line, stdin) || !strstr(line, "\"id\":\"other\",\"error\":")) exit(5);
}

static int serve(const char *manner) {
    static char line[65536];
    if (strcmp(manner, "mute") == 0) return 0;
    if (strcmp(manner, "endless") == 0)
        while (putchar('x') != EOF) {}
    while (fgets(line, sizeof line, stdin)) {
        json_t *message = json_loads(line, 0, NULL), *id = json_object_get(message, "id");
        const json_t *params = json_object_get(message, "params");
        const char *method = json_string_value(json_object_get(message, "method"));
        if (id && strcmp(manner, "talkative") == 0) chatter();
        if (strcmp(method, "notifications/cancelled") == 0) {
            FILE *f = fopen(getenv("CANCELLED"), "w");
            if (f) fputs("cancelled", f), fclose(f);
        }
        if (strcmp(manner, "unwilling") == 0)
            say(json_pack("{s:s,s:O,s:{s:i,s:s}}", "jsonrpc", "2.0", "id", id, "error", "code", -32000, "message", "I will not"));
        else if (strcmp(method, "initialize") == 0)
            reply(id, json_pack("{s:s,s:{},s:{s:s}}", "protocolVersion", "2024-11-05", "capabilities", "serverInfo", "name", "fake"));
        else if (strcmp(method, "tools/list") == 0) list_tools(id, params);
        else if (strcmp(method, "tools/call") == 0) call_tool(id, params);
        json_decref(message);
    }
    FILE *f = getenv("GOODBYE") ? fopen(getenv("GOODBYE"), "w") : NULL; /* its input was closed */
    if (f) fputs("goodbye", f), fclose(f);
    return 0;
}

/* ---- the client -------------------------------------------------------------------------------------------------- */

static const char *self;

/* Tools of a file that names this server, in this manner; NULL: *err. */
static Tools *start(const char *manner, const char *allow, uint64_t limit_ns, Err *err) {
    char text[4096];
    ToolsConfig config = {.folder = temp_dir(), .limit_ns = limit_ns};
    snprintf(text, sizeof text,
             "{\"mcpServers\": {\"fake\": {\"command\": \"%s\", \"args\": [\"--serve\", \"%s\"], "
             "\"env\": {\"CANCELLED\": \"%s\", \"GOODBYE\": \"%s\"}}}}", self, manner, temp_path("cancelled"), temp_path("goodbye"));
    write_whole(temp_path("mcp.json"), text);
    Tools *t = tools_new(&config, err);
    assert_non_null(t);
    if ((!allow || !tools_allow(t, allow, err)) && !tools_load(t, temp_path("mcp.json"), err)) return t;
    tools_free(t);
    return NULL;
}

static const char *call(Tools *t, ToolsEnd expected, const char *name, const char *word) {
    static Buf result;
    json_t *arguments = word ? json_pack("{s:s}", "word", word) : json_object();
    buf_clear(&result);
    ToolsEnd end = tools_call(t, name, arguments, &result);
    buf_putc(&result, 0);
    if (end != expected) fail_msg("%s ended with %d: %s", name, (int)end, result.ptr);
    json_decref(arguments);
    return result.ptr;
}

static void tools_of_a_server_are_listed_and_called(void **state) {
    (void)state;
    Err err = {0};
    Tools *t = start("plain", "shell", 0, &err);
    if (!t) fail_msg("%s", err.text);
    assert_int_equal(tools_count(t), 7);
    assert_string_equal(tools_name(t, 1), "say");
    assert_string_equal(tools_name(t, 6), "fake_shell"); /* the name was taken */
    assert_string_equal(tools_origin(t, 1), "MCP server fake");
    assert_string_equal(call(t, TOOLS_DONE, "say", "h\xC3\xA9llo \"you\""), "say said h\xC3\xA9llo \"you\"");
    assert_string_equal(call(t, TOOLS_DONE, "fake_shell", "x"), "shell said x");
    assert_string_equal(call(t, TOOLS_FAILED, "fail", "x"), "it went wrong");
    assert_string_equal(call(t, TOOLS_FAILED, "say", NULL), "['word' is missing]");
    assert_string_equal(call(t, TOOLS_DONE, "picture", "x"), "one\ntwo\n[content of the type image is left out]");
    tools_free(t);
    char *text = read_whole(temp_path("goodbye"), NULL);
    assert_string_equal(text, "goodbye");
    free(text);
}

static void a_talkative_server_is_answered(void **state) {
    (void)state;
    Err err = {0};
    Tools *t = start("talkative", NULL, 0, &err);
    if (!t) fail_msg("%s", err.text);
    for (int i = 0; i < 20; i++) assert_string_equal(call(t, TOOLS_DONE, "say", "x"), "say said x");
    tools_free(t);
}

static void a_call_that_hangs_is_given_up_and_the_next_one_works(void **state) {
    (void)state;
    Err err = {0};
    Tools *t = start("plain", NULL, 100000000, &err);
    if (!t) fail_msg("%s", err.text);
    assert_non_null(strstr(call(t, TOOLS_FAILED, "hang", "x"), "took longer than 0.1 seconds"));
    tools_free(t);
    t = start("plain", NULL, UINT64_C(20000000000), &err);
    assert_string_equal(call(t, TOOLS_DONE, "say", "x"), "say said x");
    tools_free(t);
    free(read_whole(temp_path("cancelled"), NULL));
}

static void a_server_that_dies_is_told_to_the_model(void **state) {
    (void)state;
    Err err = {0};
    Tools *t = start("plain", NULL, 0, &err);
    if (!t) fail_msg("%s", err.text);
    assert_string_equal(call(t, TOOLS_FAILED, "die", "x"), "[the MCP server fake has ended]");
    assert_string_equal(call(t, TOOLS_FAILED, "say", "x"), "[the MCP server fake has ended]");
    tools_free(t);
}

static void a_server_that_does_not_start_is_an_error(void **state) {
    (void)state;
    Err err = {0};
    assert_null(start("mute", NULL, 0, &err));
    assert_non_null(strstr(err.text, "the MCP server fake has ended, or speaks no MCP"));
    err = (Err){0};
    assert_null(start("unwilling", NULL, 0, &err));
    assert_non_null(strstr(err.text, "refuses initialize: I will not"));
    err = (Err){0};
    assert_null(start("endless", NULL, 0, &err));
    assert_non_null(strstr(err.text, "speaks no MCP"));
}

static void descriptions_of_servers_are_checked(void **state) {
    (void)state;
    static const char *const bad[][2] = {
        {"{\"mcpServers\": []}", "no object"},
        {"{\"mcpServers\": {\"a\": {\"url\": \"http://x\"}}}", "over a network"},
        {"{\"mcpServers\": {\"a\": {\"args\": []}}}", "wants {\"command\""},
        {"{\"mcpServers\": {\"a\": {\"command\": \"x\", \"args\": [1]}}}", "wants {\"command\""},
        {"{\"mcpServers\": {\"a\": {\"command\": \"no-such-program-here\"}}}", "cannot be started"},
    };
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        Err err = {0};
        Tools *t = tools_new(&(ToolsConfig){0}, &err);
        write_whole(temp_path("bad.json"), bad[i][0]);
        assert_int_not_equal(tools_load(t, temp_path("bad.json"), &err), ERR_OK);
        if (!strstr(err.text, bad[i][1])) fail_msg("%s: %s", bad[i][0], err.text);
        tools_free(t);
    }
}

static void a_line_for_the_shell_starts_one(void **state) {
    (void)state;
    char line[2048];
    Err err = {0};
    snprintf(line, sizeof line, "'%s' --serve plain", self);
    Tools *t = tools_new(&(ToolsConfig){0}, &err);
    if (tools_connect(t, line, &err)) fail_msg("%s", err.text);
    assert_string_equal(tools_origin(t, 0), "MCP server plain");
    assert_string_equal(call(t, TOOLS_DONE, "say", "x"), "say said x");
    tools_free(t);
}

int main(int argc, char **argv) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(tools_of_a_server_are_listed_and_called),
        cmocka_unit_test(a_talkative_server_is_answered),
        cmocka_unit_test(a_call_that_hangs_is_given_up_and_the_next_one_works),
        cmocka_unit_test(a_server_that_dies_is_told_to_the_model),
        cmocka_unit_test(a_server_that_does_not_start_is_an_error),
        cmocka_unit_test(descriptions_of_servers_are_checked),
        cmocka_unit_test(a_line_for_the_shell_starts_one),
    };
    if (argc > 2 && strcmp(argv[1], "--serve") == 0) return serve(argv[2]);
    self = argv[0];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
