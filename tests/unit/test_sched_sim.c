/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_sched_sim.c — many embedded schedulers in virtual time: membership, replicas, repair, deletion,
 * partitions. The code under test is the daemon's; only network and clock are made up.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "common/log.h"
#include "common/rpc/rpc.h"
#include "tests/lib/sched_sim.h"

#define MIB  (UINT64_C(1) << 20)
#define HOUR (UINT64_C(3600) * SIM_SEC)

static struct sim *sim;

static int setup(void **state)
{
	(void)state;
	sim = calloc(1, sizeof(*sim));
	return !sim;
}

static int teardown(void **state)
{
	(void)state;
	sim_fini(sim);
	free(sim);
	return 0;
}

static void start_all(int n, uint64_t seed)
{
	sim_init(sim, n, seed);
	for (int i = 0; i < n; i++)
		sim_start(sim, i);
	sim_run(sim, 5 * SIM_SEC);
}

static bool mesh_is_full(struct sim *s, void *arg)
{
	(void)arg;
	for (int i = 0; i < s->n; i++) {
		if (s->hosts[i].node.peers.n_live != (size_t)s->n - 1)
			return false;
	}
	return true;
}

struct want {
	const char *id;
	int persistent;
};

static bool has_replicas(struct sim *s, void *arg)
{
	struct want *w = arg;
	int p;

	sim_count(s, w->id, &p);
	return p == w->persistent;
}

static int import(int host, const char *id, uint8_t content, uint64_t replicas)
{
	char why[512];

	return sim_import(sim, host, id, content, 256 * MIB, replicas, HOUR, why);
}

static void run_to(const char *id, int persistent, uint64_t for_ns)
{
	struct want w = {id, persistent};

	if (!sim_run_until(sim, for_ns, has_replicas, &w)) {
		int p, n = sim_count(sim, id, &p);

		fail_msg("%s: %d copies, %d persistent instead of %d", id, n, p, persistent);
	}
}

/* a host that holds no copy of @id and is not its owner */
static int bystander(const char *id)
{
	for (int i = 0; i < sim->n; i++) {
		if (sim->hosts[i].is_alive && !sim_copy(sim, i, id) && sim_owner(sim, i, id) != i)
			return i;
	}
	fail();
	return -1;
}

static int holder_other_than(const char *id, int not_this)
{
	for (int i = 0; i < sim->n; i++) {
		if (i != not_this && sim->hosts[i].is_alive && sim_copy(sim, i, id))
			return i;
	}
	return -1;
}

/* ---- membership -------------------------------------------------------------------------- */

static void static_list_makes_a_full_mesh(void **state)
{
	(void)state;
	sim_init(sim, 16, 1);
	for (int i = 0; i < 16; i++)
		sim_start(sim, i);
	assert_true(sim_run_until(sim, 2 * SIM_SEC, mesh_is_full, NULL));
	/* and everybody names the same owner */
	for (int k = 0; k < 100; k++) {
		char id[16];

		snprintf(id, sizeof(id), "%d", k * 7919);
		for (int i = 1; i < 16; i++)
			assert_int_equal(sim_owner(sim, i, id), sim_owner(sim, 0, id));
	}
}

static void one_seed_address_is_enough(void **state)
{
	(void)state;
	sim_init(sim, 12, 2);
	sim->seed_contact = 3;
	for (int i = 0; i < 12; i++)
		sim_start(sim, i);
	assert_true(sim_run_until(sim, 10 * SIM_SEC, mesh_is_full, NULL));
	sim_kill(sim, 3); /* not needed any more */
	sim_run(sim, 20 * SIM_SEC);
	for (int i = 0; i < 12; i++) {
		if (i != 3)
			assert_int_equal(sim->hosts[i].node.peers.n_live, 10);
	}
}

static bool all_miss(struct sim *s, void *arg)
{
	int gone = *(int *)arg;

	for (int i = 0; i < s->n; i++) {
		struct peer_link *l;

		if (i == gone)
			continue;
		l = peers_find_host(&s->hosts[i].node.peers, s->hosts[gone].node.peers.host_id);
		if (l && l->is_live)
			return false;
	}
	return true;
}

