/* Private to the disk room: places of a file that were not read yet while measuring.
 *
 * A drive looks twice as fast when it is asked for the same place again, because some cache answers. So places are drawn without
 * replacement, by all measurements of the process together. */
#ifndef DISK_PLACES_H
#define DISK_PLACES_H

#include "os/os.h"

typedef struct Places Places;

/* The places of this file, told apart by device and inode; kept for the life of the process. NULL: no memory. */
Places *disk_places_of(const OsFile *f, Err *err);
/* A place for a read of `bytes` bytes that nobody has drawn before, from all over the file. False: there is none left. */
bool disk_places_draw(Places *p, uint32_t bytes, uint64_t *offset);
/* Whether it has a place for such a read at all, drawn or not. */
bool disk_places_hold(Places *p, uint32_t bytes);
/* As if nobody had drawn any. */
void disk_places_forget(Places *p);

#endif
