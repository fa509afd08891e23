/* SPDX-License-Identifier: GPL-2.0-or-later */
/* tasks_source.h — the tasks of the piece store as a tenant that can be culled (source.h).
 *
 * Order: partials that nobody came back for, then complete tasks by time of use. What is pinned or
 * leased is not on offer; within the grace after start nothing complete is, unless the disk is
 * below its stop limit. Runs on the culling thread.
 */
#ifndef CACHEFILESD_STORE_TASKS_SOURCE_H
#define CACHEFILESD_STORE_TASKS_SOURCE_H

#include "cachefilesd/store/tasks.h"

void tasks_source_init(struct tasks *t);

/* ---- within store/: with the lock held ---- */
int tasks_take_out(struct tasks *t, struct task *k, char mark, char name[LAYOUT_TRASH_TEXT]);
void tasks_partial_gone(struct tasks *t, struct partial *p);
bool tasks_below_stop(struct tasks *t);
void tasks_set_failed(struct tasks *t, struct task *k, bool failed);

#endif