static void death_is_noticed_within_10_s(void **state)
{
	int killed = 2, frozen = 5;

	(void)state;
	start_all(8, 3);
	sim_kill(sim, killed);
	assert_true(sim_run_until(sim, 6 * SIM_SEC, all_miss, &killed));
	sim_start(sim, killed);
	assert_true(sim_run_until(sim, 10 * SIM_SEC, mesh_is_full, NULL));
	sim_freeze(sim, frozen);
	assert_true(sim_run_until(sim, 10 * SIM_SEC, all_miss, &frozen));
}

/* ---- replicas ---------------------------------------------------------------------------- */

static void import_is_replicated(void **state)
{
	(void)state;
	start_all(8, 4);
	assert_int_equal(import(0, "12345", 1, 3), RPC_OK);
	run_to("12345", 3, 5 * SIM_SEC);
	sim_run(sim, 60 * SIM_SEC);
	assert_int_equal(sim->n_fetches, 2); /* and no more than that */
	assert_int_equal(sim_task(sim, 1, "12345")->n_copies, 3);
}

static void dead_holder_is_replaced_once(void **state)
{
	(void)state;
	start_all(8, 5);
	assert_int_equal(import(0, "77", 1, 2), RPC_OK);
	run_to("77", 2, 5 * SIM_SEC);
	sim_kill(sim, 0);
	run_to("77", 1, SIM_SEC);
	run_to("77", 2, 12 * SIM_SEC);
	sim_run(sim, 120 * SIM_SEC);
	assert_int_equal(sim->n_fetches, 2);
}

static void two_holders_die_at_once(void **state)
{
	int a, b;

	(void)state;
	start_all(8, 6);
	assert_int_equal(import(1, "88", 1, 3), RPC_OK);
	run_to("88", 3, 5 * SIM_SEC);
	a = holder_other_than("88", -1);
	sim_kill(sim, a);
	b = holder_other_than("88", a);
	sim_freeze(sim, b);
	run_to("88", 3, 25 * SIM_SEC);
	sim_run(sim, 60 * SIM_SEC);
	assert_int_equal(sim->bytes_fetched, 4 * 256 * MIB);
}

static void owner_dies_and_nothing_is_lost(void **state)
{
	char id[32];
	int owner = -1;

	(void)state;
	start_all(8, 7);
	/* a task whose owner holds no copy */
	for (int k = 0; owner < 1; k++) {
		snprintf(id, sizeof(id), "%d", 1000 + k);
		owner = sim_owner(sim, 0, id);
	}
	assert_int_equal(import(0, id, 1, 2), RPC_OK);
	run_to(id, 2, 5 * SIM_SEC);
	sim_kill(sim, owner);
	sim_run(sim, 10 * SIM_SEC);
	assert_int_not_equal(sim_owner(sim, 0, id), owner);
	assert_non_null(sim_task(sim, 0, id));
	assert_string_equal(registry_state(sim_task(sim, 0, id)), "Succeeded");
	run_to(id, 2, 20 * SIM_SEC);
	sim_run(sim, 30 * SIM_SEC);
	/* the owner may have held the second copy: then that one was replaced, else nothing moved */
	assert_true(sim->n_fetches <= 2);
	/* and a new holder's death is repaired by the new owner */
	sim_kill(sim, 0);
	run_to(id, 1, SIM_SEC);
	run_to(id, 2, 15 * SIM_SEC);
}

static void all_die_but_one_and_return(void **state)
{
	int only;

	(void)state;
	start_all(6, 8);
	assert_int_equal(import(0, "99", 1, 3), RPC_OK);
	run_to("99", 3, 5 * SIM_SEC);
	only = bystander("99");
	for (int i = 0; i < 6; i++)
		if (i != only)
			sim_kill(sim, i);
	sim_run(sim, 20 * SIM_SEC);
	for (int i = 0; i < 6; i++)
		if (i != only)
			sim_start(sim, i);
	sim_run(sim, 60 * SIM_SEC);
	assert_string_equal(registry_state(sim_task(sim, only, "99")), "Succeeded");
	run_to("99", 3, SIM_SEC);
	assert_int_equal(sim->n_fetches, 2); /* they came back with their copies: nothing moved */
}

