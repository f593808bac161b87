/* Inside the room states: the tree, what a state is worth, the files. */
#ifndef STATES_INSIDE_H
#define STATES_INSIDE_H

#include "states/states.h"

enum {
    STATES_NAME = 32,     /* "s-0123456789abcdef-1.state" */
    STATES_WORTH_LOAD = 64, /* tokens: for fewer, reading a file is not faster than computing */
    STATES_MOST_BASES = 8,  /* files that a file may stand on, one on the other */
};

/* A prefix whose state is kept, in memory, on disk, or both. Its parent is the longest other prefix of it that is kept. */
typedef struct StatesNode {
    struct StatesNode *parent, *child, *next; /* first child; next of the same parent */
    size_t n;               /* tokens of the whole prefix */
    int32_t *ids;           /* [n - parent->n] those after the parent's */
    StatesKind kind;
    uint64_t used;          /* when it was last of use: States.clock */
    sluice_snapshot *snap;  /* NULL: not in memory */
    char file[STATES_NAME]; /* "": not on disk */
    uint64_t file_bytes, load_bytes; /* of the file; of memory that it takes when it is loaded */
    struct StatesNode *base; /* the node whose file this one's stands on */
    uint32_t bases, standing; /* how many that are, one on the other; files that stand on this one directly */
    bool unwritable, unreadable; /* there is no room for its file; or for what is in it */
} StatesNode;

/* A file in the folder that is not for this model as it was opened (another --kv, a longer --ctx): the first to go. */
typedef struct StatesOther {
    char name[64];
    uint64_t bytes;
    int64_t modified;
} StatesOther;

struct States {
    sluice_model *model;
    uint64_t ram_limit;
    StatesNode root;        /* the empty prefix: never kept, always there */
    uint64_t clock;
    StatesStats stats;
    bool told_small;        /* that one state alone does not fit */
    /* the folder of this model; all of it unused without one */
    char *folder;           /* NULL: none */
    OsOutput lock;          /* open: this process writes */
    bool lock_held, failed; /* failed: a write did, and there will be no other */
    uint64_t disk_limit, disk_used; /* disk_used: others included */
    StatesOther *others;    /* [n_others], oldest first */
    size_t n_others;
    StatesNode *saving_node;
    sluice_saving *saving;
    char saving_name[STATES_NAME];
};

/* tree.c */
StatesNode *states_tree_longest(const States *s, const int32_t *ids, size_t n); /* the root: none */
/* The node of exactly this prefix, made where there is none; NULL: out of memory. */
StatesNode *states_tree_insert(States *s, const int32_t *ids, size_t n);
void states_tree_remove(StatesNode *node); /* its children become its parent's; on failure to find memory it stays */
void states_tree_ids(const StatesNode *node, int32_t *ids); /* [n] */
StatesNode *states_tree_next(const States *s, StatesNode *node); /* all nodes but the root, parents first; NULL begins and ends */
void states_tree_settle(StatesNode *node); /* removes it if it is neither in memory nor on disk */

/* value.c: what a state is worth: seconds of computing that it will probably save, per byte, in no unit. */
double states_value_memory(const States *s, const StatesNode *node);
double states_value_disk(const States *s, const StatesNode *node);

/* scan.c: opening the folder: the lock, and what is there. disk.c: the rest. */
char *states_disk_path(const States *s, const char *name); /* freed with mem_free; NULL: out of memory */
ErrCode states_disk_open(States *s, const StatesConfig *config, Err *err);
void states_disk_close(States *s);
bool states_disk_load(States *s, StatesNode *node); /* into memory; false: this file is not to be tried again */
void states_disk_forget(States *s, const StatesNode *node); /* its snapshot is about to leave memory */
void states_disk_drop(States *s, StatesNode *node); /* its file, and all that stand on it, leave the disk */
/* Deletes what is worth less than value until so many bytes may be written; false: that is not enough. */
bool states_disk_make_room(States *s, uint64_t bytes, double value);
void states_disk_touch(const States *s, const StatesNode *node);

/* states.c: evicts until so much of the memory is free; false: it never will be. */
bool states_make_room(States *s, uint64_t bytes);

#endif
