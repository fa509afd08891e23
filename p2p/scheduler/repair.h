/* SPDX-License-Identifier: GPL-2.0-or-later */
/* repair.h — keeps the wanted number of replicas of the tasks that this peer owns. Pure: looks at
 * the registry when told, decides, and asks its owner to act; every action is answered once by
 * repair_done().
 *
 * A task is looked at when something about it changed (repair_touch), not periodically. Missing
 * replicas: first complete copies that are not counted are promoted, then other hosts are asked
 * to fetch. Few at a time, fewest copies first, with growing pauses after failures: no storm.
 * Surplus is unpinned after it has lasted a while.
 */
#ifndef P2P_SCHEDULER_REPAIR_H
#define P2P_SCHEDULER_REPAIR_H

#include <stdbool.h>
#include <stdint.h>

#include "common/heap.h"
#include "common/list.h"
#include "p2p/scheduler/placement.h"
#include "p2p/scheduler/registry.h"

enum repair_kind {
	REPAIR_FETCH, /* DownloadPersistentCacheTask, persistent, to the end of the stream */
	REPAIR_PROMOTE, /* UpdatePersistentCacheTask, persistent */
	REPAIR_UNPIN, /* UpdatePersistentCacheTask, not persistent */
};
const char *repair_kind_name(enum repair_kind k); /* "fetch", "promote", "unpin" */

enum repair_outcome {
	REPAIR_OK,
	REPAIR_FAILED, /* not now, not this host */
	REPAIR_REFUSED, /* the host will not (unpin: its copy is kept on request) */
};

struct repair_action {
	struct list link; /* in repair.actions */
	enum repair_kind kind;
	char task_id[TASK_ID_SIZE], host_id[HOST_ID_SIZE];
	struct sockaddr_storage addr;
	uint64_t length; /* promised on the host while fetching */
	uint64_t started_ns;
	bool is_canceled;
	void *data; /* the owner's */
};

struct repair_ops {
	void (*start)(void *arg, struct repair_action *a); /* must not call repair_done() itself */
	/* the result no longer matters (host died, task gone): repair_done() soon */
	void (*cancel)(void *arg, struct repair_action *a);
};

struct repair {
	struct registry *reg;
	struct placement_rng *rng;
	struct heap checks; /* reg_task.check */
	struct list actions;
	unsigned n_actions, max_actions;
	uint64_t hold_ns; /* a peer came lately, it may bring copies: only fresh imports before */
	uint64_t n_done, n_failed;
	const struct repair_ops *ops;
	void *arg;
};

void repair_init(struct repair *p, struct registry *reg, struct placement_rng *rng,
	unsigned max_actions, const struct repair_ops *ops, void *arg);
/* repair_fini - frees the actions; their owner answers none of them any more */
void repair_fini(struct repair *p);
/* repair_touch - look at @t at @when (or sooner if that was planned) */
void repair_touch(struct repair *p, struct reg_task *t, uint64_t when);
void repair_task_gone(struct repair *p, struct reg_task *t);
void repair_host_down(struct repair *p, const char *host_id);
void repair_step(struct repair *p, uint64_t now);
uint64_t repair_next(const struct repair *p); /* UINT64_MAX: nothing planned */
/* repair_done - consumes @a; @what is a sentence for the log, NULL when OK */
void repair_done(struct repair *p, struct repair_action *a, enum repair_outcome o, const char *what,
	uint64_t now);
/* repair_missing - how many replicas @t lacks now (0 when it has enough) */
uint64_t repair_missing(const struct reg_task *t);

#endif
