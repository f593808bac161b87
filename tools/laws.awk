# The laws that a compiler does not know, checked on the text of the sources. Prints "file:line: what is wrong (law: ...)" and ends
# with 1 if there was anything. CONTRIBUTING.md says why each law is there.
#
# usage: awk -f tools/laws.awk src/*/*.[ch] include/*.h tests/*/*.[ch]

BEGIN {
    # The floors: a room includes only rooms on lower ones.
    floors = "base 0, os 1, quant 1, cache 1, format 2, kernels 2, disk 2, text 2, model 3, store 3, gpu 3, dist 3, forward 4, engine 5," \
             "grammar 2, states 6, answer 6, tools 6, forge 6, lab 6, serve 7, chat 7, cli 8"
    n = split(floors, pairs, /, */)
    for (i = 1; i <= n; i++) {
        split(pairs[i], pair, " ")
        floor_of[pair[1]] = pair[2] + 0
    }
    floor_of_api = 5 # sluice.h: engine implements it, those above use it

    max_lines = 600
    max_columns = 140
    max_function = 80

    # What functions that cross files are called: the room first. Two rooms have words of their own.
    prefix_of["base"] = "arena|buf|err|format|log|mem|parse|str|strmap|utf8|word|words"
    prefix_of["text"] = "text|jinja"
}

function broken(law, what) {
    printf "%s:%d: %s (law: %s)\n", FILENAME, FNR, what, law
    count++
}

# Does the code call one of these functions (a regular expression)? Members such as x->free() do not count.
function calls(names) { return code ~ ("(^|[^A-Za-z0-9_.>])(" names ")[ ]*\\(") }

# The line without comments and without the inside of strings. `in_comment` lives from line to line.
function strip(line,    out, c, two) {
    out = ""
    while (line != "") {
        two = substr(line, 1, 2)
        c = substr(line, 1, 1)
        if (in_comment) {
            if (two == "*/") { in_comment = 0; line = substr(line, 3) } else line = substr(line, 2)
        } else if (two == "/*") {
            in_comment = 1
            line = substr(line, 3)
        } else if (two == "//") {
            line = ""
        } else if (c == "\"" || c == "'") {
            match(line, c == "\"" ? "^\"([^\"\\\\]|\\\\.)*\"?" : "^'([^'\\\\]|\\\\.)*'?")
            out = out c c
            line = substr(line, RLENGTH + 1)
        } else {
            out = out c
            line = substr(line, 2)
        }
    }
    return out
}

