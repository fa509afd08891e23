/* SPDX-License-Identifier: GPL-2.0-or-later */
/* node.h — the embedded scheduler without its sockets: membership, inventory, registry, repair and
 * children composed into one machine that is fed with events and time. scheduler.c drives it on the
 * loop, the tests and the simulator drive many of them with virtual time and a network of their own.
 *
 * Who knows what: every peer knows its own copies (inventory) and tombstones; the owner of a
 * task knows all copies of it (registry), because everybody tells the owner, and the next owner when
 * the owner changes. Times are loop nanoseconds.
 * After each event the driver calls node_step() until node_next() lies ahead.
 */
#ifndef P2P_SCHEDULER_NODE_H
#define P2P_SCHEDULER_NODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"
#include "p2p/peers.h"
#include "p2p/scheduler/children.h"
#include "p2p/scheduler/inventory.h"
#include "p2p/scheduler/registry.h"
#include "p2p/scheduler/repair.h"
#include "p2p/scheduler/scheduler.h"

struct node;

struct node_ops {
	/* send @p to the peer at l->addr (bytes copied); node_exchange_done() answers, later */
	void (*exchange)(void *arg, struct peer_link *l, const void *p, size_t n);
	struct repair_ops repair;
	struct children_ops children;
	/* delete the copy of @id on a host that knows no tombstones (fire and forget); may be NULL */
	void (*delete_copy)(void *arg, const struct sockaddr_storage *addr, const char *id);
	/* a peer appeared: it has not heard an announcement of ours */
	void (*on_peer)(void *arg);
	struct scheduler_ops local; /* the daemon's */
	void *local_arg;
};

struct node_config {
	const char *host_id;
	struct sockaddr_storage self;
	uint64_t incarnation, heartbeat_ns, leave_grace_ns, seed;
	size_t max_tasks;
	unsigned max_repairs;
};

struct node {
	struct peers peers;
	struct registry reg;
	struct inventory inv;
	struct repair repair;
	struct children children;
	struct placement_rng rng;
	const struct node_ops *ops;
	void *arg;
	struct sockaddr_storage self;
	struct reg_host *self_host; /* NULL only when out of memory */
	struct list asks;
	struct list own; /* inv_task.link: changed copies here of tasks owned here */
	struct list orders; /* struct node_order: for the daemon, given by node_step() */
	uint64_t clock; /* greatest generation seen */
	int64_t wall_offset_ns; /* wall = loop time + this; the driver keeps it */
	uint64_t started_ns, leave_grace_ns, hosts_checked_ns, n_conflicts;
	bool is_draining, is_leaving, view_changed;
	/* why streams of copies end that are being freed now */
	int gone_status;
	const char *gone_message;
};

int node_init(struct node *n, const struct node_config *cfg, const struct node_ops *ops, void *arg,
	uint64_t now);
void node_fini(struct node *n);
void node_step(struct node *n, uint64_t now);
uint64_t node_next(const struct node *n, uint64_t now);
uint64_t node_wall(const struct node *n, uint64_t now);
/* node_new_generation - greater than all that are known */
uint64_t node_new_generation(struct node *n, uint64_t now);
/* node_is_settled - @id is scheduled here and no peer came or went lately: what is not known here does
 * not exist. Who asks us for an id of another peer's has missed that peer before we did. */
bool node_is_settled(const struct node *n, const char *id, uint64_t now);
/* node_readdress - the advertised address changed */
void node_readdress(struct node *n, const struct sockaddr_storage *self);

/* ---- exchange ---- */
/* node_exchange_done - the answer to ops->exchange(); @ok: it was answered by @p */
void node_exchange_done(
	struct node *n, struct peer_link *l, bool ok, const void *p, size_t len, uint64_t now);
/* node_exchange_serve - somebody (trusted) sent a request; the reply is appended to @out. Returns
 * NULL, or what is wrong with the request, a sentence. */
const char *node_exchange_serve(
	struct node *n, const void *p, size_t len, struct buf *out, uint64_t now);
/* node_ask - before saying that @id is unknown: ask all live peers. Returns false when there is no
 * need (settled, or nobody to ask), true when @fn will be called, from a later event. */
typedef void (*node_ask_fn)(void *arg);
struct node_ask;
bool node_ask(struct node *n, const char *id, node_ask_fn fn, void *arg, struct node_ask **out,
	uint64_t now);
void node_ask_cancel(struct node_ask *a);
/* node_build_ask - a request that only asks about one id, for a caller with its own channel */
int node_build_ask(struct node *n, const char *id, struct buf *out);
/* node_build_set_expiry - a request that changes the expiry of one id */
int node_build_set_expiry(struct node *n, const char *id, uint64_t in_ns, struct buf *out);
/* node_build_leave - the request that says goodbye */
int node_build_leave(struct node *n, struct buf *out);
/* node_is_told - have all live peers heard what was to be told about @id? */
bool node_is_told(const struct node *n, const char *id);

