/* The template interpreter, shared by its files.
 *
 *   jinja_lex.c     template text -> tokens           jinja_value.c   values: lists, dicts, equality, iteration
 *   jinja_parse.c   tokens -> statements              jinja_print.c   str(), repr() and JSON of a value
 *   jinja_expr.c    tokens -> expressions             jinja_unicode.c strings as Python sees them: code points
 *   jinja_scope.c   which variable a name means       jinja_ops.c     operators, attributes, subscripts
 *   jinja_exec.c    runs statements                   jinja_call.c    arguments, macros, global functions
 *   jinja_eval.c    evaluates expressions             jinja_filters.c, jinja_seq.c, jinja_tests.c,
 *                                                     jinja_methods.c, jinja_members.c: what values can be asked
 *
 * The language is Jinja2 3.1 in the sandbox of transformers; the values behave as Python's. The tree belongs to the Template; all
 * values of one render live in its arena and borrow the strings of the JSON they came from.
 */
#ifndef TEXT_JINJA_H
#define TEXT_JINJA_H

#include "text/text.h"

#include <time.h>

typedef struct JinjaRun JinjaRun;
typedef struct JinjaExpr JinjaExpr;
typedef struct JinjaStmt JinjaStmt;
typedef struct JinjaFrame JinjaFrame;

/* A template must end, in bounded memory, whoever wrote it. */
enum {
    JINJA_MAX_SOURCE = 8 << 20,      /* bytes of a template */
    JINJA_MAX_NESTING = 200,         /* brackets, blocks and operators inside each other in the source */
    JINJA_MAX_DEPTH = 2500,          /* evaluations inside each other: macros that call macros, lists inside lists */
    JINJA_MAX_STEPS = 50000000,      /* evaluations of one render; text counts one step for every 16 bytes looked at */
    JINJA_MAX_RANGE = 100000,        /* length of range(), as in Jinja's sandbox */
    JINJA_BASE_MEMORY = 64 << 20,    /* bytes a render may take, plus JINJA_MEMORY_FACTOR times its input */
    JINJA_MEMORY_FACTOR = 64
};

/* ---- values --------------------------------------------------------------------------------------------------------- */

typedef enum JinjaKind {
    JINJA_MISSING, /* a variable that was never set, an argument that was not given: never seen by templates */
    JINJA_UNDEFINED, JINJA_NONE, JINJA_BOOL, JINJA_INT,
    JINJA_BIG,   /* an integer beyond 64 bits, as its digits */
    JINJA_FLOAT, JINJA_STR, JINJA_LIST, JINJA_TUPLE, JINJA_DICT, JINJA_RANGE,
    JINJA_VIEW,  /* what dict.items(), keys(), values() give */
    JINJA_ITER,  /* what map, select, items, ... give: can be walked once */
    JINJA_NAMESPACE, JINJA_MACRO, JINJA_FUNC, JINJA_METHOD, JINJA_LOOP, JINJA_CYCLER, JINJA_JOINER,
    JINJA_N_KINDS
} JinjaKind;

typedef struct JinjaValue {
    uint8_t kind;
    uint8_t flag; /* STR: passed through `safe`; UNDEFINED: a JinjaWhy */
    union {
        bool b;
        int64_t i;
        double f;
        Str s; /* STR, BIG (digits), UNDEFINED (name or sentence) */
        struct JinjaList *list; /* LIST, TUPLE, VIEW, ITER */
        struct JinjaDict *dict; /* DICT, NAMESPACE */
        struct JinjaRange *range;
        struct JinjaMacro *macro;
        struct JinjaMethod *method;
        struct JinjaLoop *loop;
        struct JinjaCycler *cycler;
        struct JinjaJoiner *joiner;
        const struct JinjaFunc *func;
    };
} JinjaValue;

/* Why a value is undefined decides the sentence of the error when it is used. From JINJA_WHY_ATTR on: an attribute
 * that a value of kind (flag - JINJA_WHY_ATTR) does not have. */
typedef enum JinjaWhy { JINJA_WHY_NAME, JINJA_WHY_SENTENCE, JINJA_WHY_ATTR } JinjaWhy;

