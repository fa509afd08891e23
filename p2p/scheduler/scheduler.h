/* SPDX-License-Identifier: GPL-2.0-or-later */
/* scheduler.h — the embedded scheduler of one dfdaemon: the services scheduler.v2.Scheduler and
 * dfcachefiles.v1.Inventory, and the membership behind them (DESIGN.md §5).
 *
 * The daemon makes it before its TCP server, adds its services to that server, makes the client
 * (sched.h) with it, and tells it through sched_local_put() which copies are here. State is soft:
 * nothing is written to disk. Everything runs on the loop's thread.
 */
#ifndef P2P_SCHEDULER_SCHEDULER_H
#define P2P_SCHEDULER_SCHEDULER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "common/rpc/rpc.h"

struct loop;
struct channels;
struct scheduler;

/* What happens to the copies here by decision of the cluster. */
enum scheduler_drop {
	SCHEDULER_DROP_DELETED, /* the task was deleted somewhere */
	SCHEDULER_DROP_SUPERSEDED, /* a newer import of the same id with other content is valid */
};

struct scheduler_ops {
	/* drop - delete the copy of @id here if its generation is at most @generation (a leased one
	 * goes with its last lease). @why is a sentence for the log. */
	void (*drop)(void *arg, const char *id, uint64_t generation, enum scheduler_drop reason,
		const char *why);
	/* set_expiry - the task expires @in_ns from now (UINT64_MAX: never) */
	void (*set_expiry)(void *arg, const char *id, uint64_t in_ns);
};

struct scheduler_prefix { /* a network whose hosts may join and change: peer_networks */
	struct sockaddr_storage addr;
	unsigned bits;
};

struct scheduler_config {
	const char *host_id, *hostname; /* copied */
	struct sockaddr_storage self; /* advertised address of the TCP server, port included */
	/* Where other peers are found: "host:port", "10.0.0.1:4000", "[::1]:4000"; names are
	 * resolved again every resolve_ns and may have several addresses; a seed is one address of a
	 * peer that knows others. Own addresses in it are recognised. Copied. */
	const char *const *peers;
	size_t n_peers;
	const struct scheduler_prefix *networks; /* copied */
	size_t n_networks;
	uint64_t heartbeat_ns, resolve_ns; /* 0 = 3 s, 30 s */
	uint64_t
		leave_grace_ns; /* how long replicas of an orderly stopped peer are awaited; 0 = 30 s */
	size_t max_tasks; /* known here; 0 = 100 000 */
	unsigned max_repairs; /* replications under way, asked for by this peer; 0 = 8 */
	uint64_t seed; /* of choices; 0 = from the kernel */
};

/* scheduler_parse_prefix - "10.0.0.0/8", "fd00::/8", "192.0.2.1"; 0 or -EINVAL */
int scheduler_parse_prefix(const char *text, struct scheduler_prefix *out);
bool scheduler_prefix_has(const struct scheduler_prefix *p, const struct sockaddr_storage *a);

/* scheduler_new - 0 or -errno; *out begins to look for peers when the loop runs. @ops and its
 * @arg must stay until scheduler_free(). */
int scheduler_new(struct scheduler **out, struct loop *l, struct channels *ch,
	const struct scheduler_config *cfg, const struct scheduler_ops *ops, void *arg);
/* scheduler_services - the tables for rpc_server_new(); returns the count (2) */
#define SCHEDULER_N_SERVICES 2
size_t scheduler_services(struct scheduler *s, struct rpc_service out[SCHEDULER_N_SERVICES]);
/* scheduler_trusts - may requests that come from there change or delete (DESIGN.md §5)? With TLS, whoever
 * has a certificate of the CA; else configured peers, those that they named, and
 * scheduler_config.networks. For svc_peer. */
bool scheduler_trusts(const struct scheduler *s, const struct rpc_peer *from);
/* scheduler_call_trusted - same, and also our own calls (they carry a secret of this process) */
bool scheduler_call_trusted(const struct scheduler *s, const struct rpc_call *call);
/* scheduler_set_draining - serve, but take no new replicas */
void scheduler_set_draining(struct scheduler *s, bool draining);
/* scheduler_set_peers - the configured ones changed. New ones are looked for at once; who was taken out
 * stays while it lives, and trusted until the next start. 0, -EINVAL (peers[*bad] is not host:port),
 * -ENOMEM: then nothing changed. */
int scheduler_set_peers(struct scheduler *s, const char *const *peers, size_t n_peers,
	const struct scheduler_prefix *networks, size_t n_networks, size_t *bad);
/* scheduler_readdress - the advertised address changed */
void scheduler_readdress(struct scheduler *s, const struct sockaddr_storage *self);
/* scheduler_leave - tell all peers that this one stops (deadline 1 s), then @done, from the loop */
void scheduler_leave(struct scheduler *s, void (*done)(void *), void *arg);
/* scheduler_free - after the server that serves its tables is gone. Returns NULL; memory goes when
 * the last request has ended, so run the loop until channels_free() has nothing left. */
struct scheduler *scheduler_free(struct scheduler *s);

struct scheduler_stats {
	size_t n_peers, n_peers_live, n_hosts; /* peers: without this one */
	size_t n_tasks, n_tasks_owned, n_copies, n_tombstones;
	size_t n_missing; /* counted replicas that owned tasks lack */
	size_t n_repairs; /* under way */
	uint64_t n_repairs_done, n_repairs_failed, n_conflicts;
};
struct scheduler_stats scheduler_get_stats(const struct scheduler *s);

#endif
