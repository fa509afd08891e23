/* SPDX-License-Identifier: GPL-2.0-or-later */
/* children.h — who fetches, and from whom: candidate parents of the announce streams.
 * Pure. Rules S1 to S6 of swarm-scheduling.md §5.1. A child is a copy with an announce stream.
 */
#ifndef P2P_SCHEDULER_CHILDREN_H
#define P2P_SCHEDULER_CHILDREN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "p2p/scheduler/placement.h"
#include "p2p/scheduler/registry.h"

#define CHILD_HOLDERS  4
#define CHILD_OTHERS   16 /* D */
#define CHILD_UPSTREAM 4 /* S5 */
#define CHILD_PARENTS  (CHILD_HOLDERS + CHILD_OTHERS)
#define CHILD_BLOCKED  64
#define CHILD_WAIT_NS  UINT64_C(10000000000)

struct child {
	struct list link; /* in children.waiting while it has no parent */
	struct reg_copy *copy;
	bool is_ours; /* takes pushed lists */
	const struct reg_copy *parents[CHILD_PARENTS];
	size_t n_parents, n_holders; /* holders first */
	uint64_t blocked[CHILD_BLOCKED]; /* hashes of host ids */
	size_t n_blocked;
	uint64_t wait_until_ns;
	void *stream; /* the service's */
};

struct children_ops {
	/* the complete new list; the stream may not end within this call */
	void (*send)(void *arg, struct child *c);
	/* the child is about to be freed and its stream must end */
	void (*end)(void *arg, struct child *c, int status, const char *message);
};

struct children {
	struct placement_rng *rng;
	struct list waiting;
	size_t n;
	const struct children_ops *ops;
	void *arg;
};

void children_init(
	struct children *k, struct placement_rng *rng, const struct children_ops *ops, void *arg);
/* children_register - @copy begins to fetch: parents are sent now, or when one appears within
 * CHILD_WAIT_NS. NULL: out of memory. */
struct child *children_register(
	struct children *k, struct reg_copy *copy, bool is_ours, void *stream, uint64_t now);
/* children_block - never again @host_id for this child */
void children_block(struct child *c, const char *host_id);
/* children_reschedule - a new list without the blocked ones; false: there is none */
bool children_reschedule(struct children *k, struct child *c);
/* children_replace - @c reported a failure of one parent: another instead */
void children_replace(struct children *k, struct child *c, const char *parent_peer_id);
/* children_leave - the child's stream is over (its copy stays) */
void children_leave(struct children *k, struct child *c);
/* children_copy_gone - @copy is about to vanish, or its host died: nobody's parent any more. Its own
 * stream is not touched. */
void children_copy_gone(struct children *k, const struct reg_copy *copy);
/* children_wake - a copy of @t became complete */
void children_wake(struct children *k, struct reg_task *t);
/* children_tick - waiting children whose patience is over end */
void children_tick(struct children *k, uint64_t now);
uint64_t children_next(const struct children *k);

#endif