function check_include(target,    to, file) {
    if (target !~ /\//) {
        if (target == "sluice.h") {
            if (kind == "src" && floor_of[room] < floor_of_api)
                broken("floors", room "/ is below sluice.h and must not know it")
        } else {
            broken("floors", "#include \"" target "\" does not say the room: write \"room/" target "\"")
        }
        return
    }
    to = target
    sub(/\/.*/, "", to)
    file = target
    sub(/^[^\/]*\//, "", file)
    if (kind == "include") { broken("floors", "the public header includes no room"); return }
    if (to == room) return
    if (kind == "tests" && (to == "support" || to == "fuzz")) return
    if (path[2] == "fuzz") return # a parser behind its door, thousands of times a second
    if (!(to in floor_of)) {
        broken("floors", "no room named " to "/ in tools/laws.awk")
    } else if (file != to ".h") {
        broken("doors", target " is private to " to "/: include its door " to "/" to ".h")
    } else if (kind == "src" && floor_of[to] >= floor_of[room]) {
        broken("floors", room "/ is on floor " floor_of[room] " and cannot include " to "/ on floor " floor_of[to])
    }
}

# A function or variable that other files can see: the name that a header declares.
function check_name(    name, words) {
    if (code !~ /\(/ && code !~ /^extern /) return
    name = code
    if (match(name, /[A-Za-z_0-9]+\(/)) name = substr(name, RSTART, RLENGTH - 1)
    else { sub(/[ ]*(\[.*|,.*|;.*)$/, "", name); sub(/^.*[ *]/, "", name) }
    words = (room in prefix_of ? prefix_of[room] : room) (room == "engine" ? "|sluice" : "")
    if (name !~ ("^(" words ")_") && name !~ /^[A-Z_0-9]+$/)
        broken("names", name " is seen by other files: call it " (room == "text" ? "text_" : room "_") "...")
}

# Where functions begin and end, by counting braces of the code outside the preprocessor's lines.
function count_braces(    open, close_, text) {
    text = code
    open = gsub(/\{/, "", text)
    close_ = gsub(/\}/, "", text)
    if (depth == 0 && open > 0 && code ~ /^[^=]*\)[^=]*\{|^\{/) function_line = FNR
    depth += open - close_
    if (depth > 0) return
    depth = 0
    if (function_line && FNR - function_line + 1 > max_function)
        broken("size", "a function of " FNR - function_line + 1 " lines, more than " max_function)
    function_line = 0
}

function end_file() {
    if (file_name == "") return
    if (lines > max_lines && !generated) {
        printf "%s: %d lines, more than %d: split it by ideas (law: size)\n", file_name, lines, max_lines
        count++
    }
    if (is_door && answers != 5) {
        printf "%s: a door begins with five answers: What this is, Who owns what, What may fail, Threads, Promise (law: doors)\n", file_name
        count++
    }
}

FNR == 1 {
    end_file()
    file_name = FILENAME
    in_comment = 0
    in_macro = 0
    depth = 0
    function_line = 0
    answers = 0
    generated = ($0 ~ /Generated by/)
    split(FILENAME, path, "/")
    kind = path[1]
    room = kind == "src" ? path[2] : ""
    is_door = kind == "src" && path[3] == room ".h"
    if (kind == "src" && !(room in floor_of)) {
        broken("floors", "no room named " room "/ in tools/laws.awk")
        floor_of[room] = 99
    }
    # how far up each freedom goes
    may_allocate = kind != "src" || room == "base"
    may_read_env = kind != "src" || room == "os" || room == "cli"
    may_know_isa = kind != "src" || room == "os" || room == "kernels"
    may_print = kind != "src" || room == "base" || room == "os" || room == "chat" || room == "cli"
    may_exit = kind != "src" || room == "os" || room == "cli" # os: the second Ctrl-C
}

{ lines = FNR }
/^ \* (What this is|Who owns what|What may fail|Threads|Promise) / { answers++ }
length($0) > max_columns && !generated { broken("columns", length($0) " columns, more than " max_columns) }
/[ \t]$/ { broken("columns", "white space at the end of the line") }
/\t/ { broken("columns", "a tab") }

/^[ ]*#[ ]*include[ ]*"/ {
    target = $0
    sub(/^[^"]*"/, "", target)
    sub(/".*/, "", target)
    check_include(target)
}
/^[ ]*#[ ]*include[ ]*<sluice.h>/ { check_include("sluice.h") }

{
    code = strip($0)
    is_directive = in_macro || code ~ /^[ ]*#/
    in_macro = is_directive && code ~ /\\$/
}
kind == "src" && room != "cli" && /^[^ \t]/ && FILENAME ~ /\.h$/ && depth == 0 && !is_directive && code ~ /^[A-Za-z_]/ &&
    code !~ /^(static|typedef|enum|[A-Z_0-9]+ )|\{|^_Static_assert/ { check_name() }
!is_directive && code !~ /^extern "" \{/ { count_braces() }

!may_allocate && calls("malloc|calloc|realloc|free|strdup|strndup|aligned_alloc|posix_memalign|asprintf|vasprintf|getline") {
    broken("memory", "heap memory comes from mem_new, mem_resize and mem_free only, so that tests can make it fail")
}
!may_read_env && calls("getenv|secure_getenv|setenv|putenv") { broken("environment", "only os/ and cli/ look at the environment") }
!may_know_isa && code ~ /^[ ]*#[ ]*(if|ifdef|ifndef|elif)[^A-Za-z0-9]/ &&
    code ~ /__(SSE|AVX|FMA|F16C|BMI|x86_64|i386|aarch64|arm|ARM|riscv|powerpc)|_M_X64/ {
    broken("instruction sets", "only os/ and kernels/ ask for an instruction set")
}
!may_know_isa && room != "base" && kind == "src" && code ~ /^[ ]*#[ ]*(if|ifdef|elif)[^A-Za-z0-9]|^[ ]*#[ ]*ifndef / && code !~ /#ifndef [A-Z0-9_]+_H$/ {
    broken("one build", "only os/ and kernels/ ask what they are built for")
}
!may_know_isa && /^[ ]*#[ ]*include[ ]*<(immintrin|[a-z]*mmintrin|arm_neon|cpuid)\.h>/ {
    broken("instruction sets", "only os/ and kernels/ use intrinsics")
}
!may_print && (calls("printf|puts|putchar|perror|vprintf") || code ~ /(^|[^A-Za-z0-9_])(stdout|stderr)([^A-Za-z0-9_]|$)/) {
    broken("silence", "the library prints nothing by itself: return an error, or log through base/")
}
!may_exit && calls("exit|_exit|_Exit|abort|quick_exit") { broken("errors", "a library does not end the process: return an ErrCode") }
kind == "src" && calls("atoi|atol|atoll|atof|gets|strcpy|strcat|sprintf|vsprintf|strtok|rand|srand|system|popen|mktemp|tmpnam") {
    broken("C library", "this function hides errors, state or lengths; there is a better one")
}
kind == "src" && code ~ /#[ ]*pragma[ ]+(STDC|GCC|clang)[ ]+(FP_CONTRACT|optimize|fast)|__attribute__.*optimize/ {
    broken("sums have an order", "no per-file floating-point modes")
}

END {
    end_file()
    exit count > 0
}