typedef struct JinjaList {
    JinjaValue *items; /* [n] */
    size_t n, cap;
    size_t at; /* ITER: how far it was walked */
} JinjaList;

typedef struct JinjaEntry {
    JinjaValue key, value;
    uint64_t hash;
} JinjaEntry;

typedef struct JinjaDict {
    JinjaEntry *entries; /* [n] in order of insertion */
    uint32_t n, cap;
    uint32_t *index; /* [index_cap] entry number + 1, 0 empty; only for dicts of more than a few entries */
    uint32_t index_cap;
} JinjaDict;

typedef struct JinjaRange { int64_t start, step, n; } JinjaRange;
typedef struct JinjaMethod { JinjaValue self; const struct JinjaFunc *func; } JinjaMethod;
typedef struct JinjaCycler { JinjaList *values; size_t at; } JinjaCycler;
typedef struct JinjaJoiner { JinjaValue separator; bool used; } JinjaJoiner;

typedef struct JinjaMacro {
    const struct JinjaMacroDef *def;
    JinjaFrame *frame; /* where it was defined */
} JinjaMacro;

typedef struct JinjaIter {
    JinjaValue over;
    size_t at;      /* item, or byte of a string */
    int64_t left;   /* items still to come */
} JinjaIter;

typedef struct JinjaLoop {
    JinjaIter iter;    /* stands behind the current item */
    int64_t index0, length, depth0;
    JinjaValue previous, current, changed; /* MISSING: none */
    const JinjaStmt *stmt; /* a recursive loop can be called with new items */
    JinjaFrame *frame;
} JinjaLoop;

/* ---- functions of the language ------------------------------------------------------------------------------------------ */

typedef struct JinjaArgs {
    JinjaValue *pos; /* [n_pos] */
    Str *names;      /* [n_named] */
    JinjaValue *named;
    uint32_t n_pos, n_named;
} JinjaArgs;

enum { JINJA_MAX_PARAMS = 6 };

typedef struct JinjaCall {
    JinjaRun *run;
    const JinjaValue *self;           /* the value a filter, test or method is applied to */
    JinjaValue arg[JINJA_MAX_PARAMS]; /* bound by the names in params; MISSING when not given */
    const JinjaArgs *raw;
} JinjaCall;

typedef bool JinjaFn(JinjaCall *call, JinjaValue *out);

/* A filter, test, method or global function. params: names separated by spaces, "?" after an optional one; "*": takes raw. */
typedef struct JinjaFunc {
    const char *name, *params;
    JinjaFn *fn; /* NULL: Jinja has it, we do not */
} JinjaFunc;

/* ---- the tree ------------------------------------------------------------------------------------------------------------- */

typedef enum JinjaOp {
    JINJA_ADD, JINJA_SUB, JINJA_MUL, JINJA_DIV, JINJA_FLOORDIV, JINJA_MOD, JINJA_POW,
    JINJA_EQ, JINJA_NE, JINJA_LT, JINJA_LE, JINJA_GT, JINJA_GE, JINJA_IN, JINJA_NOT_IN
} JinjaOp;

/* Where a variable lives: `up` frames outwards, then `slot`. up < 0: not a variable of the template but one of the caller. */
typedef struct JinjaRef { int up; uint32_t slot; } JinjaRef;

typedef struct JinjaArgExprs {
    JinjaExpr **pos, **named; /* [n_pos], [n_named] */
    Str *names;
    JinjaExpr *star, *star_star; /* *list and **dict, or NULL */
    uint32_t n_pos, n_named;
} JinjaArgExprs;