/* ---- the copies here ---- */
struct node_local {
	const char *id, *peer_id, *tag, *application;
	struct reg_version version;
	uint64_t length, wanted, expires_ns, created_wall_ns;
	uint32_t piece_length, n_pieces, importer_uid;
	Dfcachefiles__V1__TaskState state;
	bool persistent, is_kept;
};
int node_local_put(struct node *n, const struct node_local *l, uint64_t now);
void node_local_remove(struct node *n, const char *id);

/* ---- requests of peers (decoded and checked by service.c) ---- */
struct node_answer {
	int status; /* gRPC's */
	char message[512];
	struct reg_task *task; /* NULL: none; valid until the next event */
};
struct node_host_info { /* what AnnounceHost says, borrowed */
	const char *id, *hostname, *idc, *location;
	struct sockaddr_storage addr;
	bool is_ours, disable_shared, has_disk;
	uint64_t disk_total, disk_free, max_tx_bandwidth, interval_ns;
	const void *packed; /* common.v2.Host */
	size_t packed_len;
};
void node_announce_host(
	struct node *n, const struct node_host_info *h, struct node_answer *a, uint64_t now);
void node_delete_host(struct node *n, const char *host_id, struct node_answer *a, uint64_t now);

struct node_upload {
	const char *host_id, *task_id, *peer_id, *tag, *application;
	uint64_t wanted, length, expires_ns;
	uint32_t piece_length, n_pieces, importer_uid;
	struct reg_version version; /* generation 0: a foreign importer; one is made up */
};
void node_upload_started(
	struct node *n, const struct node_upload *u, struct node_answer *a, uint64_t now);
void node_upload_finished(struct node *n, const char *task_id, const char *peer_id,
	struct node_answer *a, uint64_t now);
void node_upload_failed(struct node *n, const char *task_id, const char *peer_id,
	struct node_answer *a, uint64_t now);
void node_stat(struct node *n, const char *task_id, struct node_answer *a);
/* node_delete - leaves a tombstone everywhere; see node_is_told() */
void node_delete(struct node *n, const char *task_id, struct node_answer *a, uint64_t now);
void node_delete_copy(struct node *n, const char *task_id, const char *host_id, const char *peer_id,
	struct node_answer *a, uint64_t now);
/* node_set_expiry - of a task owned here */
void node_set_expiry(struct node *n, const char *task_id, uint64_t expires_ns,
	struct node_answer *a, uint64_t now);

struct node_register {
	const char *host_id, *task_id, *peer_id;
	bool persistent, is_ours;
	uint32_t concurrent_pieces;
	struct reg_version version; /* of pieces that the child has; without fingerprint: none */
};
/* node_register - *out is the child (and its parents were sent or will be), NULL when the task is
 * empty or a->status says why not */
void node_register(struct node *n, const struct node_register *r, void *stream, struct child **out,
	struct node_answer *a, uint64_t now);
void node_child_started(struct node *n, struct child *c);
void node_child_finished(struct node *n, struct child *c, bool ok, uint64_t now);

/* ---- between node.c, claim.c and request.c ---- */
/* What the daemon is to do with its copy. Given from node_step() only, when no claim is being worked on:
 * the daemon may answer with node_local_put() at once. */
struct node_order {
	struct list link;
	char id[TASK_ID_SIZE];
	bool is_drop; /* else: set_expiry */
	enum scheduler_drop reason;
	const char *why;
	uint64_t generation, expires_ns;
};
struct node_reply {
	inv_entry *entries; /* owned; INV_BATCH at most */
	size_t n;
};
void node_claim(struct node *n, struct reg_host *h, const inv_entry *e, struct node_reply *reply,
	uint64_t now);
/* node_complete - @c says it is complete with c->version: is that version the valid one? false: it
 * lost (the caller drops the copy) */
bool node_complete(struct node *n, struct reg_task *t, struct reg_copy *c, uint64_t now);
void node_claim_local(struct node *n, struct inv_task *t, uint64_t now);
/* node_judge - does what the registry or a tombstone says about @id concern the copy here? */
void node_judge(struct node *n, const char *id, const struct reg_version *valid,
	uint64_t expires_ns, uint64_t revision);
/* node_tell - the facts about @id to one peer, or to all that hold copies, or to all that live */
void node_tell(struct node *n, struct peer_link *l, const char *id);
void node_tell_holders(struct node *n, const struct reg_task *t);
void node_tell_all(struct node *n, const char *id);
void node_copies_end(struct node *n, int status, const char *message); /* for frees that follow */
void node_host_down(struct node *n, struct reg_host *h, uint64_t grace_ns, uint64_t now);
void node_touch(struct node *n, struct reg_task *t, uint64_t now);
#define NODE_SETTLE_NS UINT64_C(4000000000)

#endif
