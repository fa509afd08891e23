/* SPDX-License-Identifier: GPL-2.0-or-later */
/* depot_source.h — the tasks of the piece store as a tenant that can be culled (source.h).
 *
 * Order: partials that nobody came back for, then complete tasks by time of use. What is pinned or
 * leased is not on offer; within the grace after start nothing complete is, unless the disk is
 * below its stop limit. Runs on the culling thread.
 */
#ifndef CACHEFILESD_STORE_DEPOT_SOURCE_H
#define CACHEFILESD_STORE_DEPOT_SOURCE_H

#include "cachefilesd/store/depot.h"

void depot_source_init(struct depot *t);

/* ---- within store/: with the lock held ---- */
/* depot_take_out - hide the task, move its directory to trash/@name, take it out of the index; the entry is
 * freed unless somebody reads it. Lets go of the lock for the rename. On failure (not -ENOENT)
 * everything is as it was. */
int depot_take_out(struct depot *t, struct task *k, char mark, char name[LAYOUT_TRASH_TEXT]);
/* depot_take_out_partial - the same; nobody else can have it meanwhile. Failed: it is not leased and is_failed. */
int depot_take_out_partial(
	struct depot *t, struct partial *p, char mark, char name[LAYOUT_TRASH_TEXT]);
void depot_partial_gone(struct depot *t, struct partial *p);
bool depot_below_stop(struct depot *t);
void depot_set_failed(struct depot *t, struct task *k, bool failed);

#endif