typedef enum JinjaExprKind {
    JINJA_X_CONST, JINJA_X_NAME, JINJA_X_LIST, JINJA_X_TUPLE,
    JINJA_X_DICT,    /* items: key, value, key, value, ... */
    JINJA_X_SUM,     /* items: a + b + c, kept flat so that long concatenations copy once */
    JINJA_X_CONCAT,  /* items: a ~ b ~ c */
    JINJA_X_BINARY, JINJA_X_NEG, JINJA_X_POS, JINJA_X_NOT, JINJA_X_AND, JINJA_X_OR,
    JINJA_X_COMPARE, /* a ops[0] items[0] ops[1] items[1] ... */
    JINJA_X_IF,      /* a if b else c; c may be NULL */
    JINJA_X_ATTR, JINJA_X_ITEM,
    JINJA_X_SLICE,   /* a[b:c:d] */
    JINJA_X_CALL, JINJA_X_FILTER, JINJA_X_TEST
} JinjaExprKind;

struct JinjaExpr {
    JinjaExprKind kind;
    JinjaOp op;
    unsigned line, depth;
    JinjaRef ref;
    Str name;
    JinjaValue value;
    JinjaExpr *a, *b, *c, *d;
    JinjaExpr **items; /* [n_items] */
    JinjaOp *ops;
    uint32_t n_items;
    const JinjaFunc *func;
    JinjaArgExprs *args;
};

typedef struct JinjaBlock {
    JinjaStmt **stmts; /* [n] */
    size_t n;
} JinjaBlock;

/* How a variable of a scope starts when the scope is entered. */
typedef enum JinjaInit {
    JINJA_INIT_PARAM,   /* whoever enters sets it */
    JINJA_INIT_UNSET,
    JINJA_INIT_INHERIT, /* with the value the name has outside */
    JINJA_INIT_LOADED   /* no variable of its own: the name was only read here */
} JinjaInit;

typedef struct JinjaVar {
    Str name;
    JinjaInit init;
    uint32_t slot;
    JinjaRef outer; /* INHERIT: where from */
} JinjaVar;

typedef struct JinjaScope {
    struct JinjaScope *parent;
    JinjaVar *vars; /* [n] */
    uint32_t n, cap, n_slots;
    StrMap by_name; /* -> index into vars */
} JinjaScope;

typedef struct JinjaMacroDef {
    Str name;
    Str *params;           /* [n_params]; their slots are 0 .. n_params-1 */
    JinjaExpr **defaults;  /* [n_params], NULL where there is none */
    uint32_t n_params;
    uint32_t caller, kwargs, varargs; /* slot + 1 of the special variables, 0 where the body does not use them */
    JinjaBlock body;
    JinjaScope *scope;
} JinjaMacroDef;

typedef enum JinjaStmtKind {
    JINJA_S_TEXT, JINJA_S_PRINT, JINJA_S_IF, JINJA_S_FOR, JINJA_S_SET, JINJA_S_SET_BLOCK, JINJA_S_MACRO, JINJA_S_CALL_BLOCK,
    JINJA_S_FILTER_BLOCK, JINJA_S_WITH, JINJA_S_SCOPE /* generation */, JINJA_S_BREAK, JINJA_S_CONTINUE
} JinjaStmtKind;

struct JinjaStmt {
    JinjaStmtKind kind;
    unsigned line;
    bool recursive;              /* FOR */
    Str text;                    /* TEXT */
    JinjaExpr *expr;             /* PRINT, IF: condition, FOR: items, SET: value, CALL_BLOCK: call, *_BLOCK: filter of its body */
    JinjaExpr *target;           /* FOR, SET, SET_BLOCK; MACRO: its name */
    JinjaExpr *test;             /* FOR ... if test */
    JinjaExpr **targets, **values; /* WITH: [n_with] */
    uint32_t n_with;
    JinjaBlock body, orelse;     /* IF, FOR */
    JinjaStmt *elif;             /* IF: the next branch */
    JinjaScope *scope, *test_scope, *else_scope;
    uint32_t loop_slot;          /* FOR: where `loop` lives */
    JinjaMacroDef *macro;        /* MACRO, CALL_BLOCK */
};

struct Template {
    Arena arena;
    JinjaBlock body;
    JinjaScope *scope;
};

/* ---- lexing and parsing ------------------------------------------------------------------------------------------------------ */