static void returning_holder_counts_and_surplus_is_unpinned(void **state)
{
	int p;

	(void)state;
	start_all(8, 9);
	assert_int_equal(import(0, "55", 1, 2), RPC_OK);
	run_to("55", 2, 5 * SIM_SEC);
	sim_kill(sim, 0);
	run_to("55", 1, SIM_SEC);
	run_to("55", 2, 15 * SIM_SEC);
	sim_start(sim, 0);
	run_to("55", 3, SIM_SEC);
	run_to("55", 2, 30 * SIM_SEC);
	assert_int_equal(sim_count(sim, "55", &p), 3); /* the third stays as a cached copy */
	/* and when one dies now, the cached copy is promoted instead of a transfer */
	sim->n_fetches = 0;
	sim_kill(sim, 0);
	sim_run(sim, 30 * SIM_SEC);
	run_to("55", 2, SIM_SEC);
	assert_int_equal(sim->n_fetches, 0);
}

static void restart_does_not_replicate(void **state)
{
	(void)state;
	start_all(8, 10);
	assert_int_equal(import(0, "66", 1, 2), RPC_OK);
	run_to("66", 2, 5 * SIM_SEC);
	for (int i = 0; i < 5; i++) {
		sim_kill(sim, 0);
		sim_run(sim, SIM_SEC);
		sim_start(sim, 0);
		sim_run(sim, 20 * SIM_SEC);
	}
	assert_int_equal(sim->n_fetches, 1);
	run_to("66", 2, SIM_SEC);
}

static void orderly_stop_is_given_time(void **state)
{
	(void)state;
	start_all(8, 11);
	assert_int_equal(import(0, "67", 1, 2), RPC_OK);
	run_to("67", 2, 5 * SIM_SEC);
	sim_leave(sim, 0);
	sim_run(sim, 20 * SIM_SEC);
	assert_int_equal(sim->n_fetches, 1);
	sim_start(sim, 0); /* an upgrade */
	sim_run(sim, 60 * SIM_SEC);
	assert_int_equal(sim->n_fetches, 1);
	sim_leave(sim, 0); /* for good */
	sim_run(sim, 45 * SIM_SEC);
	run_to("67", 2, SIM_SEC);
	assert_int_equal(sim->n_fetches, 2);
}

static void placement_avoids_full_draining_and_unshared_hosts(void **state)
{
	(void)state;
	sim_init(sim, 6, 12);
	for (int i = 0; i < 6; i++)
		sim_start(sim, i);
	sim->hosts[1].disk_free = 10 * MIB;
	sim->hosts[2].disable_shared = true;
	sim->hosts[3].node.is_draining = sim->hosts[3].node.self_host->is_draining = true;
	sim->fail_fetches[4] = true;
	sim_run(sim, 5 * SIM_SEC);
	assert_int_equal(import(0, "31", 1, 2), RPC_OK);
	run_to("31", 2, 60 * SIM_SEC);
	assert_non_null(sim_copy(sim, 5, "31"));
}

static void placement_spreads_over_data_centres(void **state)
{
	(void)state;
	for (uint64_t seed = 20; seed < 30; seed++) {
		sim_init(sim, 9, seed);
		for (int i = 0; i < 9; i++) {
			static const char *const idc[] = {"east", "west", "north"};

			sim->hosts[i].idc = idc[i / 3];
			sim_start(sim, i);
		}
		sim_run(sim, 5 * SIM_SEC);
		assert_int_equal(import(0, "41", 1, 3), RPC_OK);
		run_to("41", 3, 10 * SIM_SEC);
		for (int g = 0; g < 3; g++)
			assert_int_equal(!!sim_copy(sim, g * 3, "41") +
						 !!sim_copy(sim, g * 3 + 1, "41") +
						 !!sim_copy(sim, g * 3 + 2, "41"),
				1);
		sim_fini(sim);
	}
	sim_init(sim, 1, 1);
}

static void drained_host_is_replaced_in_time(void **state)
{
	(void)state;
	start_all(6, 13);
	assert_int_equal(import(0, "32", 1, 2), RPC_OK);
	run_to("32", 2, 5 * SIM_SEC);
	sim->hosts[0].node.is_draining = sim->hosts[0].node.self_host->is_draining = true;
	run_to("32", 3, 10 * SIM_SEC);
}

/* ---- deletion, conflict, expiry ---------------------------------------------------------- */

