/* Private to the store: how a record lies in a slot, and which reads bring it there. */
#ifndef STORE_LAYOUT_H
#define STORE_LAYOUT_H

#include "store/store.h"

/* One read of a record. Bytes past `need` only fill up the alignment. */
typedef struct LayoutRead {
    uint32_t file;
    uint64_t offset, bytes, need;
    uint64_t at;   /* of the first byte, in the slot */
    unsigned parts; /* bit p: it brings part p */
} LayoutRead;

typedef struct Layout {
    int n_reads;
    LayoutRead reads[STORE_PARTS];
    uint64_t part_at[STORE_PARTS]; /* in the slot */
    uint64_t bytes;                /* of the slot */
} Layout;

/* parts: [STORE_PARTS]. A pure function of the parts and the alignment of their files. */
void store_layout_record(Layout *l, const DiskRange *parts, const Disk *disk);
/* The largest alignment of the files of a table: what slots must start at. At least a cache line. */
uint64_t store_layout_alignment(const DiskRange *parts, size_t n_records, const Disk *disk);

#endif
