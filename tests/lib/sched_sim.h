/* SPDX-License-Identifier: GPL-2.0-or-later */
/* sched_sim.h — many embedded schedulers (p2p/scheduler/node.h) in one process with virtual time and
 * a network of their own: latency, cut links, dead hosts, transfers that take their time. Everything
 * is decided by the seed.
 */
#ifndef TESTS_LIB_SCHED_SIM_H
#define TESTS_LIB_SCHED_SIM_H

#include <stdbool.h>
#include <stdint.h>

#include "common/heap.h"
#include "common/map.h"
#include "p2p/scheduler/node.h"

#define SIM_HOSTS 64
#define SIM_SEC   UINT64_C(1000000000)
#define SIM_MS    UINT64_C(1000000)

struct sim_copy { /* what is on the disk of a host: survives a restart */
	struct map_node node;
	char id[TASK_ID_SIZE];
	char peer_id[64];
	struct reg_version version;
	uint64_t length, expires_ns, wanted;
	bool persistent, is_kept, is_complete;
};

struct sim;
struct sim_host {
	struct sim *sim;
	int index;
	bool is_alive,
		is_frozen; /* frozen: the machine vanished, nothing answers, nobody is told */
	unsigned epoch; /* counts lives: answers to a former life are dropped */
	struct node node;
	struct node_ops ops;
	struct map disk;
	uint64_t disk_total, disk_free;
	bool disable_shared;
	const char *idc, *location;
	unsigned n_announced; /* on_peer calls since the last announcement */
	unsigned n_dropped_deleted, n_dropped_superseded;
};

struct sim {
	uint64_t now, rng, rtt_ns, bits_per_second;
	int n;
	int seed_contact; /* -1: everybody knows everybody, else all know only this host */
	struct sim_host hosts[SIM_HOSTS];
	bool cut[SIM_HOSTS][SIM_HOSTS];
	struct heap events;
	uint64_t n_fetches, bytes_fetched, n_messages;
	void (*on_fetch)(const char *id, uint64_t bytes); /* NULL: nobody counts */
	bool fail_fetches[SIM_HOSTS]; /* fetches to there fail */
};

void sim_init(struct sim *s, int n, uint64_t seed);
void sim_fini(struct sim *s);
void sim_run(struct sim *s, uint64_t for_ns);
/* sim_run_until - true when @done became true within @for_ns */
bool sim_run_until(
	struct sim *s, uint64_t for_ns, bool (*done)(struct sim *s, void *arg), void *arg);
uint64_t sim_random(struct sim *s, uint64_t below);

void sim_start(struct sim *s, int host);
void sim_kill(struct sim *s, int host); /* the process dies: connections are refused */
void sim_freeze(
	struct sim *s, int host); /* the machine vanishes: silence; sim_start() revives it */
void sim_leave(struct sim *s, int host); /* an orderly stop */
void sim_cut(struct sim *s, int a, int b, bool cut);
/* sim_split - hosts below @at and the others do not reach each other; 0 heals */
void sim_split(struct sim *s, int at);
void sim_announce(struct sim *s, int host); /* its report to all that it reaches */

/* sim_owner - who schedules @id in the view of @host: an index */
int sim_owner(struct sim *s, int host, const char *id);
/* sim_import - started, local copy, finished, as dfdaemon does it. Returns the status. */
int sim_import(struct sim *s, int host, const char *id, uint8_t content, uint64_t length,
	uint64_t replicas, uint64_t ttl_ns, char message[512]);
int sim_delete(struct sim *s, int host, const char *id);
struct sim_copy *sim_copy(struct sim *s, int host, const char *id);
/* complete copies of @id on live hosts, and how many are persistent */
int sim_count(struct sim *s, const char *id, int *persistent);
/* the registry entry at the owner as @host sees it, NULL when unknown */
struct reg_task *sim_task(struct sim *s, int host, const char *id);

#endif
