/* A record's three parts lie anywhere in their files; reads begin and end at aligned places. So each part is read with what
 * lies before and after it up to the alignment, and its first byte is found at some skew in the slot.
 *
 * Small parts that follow one another in a file, or nearly, become one read: that is cheaper than two. Large ones stay apart,
 * because a drive is fastest when it has several reads to work on.
 */
#include "store/layout.h"

enum {
    CACHE_LINE = 64,
    MERGE_GAP_BYTES = 4096, /* at most so many bytes that nobody asked for are read between two parts */
    MERGED_BYTES_MAX = 1024 * 1024
};

/* Alignments are powers of two, and this runs for every record that is read. */
static uint64_t down_to(uint64_t n, uint32_t alignment) { return n & ~((uint64_t)alignment - 1); }
static uint64_t up_to(uint64_t n, uint32_t alignment) { return down_to(n + alignment - 1, alignment); }

static bool lies_before(const DiskRange *a, const DiskRange *b) {
    return a->file != b->file ? a->file < b->file : a->offset < b->offset;
}

/* order: the parts' numbers by file and offset */
static void sort_parts(const DiskRange *parts, int order[STORE_PARTS]) {
    for (int i = 0; i < STORE_PARTS; i++) {
        int at = i;
        for (; at > 0 && lies_before(&parts[i], &parts[order[at - 1]]); at--) order[at] = order[at - 1];
        order[at] = i;
    }
}

/* Without a disk, when a machine is only planned for, what nearly every drive asks for. */
static uint32_t alignment_of(const Disk *disk, uint32_t file) { return disk ? disk_alignment(disk, file) : 4096; }

void store_layout_record(Layout *l, const DiskRange *parts, const Disk *disk) {
    int order[STORE_PARTS];
    sort_parts(parts, order);
    l->n_reads = 0;
    l->bytes = 0;
    for (int i = 0; i < STORE_PARTS; i++) {
        const DiskRange *p = &parts[order[i]];
        uint32_t alignment = alignment_of(disk, p->file);
        uint64_t start = down_to(p->offset, alignment), end = p->offset + p->bytes;
        LayoutRead *r = l->n_reads > 0 ? &l->reads[l->n_reads - 1] : NULL;
        bool near = r && r->file == p->file && start <= r->offset + r->bytes + MERGE_GAP_BYTES;
        if (!near || end - r->offset > MERGED_BYTES_MAX) {
            r = &l->reads[l->n_reads++];
            *r = (LayoutRead){.file = p->file, .offset = start, .at = up_to(l->bytes, alignment > CACHE_LINE ? alignment : CACHE_LINE)};
        }
        r->parts |= 1u << order[i];
        if (end - r->offset > r->need) r->need = end - r->offset;
        r->bytes = up_to(r->need, alignment);
        l->part_at[order[i]] = r->at + (p->offset - r->offset);
        l->bytes = r->at + r->bytes;
    }
}

uint64_t store_layout_alignment(const DiskRange *parts, size_t n_records, const Disk *disk) {
    uint64_t alignment = CACHE_LINE;
    for (size_t i = 0; i < n_records * STORE_PARTS; i++) {
        uint64_t a = alignment_of(disk, parts[i].file);
        if (a > alignment) alignment = a;
    }
    return alignment;
}

uint64_t store_slot_bytes(const DiskRange *parts, size_t n_records, const Disk *disk) {
    uint64_t most = 0;
    Layout l;
    for (size_t i = 0; i < n_records; i++) {
        store_layout_record(&l, parts + i * STORE_PARTS, disk);
        if (l.bytes > most) most = l.bytes;
    }
    return align_up(most, store_layout_alignment(parts, n_records, disk));
}