typedef enum JinjaTokenKind {
    JINJA_T_EOF, JINJA_T_DATA, JINJA_T_VAR_BEGIN, JINJA_T_VAR_END, JINJA_T_BLOCK_BEGIN, JINJA_T_BLOCK_END, JINJA_T_NAME,
    JINJA_T_STRING, JINJA_T_NUMBER, JINJA_T_OP
} JinjaTokenKind;

typedef struct JinjaToken {
    JinjaTokenKind kind;
    unsigned line;
    Str text;         /* DATA, NAME, STRING: the value; OP: its characters */
    JinjaValue value; /* NUMBER */
} JinjaToken;

typedef struct JinjaParser {
    Template *tmpl;
    Err *err;
    const JinjaToken *tok; /* the current one; the list ends with EOF */
    unsigned nesting, loops;
} JinjaParser;

/* Writes "line N: ..." and returns false. */
bool jinja_source_fail(Err *err, ErrCode code, unsigned line, const char *fmt, ...) BASE_PRINTF(4, 5);
bool jinja_no_memory(Err *err); /* out of memory while parsing; returns false */
/* Texts and names go to `keep`, the tokens themselves to `words`. */
bool jinja_lex(Arena *keep, Arena *words, const char *source, size_t len, JinjaToken **tokens, Err *err);
bool jinja_parse(Template *t, const JinjaToken *tokens, Err *err);
bool jinja_resolve(Template *t, Err *err); /* jinja_scope.c: gives every name its place */

/* Steps of the parser that statements and expressions share. Each returns NULL or false after writing the error. */
JinjaExpr *jinja_parse_expr(JinjaParser *p);                       /* with "a if b else c" */
JinjaExpr *jinja_parse_tuple(JinjaParser *p, bool conditional, bool in_parens, const char *end_name);
JinjaExpr *jinja_parse_primary(JinjaParser *p, bool target);
JinjaExpr *jinja_parse_filters(JinjaParser *p, JinjaExpr *e, bool named); /* named: stands before a filter's name, not a "|" */
JinjaExpr *jinja_new_expr(JinjaParser *p, JinjaExprKind kind, unsigned line, JinjaExpr *a, JinjaExpr *b);
bool jinja_is_op(const JinjaParser *p, const char *op);
bool jinja_is_name(const JinjaParser *p, const char *name);
bool jinja_skip_op(JinjaParser *p, const char *op);
bool jinja_skip_name(JinjaParser *p, const char *name);
bool jinja_expect_op(JinjaParser *p, const char *op);
bool jinja_expect(JinjaParser *p, JinjaTokenKind kind);
bool jinja_deeper(JinjaParser *p); /* one level of nesting more; false: too many */
const char *jinja_describe(const JinjaToken *t, char out[80]);

/* Appends one pointer to an array that grows inside an arena. */
bool jinja_push(Arena *arena, void *array_of_pointers, size_t n, void *item);

/* ---- running ---------------------------------------------------------------------------------------------------------------- */

struct JinjaFrame {
    JinjaFrame *parent;
    JinjaValue *slots;
};

struct JinjaRun {
    Arena arena;
    Err *err;
    Buf *out;          /* where statements write; a macro's own buffer while it runs */
    JinjaDict *vars;   /* the caller's variables */
    uint64_t max_memory, steps;
    unsigned line, depth;
    bool failed;
    const JinjaValue *clock; /* the caller's fixed time, or NULL */
};

bool jinja_fail(JinjaRun *r, ErrCode code, const char *fmt, ...) BASE_PRINTF(3, 4); /* "line N: ..."; returns false */
bool jinja_type_error(JinjaRun *r, const char *fmt, ...) BASE_PRINTF(2, 3);         /* the same with ERR_STATE */
bool jinja_fail_undefined(JinjaRun *r, const JinjaValue *undefined);
bool jinja_enter(JinjaRun *r); /* one level deeper, one step more; false: too much */
static inline void jinja_leave(JinjaRun *r) { r->depth--; }
bool jinja_charge(JinjaRun *r, uint64_t steps); /* for work in proportion to the size of a value */
bool jinja_charge_find(JinjaRun *r, Str in, Str what); /* for a search, the worst case of it */
void *jinja_alloc(JinjaRun *r, size_t count, size_t size);
bool jinja_emit(JinjaRun *r, Str text);