static void deleted_stays_deleted(void **state)
{
	int away, p;

	(void)state;
	start_all(8, 14);
	assert_int_equal(import(0, "21", 1, 3), RPC_OK);
	run_to("21", 3, 5 * SIM_SEC);
	away = holder_other_than("21", 0);
	sim_kill(sim, away);
	sim_run(sim, 30 * SIM_SEC);
	assert_int_equal(sim_delete(sim, bystander("21"), "21"), RPC_OK);
	sim_run(sim, SIM_SEC);
	assert_int_equal(sim_count(sim, "21", &p), 0);
	assert_int_equal(sim_delete(sim, 0, "21"), RPC_NOT_FOUND);
	/* the owner, who knew it first, dies; the others remember */
	sim_kill(sim, sim_owner(sim, 0, "21"));
	sim_run(sim, 15 * SIM_SEC);
	sim_start(sim, away);
	assert_non_null(sim_copy(sim, away, "21"));
	sim_run(sim, 15 * SIM_SEC);
	assert_null(sim_copy(sim, away, "21"));
	/* the id can be imported again */
	assert_int_equal(import(away, "21", 2, 2), RPC_OK);
	run_to("21", 2, 10 * SIM_SEC);
}

/* an upgrade of all others while one is away: each is back before it is missed */
static void deleted_stays_deleted_when_all_restart(void **state)
{
	int away;

	(void)state;
	start_all(5, 24);
	assert_int_equal(import(0, "22", 1, 3), RPC_OK);
	run_to("22", 3, 5 * SIM_SEC);
	away = holder_other_than("22", 0);
	sim_freeze(sim, away);
	sim_run(sim, 30 * SIM_SEC);
	assert_int_equal(sim_delete(sim, bystander("22"), "22"), RPC_OK);
	for (int i = 0; i < 5; i++) {
		if (i == away)
			continue;
		sim_run(sim, 10 * SIM_SEC);
		sim_kill(sim, i);
		sim_start(sim, i);
	}
	sim_run(sim, 10 * SIM_SEC);
	sim_start(sim, away); /* its cable is back */
	sim_run(sim, 20 * SIM_SEC);
	assert_null(sim_copy(sim, away, "22"));
}

static void same_content_again_succeeds(void **state)
{
	char why[512];

	(void)state;
	start_all(5, 15);
	assert_int_equal(import(0, "11", 7, 2), RPC_OK);
	run_to("11", 2, 5 * SIM_SEC);
	/* from there, and from elsewhere, with a longer life */
	assert_int_equal(import(0, "11", 7, 2), RPC_ALREADY_EXISTS);
	assert_int_equal(
		sim_import(sim, 4, "11", 7, 256 * MIB, 2, 3 * HOUR, why), RPC_ALREADY_EXISTS);
	assert_non_null(strstr(why, "same content"));
	sim_run(sim, 30 * SIM_SEC);
	run_to("11", 2, SIM_SEC);
	for (int i = 0; i < 5; i++) {
		struct sim_copy *c = sim_copy(sim, i, "11");

		if (c)
			assert_true(c->expires_ns > sim->now + 2 * HOUR);
	}
}

static void other_content_is_refused_with_a_reason(void **state)
{
	char why[512];

	(void)state;
	start_all(5, 16);
	assert_int_equal(import(0, "13", 1, 2), RPC_OK);
	assert_int_equal(sim_import(sim, 3, "13", 2, 5 * MIB, 2, HOUR, why), RPC_ALREADY_EXISTS);
	assert_non_null(strstr(why, "other content"));
	assert_non_null(strstr(why, "10.0.0.1-node0"));
	assert_non_null(strstr(why, "uid 1000"));
	assert_null(sim_copy(sim, 3, "13"));
}

static void failed_import_does_not_block_the_next(void **state)
{
	struct node_answer a;
	struct node_upload u = {.host_id = "10.0.0.1-node0",
		.task_id = "17",
		.peer_id = "p1",
		.wanted = 1,
		.length = 5,
		.expires_ns = REG_NEVER,
		.piece_length = 4 << 20,
		.n_pieces = 1};
	struct node *o;

	(void)state;
	start_all(3, 17);
	o = &sim->hosts[sim_owner(sim, 0, "17")].node;
	node_upload_started(o, &u, &a, sim->now);
	assert_int_equal(a.status, RPC_OK);
	u.host_id = "10.0.0.2-node1";
	u.peer_id = "p2";
	node_upload_started(o, &u, &a, sim->now);
	assert_int_equal(a.status, RPC_ALREADY_EXISTS);
	node_upload_failed(o, "17", "p1", &a, sim->now);
	assert_int_equal(a.status, RPC_OK);
	node_upload_started(o, &u, &a, sim->now);
	assert_int_equal(a.status, RPC_OK);
	/* an importer that dies does not block it either */
	sim_kill(sim, 1);
	sim_run(sim, 10 * SIM_SEC);
	u.host_id = "10.0.0.1-node0";
	u.peer_id = "p3";
	o = &sim->hosts[sim_owner(sim, 0, "17")].node;
	node_upload_started(o, &u, &a, sim->now);
	assert_int_equal(a.status, RPC_OK);
}

