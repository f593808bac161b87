/* The automaton: nodes that read bytes, fork, call and return, as in a network of rules that call each other. Private.
 *
 *   program.c  nodes are made and finished      json.c      what JSON is made of
 *   machine.c  one byte, all paths at once      vocab.c     tokens as tries
 *   state.c    what a caller holds              masks.c     which tokens may come, remembered
 *
 * A place in a text is a set of paths ("items"): a node, a counter, and a stack of calls ("links") that paths share. A rule is the node
 * where it begins. Counters count the rounds of the innermost bounded loop: characters of a string, items of an array. */
#ifndef GRAMMAR_PROGRAM_H
#define GRAMMAR_PROGRAM_H

#include "grammar/grammar.h"

enum {
    GRAMMAR_DEPTH = 64,          /* calls inside each other: about as deep as JSON may nest */
    GRAMMAR_MAX_ITEMS = 512,     /* paths at once; the later ones are dropped, each of those kept can be finished */
    GRAMMAR_MAX_LINKS = 512,     /* calls of all paths at once */
    GRAMMAR_MAX_NODES = 1 << 20, /* a grammar that needs more is refused */
    GRAMMAR_MAX_TOKEN = 255      /* bytes; longer tokens are never allowed */
};

#define GRAMMAR_NEVER UINT32_MAX

typedef enum GrammarKind {
    GRAMMAR_READ,   /* reads one byte and goes where the first..next edges with lo <= byte <= hi go, all of them */
    GRAMMAR_FORK,   /* goes everywhere its edges go */
    GRAMMAR_CALL,   /* runs rule a, then goes to b */
    GRAMMAR_RETURN, /* ends a rule; with no call open: the text may end */
    GRAMMAR_LESS,   /* counts a round and goes to b, if there were less than the loop's max */
    GRAMMAR_LEAST   /* goes to b with a fresh counter, if there were at least the loop's min */
} GrammarKind;

/* A loop of characters over which whole tokens can be judged at once (see vocab.c). */
typedef enum GrammarText {
    GRAMMAR_TEXT_NONE,
    GRAMMAR_TEXT_JSON, /* reads again all characters but quote, backslash and controls */
    GRAMMAR_TEXT_RAW,  /* reads again all characters but the line feed */
    GRAMMAR_N_TEXTS
} GrammarText;

typedef struct GrammarEdge {
    uint32_t to, next; /* next: edge of the same node, 0: none */
    uint8_t lo, hi;
} GrammarEdge;

typedef struct GrammarNode {
    uint8_t kind, text;
    uint16_t need;        /* calls that must at least be opened inside each other from here to the end of the rule */
    uint32_t first, last; /* edges, 0: none */
    uint32_t a, b;        /* FORK: the rounds of loop a come after it, 0: none */
    uint32_t dist;        /* bytes to the end of the rule at least, GRAMMAR_NEVER: no way; in a loop without the rounds to come */
    uint32_t loop;        /* whose counter it is that a path here has, up to LEAST; 0: none */
} GrammarNode;

typedef struct GrammarLoop {
    uint32_t min, max;   /* rounds; max GRAMMAR_NEVER: no bound, the counter stops at min */
    uint32_t bytes, rule; /* a round is so many bytes and, if not 0, what this rule writes: for distances */
} GrammarLoop;

struct Grammar {
    GrammarNode *nodes; /* [n_nodes]; node 0 is the end of the whole text */
    GrammarEdge *edges; /* [n_edges], from 1 */
    GrammarLoop *loops; /* [n_loops], from 1 */
    uint32_t n_nodes, cap_nodes, n_edges, cap_edges, n_loops, cap_loops;
    uint32_t start, end;  /* end: the one RETURN node, 0: not made yet */
    uint32_t loop;        /* while building: of the nodes that are made */
    bool failed, too_large;
    uint8_t class_of[256]; /* bytes that no edge tells apart */
    uint32_t n_classes;
    uint8_t class_byte[256]; /* [n_classes] one of them */
    uint32_t space, value, text, number, object, array; /* rules of json.c, 0: not made yet */
};

/* All of these give 0 when memory or the size has run out; then `failed` stays and later calls do nothing. */
uint32_t grammar_program_node(Grammar *g, GrammarKind kind);
uint32_t grammar_program_call(Grammar *g, uint32_t rule, uint32_t then);
uint32_t grammar_program_return(Grammar *g);
/* Rounds of a loop: between `inside`, which makes a new loop and nodes that belong to it, and `outside`, the caller makes the body, which
 * leads from *less (a LESS node, its b to be set) back to *turn. Where enough rounds are made, it goes on to `then`. outside returns
 * the node through which the loop is entered. */