bool jinja_eval(JinjaRun *r, const JinjaExpr *e, JinjaFrame *f, JinjaValue *out);
bool jinja_eval_args(JinjaRun *r, const JinjaArgExprs *x, JinjaFrame *f, JinjaArgs *out);
bool jinja_apply(JinjaRun *r, const JinjaExpr *filter, const JinjaValue *in, JinjaFrame *f, JinjaValue *out);
bool jinja_global(JinjaRun *r, Str name, JinjaValue *out); /* MISSING when neither the caller nor the language has it */
JinjaValue *jinja_slot(JinjaFrame *f, JinjaRef ref);
JinjaFrame *jinja_enter_scope(JinjaRun *r, const JinjaScope *s, JinjaFrame *parent);

bool jinja_capture(JinjaRun *r, const JinjaBlock *b, JinjaFrame *f, JinjaValue *out); /* what a block writes, as a string */
bool jinja_loop_again(JinjaRun *r, JinjaLoop *loop, const JinjaValue *items, JinjaValue *out);

/* ---- values: jinja_value.c ---- */
static inline JinjaValue jinja_none(void) { return (JinjaValue){.kind = JINJA_NONE}; }
static inline JinjaValue jinja_bool(bool b) { return (JinjaValue){.kind = JINJA_BOOL, .b = b}; }
static inline JinjaValue jinja_int(int64_t i) { return (JinjaValue){.kind = JINJA_INT, .i = i}; }
static inline JinjaValue jinja_float(double f) { return (JinjaValue){.kind = JINJA_FLOAT, .f = f}; }
static inline JinjaValue jinja_str(Str s) { return (JinjaValue){.kind = JINJA_STR, .s = s}; }
static inline JinjaValue jinja_text(const char *z) { return jinja_str(str_c(z)); }
JinjaValue jinja_undefined(Str name);
bool jinja_undefined_because(JinjaRun *r, JinjaValue *out, const char *fmt, ...) BASE_PRINTF(3, 4);
const char *jinja_type(const JinjaValue *v); /* Python's name of the type */
bool jinja_is_number(const JinjaValue *v);   /* bool, int, float */
bool jinja_copy_str(JinjaRun *r, const char *bytes, size_t len, JinjaValue *out);
bool jinja_take_buf(JinjaRun *r, Buf *b, JinjaValue *out); /* copies and frees */
bool jinja_from_json(JinjaRun *r, const json_t *j, JinjaValue *out);
bool jinja_new_list(JinjaRun *r, JinjaKind kind, size_t cap, JinjaValue *out);
bool jinja_append(JinjaRun *r, JinjaList *l, const JinjaValue *v);
bool jinja_new_dict(JinjaRun *r, JinjaKind kind, JinjaValue *out);
bool jinja_dict_set(JinjaRun *r, JinjaDict *d, const JinjaValue *key, const JinjaValue *v);
bool jinja_dict_get(JinjaRun *r, const JinjaDict *d, const JinjaValue *key, const JinjaValue **v); /* false: unhashable */
const JinjaValue *jinja_dict_find(JinjaRun *r, const JinjaDict *d, Str key);
bool jinja_truth(const JinjaValue *v);
bool jinja_equal(JinjaRun *r, const JinjaValue *a, const JinjaValue *b, bool *equal);
bool jinja_order(JinjaRun *r, JinjaOp op, const JinjaValue *a, const JinjaValue *b, bool *holds); /* < <= > >= */
bool jinja_length(JinjaRun *r, const JinjaValue *v, int64_t *n);
bool jinja_iterable(const JinjaValue *v);
bool jinja_iterate(JinjaRun *r, const JinjaValue *v, JinjaIter *it);
bool jinja_next(JinjaIter *it, JinjaValue *out); /* false: no more */
bool jinja_to_list(JinjaRun *r, const JinjaValue *v, JinjaKind kind, JinjaValue *out);