static void healed_partition_keeps_the_newer_import(void **state)
{
	char why[512];
	int p;

	(void)state;
	start_all(8, 18);
	sim_split(sim, 4);
	sim_run(sim, 15 * SIM_SEC);
	assert_int_equal(sim_import(sim, 0, "500", 1, 64 * MIB, 2, HOUR, why), RPC_OK);
	sim_run(sim, 2 * SIM_SEC);
	assert_int_equal(sim_import(sim, 7, "500", 2, 96 * MIB, 2, HOUR, why), RPC_OK);
	sim_run(sim, 20 * SIM_SEC);
	assert_int_equal(sim_count(sim, "500", &p), 4);
	sim_split(sim, 0);
	sim_run(sim, 40 * SIM_SEC);
	assert_int_equal(sim_count(sim, "500", &p), 2);
	assert_int_equal(p, 2);
	for (int i = 0; i < 8; i++) {
		struct sim_copy *c = sim_copy(sim, i, "500");

		if (c)
			assert_int_equal(c->version.fingerprint[0], 2);
	}
	assert_int_equal(sim_task(sim, 2, "500")->length, 96 * MIB);
}

static void partition_of_one_content_merges(void **state)
{
	int p;

	(void)state;
	start_all(8, 19);
	assert_int_equal(import(0, "501", 1, 2), RPC_OK);
	run_to("501", 2, 5 * SIM_SEC);
	sim_split(sim, 4);
	sim_run(sim, 40 * SIM_SEC);
	sim_split(sim, 0);
	sim_run(sim, 60 * SIM_SEC);
	sim_count(sim, "501", &p);
	assert_int_equal(p, 2);
}

static void ttl_is_the_same_moment_everywhere(void **state)
{
	struct node_answer a;

	(void)state;
	start_all(6, 20);
	/* one clock is two hours wrong */
	sim->hosts[1].node.wall_offset_ns += (int64_t)(2 * HOUR);
	assert_int_equal(import(1, "19", 1, 3), RPC_OK);
	run_to("19", 3, 5 * SIM_SEC);
	node_set_expiry(&sim->hosts[sim_owner(sim, 0, "19")].node, "19", sim->now + 60 * SIM_SEC,
		&a, sim->now);
	assert_int_equal(a.status, RPC_OK);
	sim_run(sim, 5 * SIM_SEC);
	for (int i = 0; i < 6; i++) {
		struct sim_copy *c = sim_copy(sim, i, "19");
		int64_t off = c ? (int64_t)(c->expires_ns - (sim->now + 55 * SIM_SEC)) : 0;

		assert_true(off < (int64_t)(10 * SIM_MS) && off > -(int64_t)(10 * SIM_MS));
	}
	sim_run(sim, 56 * SIM_SEC);
	assert_null(sim_task(sim, 0, "19")); /* expired there too */
}

static void newer_generation_in_spite_of_a_slow_clock(void **state)
{
	(void)state;
	start_all(4, 21);
	sim->hosts[2].node.wall_offset_ns -= (int64_t)HOUR;
	assert_int_equal(import(0, "23", 1, 1), RPC_OK);
	sim_run(sim, 5 * SIM_SEC);
	assert_int_equal(sim_delete(sim, 0, "23"), RPC_OK);
	sim_run(sim, 5 * SIM_SEC);
	assert_int_equal(import(2, "23", 2, 1), RPC_OK); /* not taken for older than the deletion */
	sim_run(sim, 10 * SIM_SEC);
	assert_non_null(sim_copy(sim, 2, "23"));
}

static void set_true(void *arg)
{
	*(bool *)arg = true;
}

