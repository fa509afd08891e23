/* SPDX-License-Identifier: GPL-2.0-or-later */
/* impl.h — what scheduler.c (life, network) and service.c (the RPCs) share. Not for others but
 * sched.c, which asks where a task's owner is.
 */
#ifndef P2P_SCHEDULER_IMPL_H
#define P2P_SCHEDULER_IMPL_H

#include "common/loop.h"
#include "p2p/resolve.h"
#include "p2p/scheduler/node.h"

struct scheduler {
	struct node node;
	struct loop *loop;
	struct channels *channels;
	struct resolve *resolve;
	struct loop_op timer;
	uint64_t timer_at_ns;
	struct scheduler_prefix *networks; /* owned */
	size_t n_networks;
	uint64_t resolve_ns;
	char secret[33]; /* META_SELF of our own calls to ourselves */
	struct node_ops ops;
	struct list requests; /* struct request: made by us, in flight */
	struct list parked; /* struct parked (service.c): calls that wait */
	struct list ready; /* struct stream (service.c): may register now */
	void (*left)(void *arg);
	void *left_arg;
	unsigned n_leaving;
	struct loop_op leave;
	void (*on_peer)(void *arg); /* sched.c: a peer appeared */
	void *on_peer_arg;
	uint64_t started_ns;
	bool is_stepping, is_resolved, closing;
};

/* our own calls to our own server are ours, whatever the address says */
#define META_SELF "dfcachefiles-self"

uint64_t scheduler_now(const struct scheduler *s);
/* scheduler_step - after every event */
void scheduler_step(struct scheduler *s);
/* scheduler_owner - where the owner of @id listens; *is_self, when that is this peer. False while the
 * peers have not been tried yet (at most 3 s after the start): wait. */
bool scheduler_owner(const struct scheduler *s, const char *id, struct sockaddr_storage *addr,
	char host_id[HOST_ID_SIZE], bool *is_self);
/* the secret for calls to @addr, NULL when that is not ourselves */
const char *scheduler_secret_for(const struct scheduler *s, const struct sockaddr_storage *addr);

/* service.c */
extern const struct rpc_service scheduler_service_table, scheduler_inventory_table;
void service_step(struct scheduler *s, uint64_t now); /* parked calls whose time has come */
void service_send_parents(void *arg, struct child *c);
void service_end_child(void *arg, struct child *c, int status, const char *message);

#endif
