/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_sched_scale.c — one embedded scheduler that knows 64 hosts and 10 000 tasks: memory, time of an
 * answer, and of a change of the cluster. Bounds are those of a release build; sanitizers get more.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <malloc.h>
#include <time.h>

#include "common/log.h"
#include "common/rpc/pbc.h"
#include "common/rpc/rpc.h"
#include "tests/lib/sched_sim.h"

#define MIB (UINT64_C(1) << 20)

enum { HOSTS = 64, TASKS = 10000, COPIES = 3 };
#ifdef WITH_SAN
enum { SLOWER = 20 };
#else
enum { SLOWER = 1 };
#endif

static struct sim *sim;
static struct node *node;

static double now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e3 + (double)ts.tv_nsec / 1e6;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static void report(const char *what, double *v, size_t n, double bound_ms)
{
	qsort(v, n, sizeof(*v), by_value);
	print_message("# %s: median %.3f ms, p99 %.3f ms, worst %.3f ms (bound for p99 %.0f ms)\n",
		what, v[n / 2], v[n * 99 / 100], v[n - 1], bound_ms);
	assert_true(v[n * 99 / 100] < bound_ms * SLOWER);
}

static void task_id(int i, char id[16])
{
	snprintf(id, 16, "%u", (unsigned)i * 2654435761u);
}

/* host @h tells @count of its copies, as the owner hears it */
static void claims(int h, int first, int count)
{
	Dfcachefiles__V1__ExchangeRequest m = DFCACHEFILES__V1__EXCHANGE_REQUEST__INIT;
	Dfcachefiles__V1__Member member = DFCACHEFILES__V1__MEMBER__INIT;
	static Dfcachefiles__V1__Entry e[INV_BATCH], *list[INV_BATCH];
	static char ids[INV_BATCH][16], peer[INV_BATCH][120];
	static uint8_t fp[16];
	struct buf out = {0}, reply = {0};
	char host[64], ip[32];

	snprintf(host, sizeof(host), "10.0.0.%d-node%d", h + 1, h);
	snprintf(ip, sizeof(ip), "10.0.0.%d", h + 1);
	member.host_id = host;
	member.ip = ip;
	member.port = 4000;
	m.sender = &member;
	m.incarnation = 77;
	for (int i = 0; i < count; i++) {
		dfcachefiles__v1__entry__init(&e[i]);
		task_id(first + i, ids[i]);
		/* an id as dfdaemon makes them */
		snprintf(peer[i], sizeof(peer[i]), "%s-0f5a4d7e-1111-2222-3333-%012d", host,
			first + i);
		e[i].id = ids[i];
		e[i].peer_id = peer[i];
		e[i].generation = UINT64_C(1700000000000000000);
		e[i].has_fingerprint = true;
		e[i].fingerprint.data = fp;
		e[i].fingerprint.len = 16;
		e[i].content_length = 100 * MIB;
		e[i].piece_length = 4 * MIB;
		e[i].piece_count = 25;
		e[i].tag = (char *)"checkpoint";
		e[i].wanted_replicas = COPIES;
		e[i].persistent = true;
		e[i].state = DFCACHEFILES__V1__TASK_STATE__COMPLETE;
		e[i].has_expires_in_ms = true;
		e[i].expires_in_ms = 86400000;
		e[i].importer_host_id = host;
		list[i] = &e[i];
	}
	m.entries = list;
	m.n_entries = (size_t)count;
	assert_int_equal(pbc_pack(&m.base, &out), 0);
	assert_null(node_exchange_serve(node, out.data, out.len, &reply, sim->now));
	buf_fini(&out);
	buf_fini(&reply);
}