/* Whoever has missed a dead owner first asks the next one, who has not: that one asks the others. */
static void asked_for_what_another_owns(void **state)
{
	bool answered = false;
	struct node_ask *ask;
	int h;

	(void)state;
	start_all(8, 23);
	assert_int_equal(import(0, "45", 1, 2), RPC_OK);
	run_to("45", 2, 5 * SIM_SEC);
	sim_run(sim, 30 * SIM_SEC);
	h = bystander("45");
	assert_null(registry_task(&sim->hosts[h].node.reg, "45"));
	assert_true(node_ask(&sim->hosts[h].node, "45", set_true, &answered, &ask, sim->now));
	sim_run(sim, 2 * SIM_SEC);
	assert_true(answered);
	assert_string_equal(
		registry_state(registry_task(&sim->hosts[h].node.reg, "45")), "Succeeded");
	/* what it owns itself and does not know does not exist */
	h = sim_owner(sim, 0, "46");
	assert_false(node_ask(&sim->hosts[h].node, "46", set_true, &answered, &ask, sim->now));
}

/* the owner had given it up, and has not reached it again when it calls */
static void a_peer_that_is_back_is_not_unknown(void **state)
{
	char id[32], why[512];
	int status = RPC_UNAVAILABLE;

	(void)state;
	for (uint64_t seed = 40; seed < 60; seed++) {
		sim_init(sim, 4, seed);
		for (int i = 0; i < 4; i++)
			sim_start(sim, i);
		sim_run(sim, 5 * SIM_SEC);
		sim_kill(sim, 1);
		sim_run(sim, (30 + seed) * SIM_SEC + seed % 7 * 300 * SIM_MS);
		sim_start(sim, 1);
		sim_run(sim, 10 * SIM_MS);
		for (int k = 0; k == 0 || sim_owner(sim, 1, id) == 1; k++)
			snprintf(id, sizeof(id), "%d", 500 + k);
		for (int tries = 0; tries < 15; tries++) {
			status = sim_import(sim, 1, id, 1, MIB, 1, HOUR, why);
			if (status != RPC_UNAVAILABLE)
				break;
			sim_run(sim, 100 * SIM_MS);
		}
		if (status != RPC_OK)
			fail_msg("seed %d: %s", (int)seed, why);
		sim_fini(sim);
	}
	sim_init(sim, 1, 1);
}

/* ---- many random histories --------------------------------------------------------------- */

enum { HOSTS = 8, TASKS = 6 };

struct history {
	char id[16];
	int wanted;
	bool was_deleted;
	uint64_t bytes; /* moved since the last change of the cluster */
};
static struct history histories[TASKS];

static void count_fetch(const char *id, uint64_t bytes)
{
	for (int k = 0; k < TASKS; k++) {
		if (!strcmp(histories[k].id, id))
			histories[k].bytes += bytes;
	}
}

/* no storm: whatever happened, a task moved at most r times its length since; and it is not lost */
static void judge(uint64_t seed, int alive)
{
	for (int k = 0; k < TASKS; k++) {
		struct history *t = &histories[k];
		struct reg_task *r = sim_task(sim, alive, t->id);

		if (t->bytes > (uint64_t)t->wanted * 256 * MIB)
			fail_msg("seed %llu: %s moved %llu MiB for %d replicas of 256 MiB",
				(unsigned long long)seed, t->id,
				(unsigned long long)(t->bytes / MIB), t->wanted);
		if (!t->was_deleted && (!r || strcmp(registry_state(r), "Succeeded")))
			fail_msg("seed %llu: %s is lost", (unsigned long long)seed, t->id);
		t->bytes = 0;
	}
}

static bool is_up(int host)
{
	return sim->hosts[host].is_alive && !sim->hosts[host].is_frozen;
}

/* something happens, or nothing can now */
static void disturb(void)
{
	int h = (int)sim_random(sim, HOSTS), n_down = 0;
	struct history *t;

	for (int i = 0; i < HOSTS; i++)
		n_down += !is_up(i);
	switch (sim_random(sim, 6)) {
	case 0:
	case 1: /* one machine at a time: r = 2 promises no more */
		if (n_down)
			return;
		if (sim_random(sim, 2))
			sim_kill(sim, h);
		else
			sim_freeze(sim, h);
		return;
	case 2:
	case 3:
		for (int i = 0; i < HOSTS; i++)
			if (!is_up(i))
				sim_start(sim, i);
		return;
	case 4:
		if (n_down)
			return;
		sim_split(sim, 1 + (int)sim_random(sim, HOSTS - 1));
		sim_run(sim, sim_random(sim, 40) * SIM_SEC);
		sim_split(sim, 0);
		return;
	default:
		t = &histories[sim_random(sim, TASKS)];
		for (h = 0; !is_up(h); h++)
			;
		if (!t->was_deleted)
			t->was_deleted = sim_delete(sim, h, t->id) == RPC_OK;
	}
}

