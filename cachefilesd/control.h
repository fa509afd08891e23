/* SPDX-License-Identifier: GPL-2.0-or-later */
/* control.h — what cachefilesctl shows, as text for people or as JSON. Pure: facts in, text out.
 */
#ifndef CACHEFILESD_CONTROL_H
#define CACHEFILESD_CONTROL_H

#include <stdbool.h>

#include "cachefilesd/config.h"
#include "cachefilesd/culler.h"
#include "cachefilesd/store/depot.h"

struct buf;

struct control_facts {
	const struct config *cfg;
	const char *dir;
	uint64_t started_ns, now_ns; /* wall clock */
	size_t n_clients;
	bool has_store;
	struct depot_figures store;
	bool has_culler;
	struct culler_status culler;
};

void control_status(const struct control_facts *f, bool json, struct buf *out);
/* control_metrics - Prometheus text format */
void control_metrics(const struct control_facts *f, struct buf *out);
/* control_lines - a dry run or the eviction record; in JSON one object a line */
void control_lines(
	const struct culler_line *v, size_t n, uint64_t now_ns, bool json, struct buf *out);
/* control_task - one line (or object) of ls and top */
void control_task(const struct store_info *i, uint64_t now_ns, bool json, struct buf *out);

#endif