static void scale(void **state)
{
	static double t_stat[TASKS], t_claim[HOSTS * 8], t_register[2000], t_import[2000];
	struct mallinfo2 before, after;
	struct node_answer a;
	size_t n = 0;
	char id[16];
	double start, heartbeat;

	sim_init(sim, HOSTS, 1);
	before = mallinfo2();
	sim_start(sim, 0);
	node = &sim->hosts[0].node;
	for (int c = 0; c < COPIES; c++) {
		for (int h = 0; h < HOSTS - 1; h++) {
			int per = TASKS / (HOSTS - 1) + 1, first = h * per;
			int count = first + per > TASKS ? TASKS - first : per;

			if (count <= 0)
				continue;
			start = now_ms();
			claims(1 + (h + c * 7) % (HOSTS - 1), first, count);
			node_step(node, sim->now);
			t_claim[n++] = now_ms() - start;
		}
	}
	assert_int_equal(node->reg.tasks.n, TASKS);
	assert_int_equal(node->reg.n_copies, TASKS * COPIES);
	report("inventory of 159 copies", t_claim, n, 20);
	after = mallinfo2();
	print_message("# memory: %.1f MiB for %d tasks with %d copies each\n",
		(double)(after.uordblks - before.uordblks) / (double)MIB, TASKS, COPIES);
#ifndef WITH_SAN
	assert_true(after.uordblks - before.uordblks < 24 * MIB);
#endif

	for (int i = 0; i < TASKS; i++) {
		task_id(i, id);
		start = now_ms();
		node_stat(node, id, &a);
		node_step(node, sim->now);
		t_stat[i] = now_ms() - start;
		assert_int_equal(a.status, RPC_OK);
	}
	report("stat", t_stat, TASKS, 5);

	for (int i = 0; i < 2000; i++) {
		struct node_register r = {.host_id = "10.0.0.5-node4",
			.task_id = id,
			.peer_id = "child",
			.is_ours = true};
		struct child *c;

		task_id(i, id);
		start = now_ms();
		node_register(node, &r, NULL, &c, &a, sim->now);
		node_step(node, sim->now);
		t_register[i] = now_ms() - start;
		assert_int_equal(a.status, RPC_OK);
		if (c)
			node_child_finished(node, c, true, sim->now);
	}
	report("register", t_register, 2000, 5);

	for (int i = 0; i < 2000; i++) {
		struct node_upload u = {.host_id = "10.0.0.5-node4",
			.task_id = id,
			.peer_id = "importer",
			.wanted = 1,
			.length = MIB,
			.expires_ns = REG_NEVER,
			.piece_length = 4 << 20,
			.n_pieces = 1};

		snprintf(id, sizeof(id), "new-%d", i);
		start = now_ms();
		node_upload_started(node, &u, &a, sim->now);
		assert_int_equal(a.status, RPC_OK);
		node_upload_finished(node, id, "importer", &a, sim->now);
		node_step(node, sim->now);
		t_import[i] = now_ms() - start;
		assert_int_equal(a.status, RPC_OK);
	}
	report("import: started and finished", t_import, 2000, 5);

	/* idle: what a turn costs when nothing happens */
	start = now_ms();
	for (int i = 0; i < 100; i++)
		node_step(node, sim->now);
	heartbeat = (now_ms() - start) / 100;
	print_message("# an idle turn: %.4f ms\n", heartbeat);
	assert_true(heartbeat < 1.0 * SLOWER);
}

static bool all_found(struct sim *s, void *arg)
{
	char id[16];

	for (int i = 0; i < TASKS; i += 10) {
		struct reg_task *t;

		task_id(i, id);
		t = sim_task(s, 1, id);
		if (!t || strcmp(registry_state(t), "Succeeded"))
			return false;
	}
	(void)arg;
	return true;
}

/* the whole cluster, 1000 tasks: an owner dies, and the next owners know everything in time */
static void owner_dies_among_64(void **state)
{
	char id[16], why[512];
	double start;
	uint64_t t0;

	sim_fini(sim);
	sim_init(sim, HOSTS, 2);
	for (int i = 0; i < HOSTS; i++)
		sim_start(sim, i);
	sim_run(sim, 5 * SIM_SEC);
	for (int i = 0; i < TASKS; i += 10) {
		task_id(i, id);
		assert_int_equal(
			sim_import(sim, 1 + i / 10 % (HOSTS - 1), id, 1, MIB, 2, REG_NEVER, why),
			RPC_OK);
	}
	sim_run(sim, 60 * SIM_SEC);
	assert_true(all_found(sim, NULL));
	sim_kill(sim, 0);
	t0 = sim->now;
	start = now_ms();
	sim_run(sim, SIM_SEC); /* let it be missed */
	assert_true(sim_run_until(sim, 10 * SIM_SEC, all_found, NULL));
	while (sim->hosts[1].node.peers.n_live != HOSTS - 2)
		sim_run(sim, SIM_SEC / 10);
	assert_true(sim_run_until(sim, 10 * SIM_SEC, all_found, NULL));
	assert_true(sim->now - t0 < 10 * SIM_SEC);
	print_message("# 64 peers: all tasks known to their next owners %.1f s after the kill; "
		      "simulated in %.0f ms\n",
		(double)(sim->now - t0) / 1e9, now_ms() - start);
}

static int setup(void **state)
{
	sim = calloc(1, sizeof(*sim));
	return !sim;
}

static int teardown(void **state)
{
	sim_fini(sim);
	free(sim);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(scale, setup, teardown),
		cmocka_unit_test_setup_teardown(owner_dies_among_64, setup, teardown),
	};

	log_set_level(LOG_ERR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