static void trial(uint64_t seed)
{
	int h;

	sim_init(sim, HOSTS, seed);
	sim->on_fetch = count_fetch;
	for (int i = 0; i < HOSTS; i++)
		sim_start(sim, i);
	sim_run(sim, 5 * SIM_SEC);
	for (int k = 0; k < TASKS; k++) {
		struct history *t = &histories[k];

		*t = (struct history){.wanted = 2 + k % 2};
		snprintf(t->id, sizeof(t->id), "%u", (unsigned)sim_random(sim, 1u << 31));
		assert_int_equal(
			import((int)sim_random(sim, HOSTS), t->id, 1, (uint64_t)t->wanted), RPC_OK);
	}
	sim_run(sim, 10 * SIM_SEC);
	judge(seed, 0);
	for (int e = 0; e < 12; e++) {
		disturb();
		/* long enough for a repair */
		sim_run(sim, (20 + sim_random(sim, 30)) * SIM_SEC);
		for (h = 0; !is_up(h); h++)
			;
		judge(seed, h);
	}
	for (int i = 0; i < HOSTS; i++)
		if (!is_up(i))
			sim_start(sim, i);
	sim_run(sim, 90 * SIM_SEC);
	judge(seed, 0);
	for (int k = 0; k < TASKS; k++) {
		const struct history *t = &histories[k];
		int p, n = sim_count(sim, t->id, &p);

		if (t->was_deleted && n)
			fail_msg("seed %llu: %s was deleted and has %d copies",
				(unsigned long long)seed, t->id, n);
		if (!t->was_deleted && p != t->wanted)
			fail_msg("seed %llu: %s has %d persistent of %d copies, wanted %d",
				(unsigned long long)seed, t->id, p, n, t->wanted);
		for (int i = 0; i < HOSTS; i++)
			assert_int_equal(sim_owner(sim, i, t->id), sim_owner(sim, 0, t->id));
	}
	sim_fini(sim);
}

static void random_histories_lose_nothing(void **state)
{
	const char *n = getenv("SCHED_SIM_TRIALS");
	const char *f = getenv("SCHED_SIM_FIRST");
	unsigned trials = n ? (unsigned)strtoul(n, NULL, 10) : 60;
	unsigned first = f ? (unsigned)strtoul(f, NULL, 10) : 1000;

	(void)state;
	for (unsigned i = 0; i < trials; i++)
		trial(first + i);
	sim_init(sim, 1, 1);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(static_list_makes_a_full_mesh),
		T(one_seed_address_is_enough),
		T(death_is_noticed_within_10_s),
		T(import_is_replicated),
		T(dead_holder_is_replaced_once),
		T(two_holders_die_at_once),
		T(owner_dies_and_nothing_is_lost),
		T(all_die_but_one_and_return),
		T(returning_holder_counts_and_surplus_is_unpinned),
		T(restart_does_not_replicate),
		T(orderly_stop_is_given_time),
		T(placement_avoids_full_draining_and_unshared_hosts),
		T(placement_spreads_over_data_centres),
		T(drained_host_is_replaced_in_time),
		T(deleted_stays_deleted),
		T(deleted_stays_deleted_when_all_restart),
		T(same_content_again_succeeds),
		T(other_content_is_refused_with_a_reason),
		T(failed_import_does_not_block_the_next),
		T(healed_partition_keeps_the_newer_import),
		T(partition_of_one_content_merges),
		T(ttl_is_the_same_moment_everywhere),
		T(newer_generation_in_spite_of_a_slow_clock),
		T(asked_for_what_another_owns),
		T(a_peer_that_is_back_is_not_unknown),
		T(random_histories_lose_nothing),
	};

	log_set_level(getenv("TEST_LOG") ? LOG_DEBUG : LOG_ERR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
