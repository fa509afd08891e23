/* SPDX-License-Identifier: GPL-2.0-or-later */
/* peers.h — who the other peers are, who lives, and who owns a task.
 *
 * Pure: no sockets, no clock. The owner (scheduler/node.c) sends the heartbeats that peers_due()
 * names and tells the results. A link is an address that answers or should; it is live only by
 * round trips of our own, so a peer that we cannot reach is not chosen for anything. Several
 * addresses of one peer are recognised by its host id: one link is live, the others are aliases.
 * Ownership is rendezvous hashing over the host ids of the live links and ourselves: when a peer
 * dies, only its tasks move.
 */
#ifndef P2P_PEERS_H
#define P2P_PEERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "common/list.h"
#include "p2p/task_id.h"

#define PEERS_MAX 256 /* links; DESIGN.md §5 means up to 64 peers */

struct peer_link {
	struct list link;
	struct sockaddr_storage addr;
	struct sockaddr_storage told; /* the address that it told last; family 0: none yet */
	char host_id[HOST_ID_SIZE]; /* "" until the first answer */
	uint64_t hash; /* of host_id */
	uint64_t incarnation, ok_ns, sent_ns, next_ns, learned_ns;
	unsigned n_failures; /* since the last answer */
	bool is_contact; /* configured (or resolved from a configured name) */
	bool is_trusted; /* configured, or named by one that is */
	bool is_self, is_alias, is_live, is_draining;
	bool is_busy; /* a heartbeat is under way */
	void *data; /* the owner's */
};

struct peers_ops {
	void (*on_up)(void *arg, struct peer_link *l);
	/* a live peer has started anew: what it was told and what it told is void */
	void (*on_restart)(void *arg, struct peer_link *l);
	void (*on_down)(void *arg, struct peer_link *l, bool leaving, const char *why);
	void (*on_forget)(void *arg, struct peer_link *l); /* the link is freed after this */
};

struct peers {
	struct list links;
	size_t n, n_live;
	char host_id[HOST_ID_SIZE];
	uint64_t hash, incarnation, heartbeat_ns, changed_ns; /* changed: last up or down */
	const struct peers_ops *ops;
	void *arg;
};

/* peers_init - @ops must stay; @heartbeat_ns 0 = 3 s */
void peers_init(struct peers *p, const char *host_id, uint64_t incarnation, uint64_t heartbeat_ns,
	const struct peers_ops *ops, void *arg);
void peers_fini(struct peers *p); /* on_forget for every link */

/* peers_set_contacts - the configured addresses as they resolve now. Links that lost their
 * configuration stay while they live. Returns 0, -ENOMEM, or -ENOSPC (PEERS_MAX; the rest is left
 * out). */
int peers_set_contacts(struct peers *p, const struct sockaddr_storage *v, size_t n, uint64_t now);
/* peers_learn - an address that somebody named; trusted if that one is. NULL: out of memory or
 * room. */
struct peer_link *peers_learn(
	struct peers *p, const struct sockaddr_storage *addr, bool trusted, uint64_t now);
struct peer_link *peers_find(const struct peers *p, const struct sockaddr_storage *addr);
struct peer_link *peers_find_host(const struct peers *p, const char *host_id); /* live one first */

/* peers_due - a link whose heartbeat is due, NULL if none */
struct peer_link *peers_due(struct peers *p, uint64_t now);
void peers_sent(struct peers *p, struct peer_link *l, uint64_t now);
/* peers_answer - the heartbeat was answered by @host_id */
void peers_answer(struct peers *p, struct peer_link *l, const char *host_id, uint64_t incarnation,
	bool draining, uint64_t now);
void peers_no_answer(struct peers *p, struct peer_link *l, uint64_t now);
/* peers_hint - somebody says that it lives: try it now, or a third of a heartbeat after the last
 * try */
void peers_hint(struct peers *p, struct peer_link *l, uint64_t now);
/* peers_told - it calls itself @addr: when that is another address than before, it has moved */
void peers_told(
	struct peers *p, struct peer_link *l, const struct sockaddr_storage *addr, uint64_t now);
/* peers_leaving - the peer itself says that it stops */
void peers_leaving(struct peers *p, struct peer_link *l, uint64_t now);
/* peers_tick - declare deaths, forget learned links that are long dead */
void peers_tick(struct peers *p, uint64_t now);
/* peers_next - when something is due, UINT64_MAX if never */
uint64_t peers_next(const struct peers *p);
/* peers_tried_all - every contact has been asked at least once and has answered or failed */
bool peers_tried_all(const struct peers *p);

/* peers_owner - the link of the owner of @task_id, NULL when that is ourselves */
struct peer_link *peers_owner(const struct peers *p, const char *task_id);
/* peers_hash - of an id, for peers_owner_of(); the same on every host */
uint64_t peers_hash(const char *id);
/* peers_owner_of - @task_hash = peers_hash(id); @except (may be NULL) is left out */
struct peer_link *peers_owner_of(
	const struct peers *p, uint64_t task_hash, const struct peer_link *except);
/* peers_is_next - would we own it if @except and up to @n - 1 others were not there? */
bool peers_is_next(
	const struct peers *p, uint64_t task_hash, const struct peer_link *except, unsigned n);
/* peers_trusts - is the host part of @addr that of a trusted link? */
bool peers_trusts(const struct peers *p, const struct sockaddr_storage *addr);

/* peers_addr_equal - same family, address and (if @with_port) port; IPv4-mapped IPv6 = IPv4 */
bool peers_addr_equal(
	const struct sockaddr_storage *a, const struct sockaddr_storage *b, bool with_port);

#endif