typedef struct GrammarRounds {
    uint32_t turn, less, outer, loop;
} GrammarRounds;
GrammarRounds grammar_program_inside(Grammar *g, GrammarLoop loop, uint32_t then);
/* One more turn of the loop that g->loop is: rounds may end there, too. Returns it; *less as above; then 0: it cannot end there. */
uint32_t grammar_program_turn(Grammar *g, uint32_t then, uint32_t *less);
uint32_t grammar_program_outside(Grammar *g, const GrammarRounds *r);
/* The loop at whose counter a path at this node is, NULL: none. */
static inline const GrammarLoop *grammar_program_loop_at(const Grammar *g, uint32_t node) {
    return g->nodes[node].loop ? &g->loops[g->nodes[node].loop] : NULL;
}
void grammar_program_edge(Grammar *g, uint32_t from, unsigned lo, unsigned hi, uint32_t to);
void grammar_program_fork(Grammar *g, uint32_t from, uint32_t to);
/* Nodes that read these bytes and go to `to`; returns the first. */
uint32_t grammar_program_bytes(Grammar *g, const char *bytes, size_t n, uint32_t to);
/* Computes classes, distances and needs; an error if nothing can be written. */
ErrCode grammar_program_finish(Grammar *g, uint32_t start, Err *err);

/* ---- machine ---- */

typedef struct GrammarItem {
    uint32_t node, count;
    uint32_t stack; /* link + 1; 0: no call is open */
} GrammarItem;

typedef struct GrammarLink {
    uint32_t node, count;  /* where it goes on after the call, with which counter */
    uint16_t below, depth; /* below: link + 1; depth: links from here down, itself included */
} GrammarLink;

/* Links are numbered in the order in which the items, one after the other, reach them: equal places are equal bytes. */
typedef struct GrammarPlace {
    uint32_t n_items, n_links;
    GrammarItem items[GRAMMAR_MAX_ITEMS]; /* all READ nodes, or node 0 */
    GrammarLink links[GRAMMAR_MAX_LINKS];
} GrammarPlace;

typedef struct GrammarMachine GrammarMachine; /* working memory of a step */

GrammarMachine *grammar_machine_new(const Grammar *g);
void grammar_machine_free(GrammarMachine *m);
uint64_t grammar_machine_bytes(void);
void grammar_machine_begin(GrammarMachine *m, GrammarPlace *out);
/* False: no path reads this byte. in and out differ. */
bool grammar_machine_step(GrammarMachine *m, const GrammarPlace *in, uint8_t byte, GrammarPlace *out);
void grammar_machine_copy(GrammarPlace *to, const GrammarPlace *from);
bool grammar_machine_may_end(const GrammarPlace *p);
uint32_t grammar_program_shortest(const Grammar *g, const GrammarPlace *p); /* bytes to an end, at least */

struct GrammarState {
    const Grammar *g;
    GrammarMachine *machine;
    GrammarPlace now, next[2];
};

/* ---- what JSON is made of: rules, made once per grammar ---- */

uint32_t grammar_json_text(Grammar *g);   /* a string, with its quotes */
uint32_t grammar_json_number(Grammar *g);
uint32_t grammar_json_value(Grammar *g);  /* anything */
uint32_t grammar_json_any_object(Grammar *g);
uint32_t grammar_json_any_array(Grammar *g);
/* A string of min to max characters (GRAMMAR_NEVER: no bound). */
uint32_t grammar_json_text_of(Grammar *g, uint32_t min, uint32_t max);
/* Nodes: white space, then `to`; a colon and perhaps a space, then `to`. */
uint32_t grammar_json_space(Grammar *g, uint32_t to);
uint32_t grammar_json_colon(Grammar *g, uint32_t to);
/* Edges of `from` that read one character beyond ASCII and go to `to`. */
void grammar_json_wide(Grammar *g, uint32_t from, uint32_t to);


/* A bound of a number, as its decimal digits. */
typedef struct GrammarDecimal {
    bool negative, exclusive;
    uint8_t whole[18]; /* right-aligned, zeros before it */
    uint8_t fraction[17];
} GrammarDecimal;
int grammar_digits_compare(const GrammarDecimal *a, const GrammarDecimal *b); /* by value */
/* Numbers without exponent from lo to hi, or multiples of an integer; NULL: no bound but the number of digits. step 0: all numbers. */
uint32_t grammar_digits_between(Grammar *g, const GrammarDecimal *lo, const GrammarDecimal *hi, unsigned step);

/* ---- vocabulary ---- */

typedef struct GrammarTrieNode {
    uint32_t skip;  /* the node after all that begin with this one's bytes */
    uint32_t first; /* tokens[first .. first of the next node) end here */
    uint8_t byte, depth;
} GrammarTrieNode;

/* Nodes in order, each before those that go on from it. */
typedef struct GrammarTrie {
    GrammarTrieNode *nodes; /* [n_nodes + 1] */
    uint32_t *tokens;       /* [n_tokens] */
    uint32_t n_nodes, n_tokens;
} GrammarTrie;

typedef struct GrammarLength {
    uint32_t id, n_chars; /* the last one perhaps not whole */
} GrammarLength;

/* The tokens that are plain text of one kind. */
typedef struct GrammarPlain {
    uint32_t *mask;           /* [n_words] */
    GrammarLength *by_length; /* [n], the longest first */
    uint32_t n;
} GrammarPlain;

struct GrammarVocab {
    uint32_t n_tokens, n_words, longest;
    GrammarTrie all;
    GrammarPlain plain[GRAMMAR_N_TEXTS];
    GrammarTrie rest[GRAMMAR_N_TEXTS]; /* the tokens that are not plain */
    uint64_t bytes;
};

#endif