/* ---- text of values: jinja_print.c ---- */
typedef struct JinjaJson {
    bool ascii, sort_keys;
    bool pretty;          /* one item a line, after `indent` times the depth */
    Str indent, item_separator, key_separator;
} JinjaJson;
bool jinja_put_str(JinjaRun *r, Buf *b, const JinjaValue *v);
bool jinja_put_repr(JinjaRun *r, Buf *b, const JinjaValue *v);
bool jinja_put_json(JinjaRun *r, Buf *b, const JinjaValue *v, const JinjaJson *how, unsigned depth);
bool jinja_to_str(JinjaRun *r, const JinjaValue *v, Str *out);

/* ---- code points: jinja_unicode.c. Text is valid UTF-8; a stray byte counts as one code point. ---- */
uint32_t jinja_code_point(Str s, size_t at, size_t *size);
size_t jinja_put_utf8(uint32_t cp, char out[4]);
bool jinja_is_space(uint32_t cp);
bool jinja_is_printable(uint32_t cp);
int64_t jinja_count(Str s);
size_t jinja_offset(Str s, int64_t index); /* byte offset of a code point; s.len when behind the end */
Str jinja_strip(Str s, const Str *chars, bool left, bool right); /* chars NULL: white space */
size_t jinja_find(Str s, Str what, size_t from); /* SIZE_MAX: not there */
typedef enum JinjaCase { JINJA_LOWER, JINJA_UPPER } JinjaCase;
void jinja_put_case(Buf *b, Str s, JinjaCase how);
int jinja_clip(Str s, int max); /* at most max bytes of s, ending with a whole character: for messages */
bool jinja_is_letter(uint32_t cp);
bool jinja_is_word(uint32_t cp); /* letter, digit or underscore: a character of a name */
void jinja_put_escaped(Buf *b, Str s); /* for HTML */

/* ---- operators, attributes: jinja_ops.c ---- */
bool jinja_binary(JinjaRun *r, JinjaOp op, const JinjaValue *a, const JinjaValue *b, JinjaValue *out);
bool jinja_negate(JinjaRun *r, const JinjaValue *v, JinjaValue *out);
bool jinja_compare(JinjaRun *r, JinjaOp op, const JinjaValue *a, const JinjaValue *b, bool *holds);
bool jinja_attribute(JinjaRun *r, const JinjaValue *v, Str name, JinjaValue *out); /* v.name */
bool jinja_item(JinjaRun *r, const JinjaValue *v, const JinjaValue *key, JinjaValue *out); /* v[key] */
bool jinja_slice(JinjaRun *r, const JinjaValue *v, const JinjaValue bounds[3], JinjaValue *out);
bool jinja_path(JinjaRun *r, const JinjaValue *v, const JinjaValue *path, JinjaValue *out); /* v["a"]["b"] for "a.b" */
/* "%s" % ...; all: every argument must be used. */
bool jinja_format(JinjaRun *r, Str format, const JinjaValue *args, size_t n, bool all, JinjaValue *out);

/* ---- calls: jinja_call.c ---- */
bool jinja_call(JinjaRun *r, const JinjaValue *callee, const JinjaArgs *args, JinjaValue *out);
bool jinja_invoke(JinjaRun *r, const JinjaFunc *fn, const JinjaValue *self, const JinjaArgs *args, JinjaValue *out);
/* Arguments that must be integers or strings; `what` names them in the error. */
bool jinja_want_int(JinjaRun *r, const JinjaValue *v, const char *what, int64_t *out);
bool jinja_want_str(JinjaRun *r, const JinjaValue *v, const char *what, Str *out);
const JinjaFunc *jinja_find_func(const JinjaFunc *table, Str name); /* tables end with a NULL name */
extern const JinjaFunc jinja_globals[], jinja_filters[], jinja_seq_filters[], jinja_tests[];
extern const JinjaFunc jinja_str_methods[], jinja_list_methods[], jinja_tuple_methods[], jinja_dict_methods[];
extern const JinjaFunc jinja_loop_methods[], jinja_cycler_methods[];
const JinjaFunc *jinja_find_filter(Str name);
const JinjaFunc *jinja_find_test(Str name);

#endif
