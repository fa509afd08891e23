/* SPDX-License-Identifier: GPL-2.0-or-later */
/* output.h — results as text and as JSON. Pure: they go to a buffer, the commands print it.
 */
#ifndef DFCACHE_OUTPUT_H
#define DFCACHE_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "p2p/api/common.pb-c.h"
#include "p2p/api/dfcachefiles.pb-c.h"

struct buf;

/* output_stat_table - two lines, exactly as the documented tool prints them (dfcache-cli.md §10) */
void output_stat_table(const Common__V2__PersistentCacheTask *t, struct buf *out);
/* output_stat_json - with @local (may be NULL): what this node and the scheduler say beyond it */
void output_stat_json(const Common__V2__PersistentCacheTask *t, const Dfcachefiles__V1__Task *local,
	struct buf *out);
void output_task_json(const Dfcachefiles__V1__Task *t, struct buf *out);
/* output_json_* - one member of an object, with its name; @first false = a comma before it */
void output_json_text(struct buf *out, bool first, const char *name, const char *value);
void output_json_number(struct buf *out, bool first, const char *name, uint64_t value);
/* output_time - local time "YYYY-MM-DD HH:MM:SS"; "" for 0 */
void output_time(int64_t seconds, char out[32]);

#endif
