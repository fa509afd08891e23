/* SPDX-License-Identifier: GPL-2.0-or-later */
/* metrics.h — Prometheus text of what the rooms counted. Asks their stats functions, keeps nothing.
 *
 * Names with the prefix dragonfly_client_ are the reference client's where it has the metric
 * (dragonfly-p2p.md (l)); those with dfcachefiles_ are ours.
 */
#ifndef P2P_METRICS_H
#define P2P_METRICS_H

#include <stdbool.h>
#include <stdint.h>

#include "p2p/export.h"
#include "p2p/fetch.h"
#include "p2p/import.h"
#include "p2p/scheduler/scheduler.h"
#include "p2p/serve.h"
#include "p2p/vortex/server.h"

struct buf;

struct metrics {
	struct imports_stats imports;
	struct exports_stats exports;
	struct fetches_stats fetches;
	struct serve_stats serve;
	struct vortex_server_stats vortex;
	const struct histogram *import_ms, *export_ms;
	const struct labels *imports_by_label, *exports_by_label;
	bool has_scheduler; /* the embedded one */
	struct scheduler_stats scheduler;
	uint64_t n_tasks, disk_total, disk_available;
	bool store_is_ready;
};

void metrics_format(const struct metrics *m, struct buf *out);

#endif
