/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_sched_oom.c — the embedded scheduler when memory is short: every allocation fails once; nothing
 * crashes, lists and counts agree, and the peer works again afterwards
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>

#include "common/log.h"
#include "common/rpc/rpc.h"
#include "p2p/scheduler/node.h"
#include "tests/lib/oom.h"

#define SEC UINT64_C(1000000000)

static void exchange(void *arg, struct peer_link *l, const void *p, size_t n)
{
	struct buf *last = arg;

	(void)l;
	buf_fini(last);
	buf_add(last, p, n);
}

static void start(void *arg, struct repair_action *a)
{
}

static void child_send(void *arg, struct child *c)
{
}

static void child_end(void *arg, struct child *c, int status, const char *message)
{
}

static void on_peer(void *arg)
{
}

static void drop(
	void *arg, const char *id, uint64_t generation, enum scheduler_drop reason, const char *why)
{
}

static void set_expiry(void *arg, const char *id, uint64_t in_ns)
{
}

static const struct node_ops ops = {.exchange = exchange,
	.repair = {start, start},
	.children = {child_send, child_end},
	.on_peer = on_peer,
	.local = {drop, set_expiry}};

static struct sockaddr_storage address(unsigned last)
{
	struct sockaddr_storage a = {0};
	struct sockaddr_in *v4 = (struct sockaddr_in *)&a;

	v4->sin_family = AF_INET;
	v4->sin_port = htons(4000);
	v4->sin_addr.s_addr = htonl(0x0a000000u + last);
	return a;
}

static int node_make(struct node *n, const char *name, unsigned last, struct buf *out, uint64_t now)
{
	struct node_config cfg = {.host_id = name,
		.self = address(last),
		.incarnation = last,
		.seed = last,
		.max_tasks = 100,
		.max_repairs = 4};
	int r = node_init(n, &cfg, &ops, out, now);

	n->wall_offset_ns = (int64_t)(UINT64_C(1700000000) * SEC);
	return r;
}

static void check(const struct node *n)
{
	size_t copies = 0;

	for (struct reg_task *t = registry_task_next(&n->reg, NULL); t;
		t = registry_task_next(&n->reg, t)) {
		size_t k = 0;

		list_for_each (it, &t->copies)
			k++;
		assert_int_equal(k, t->n_copies);
		copies += k;
	}
	assert_int_equal(copies, n->reg.n_copies);
}

static void announce(struct node *n, const char *id, unsigned last, uint64_t now)
{
	struct node_host_info h = {.id = id,
		.hostname = id,
		.addr = address(last),
		.is_ours = true,
		.packed = "",
		.interval_ns = 60 * SEC};
	struct node_answer a;

	node_announce_host(n, &h, &a, now);
}

/* one exchange from @from to @to, whatever comes of it */
static void talk(struct node *from, struct buf *sent, struct node *to, uint64_t now)
{
	struct buf reply = {0};
	struct peer_link *l;

	node_step(from, now);
	list_for_each (it, &from->peers.links) {
		l = list_entry(it, struct peer_link, link);
		if (!l->is_busy)
			continue;
		if (sent->len && !node_exchange_serve(to, sent->data, sent->len, &reply, now) &&
			buf_ok(&reply))
			node_exchange_done(from, l, true, reply.data, reply.len, now);
		else
			node_exchange_done(from, l, false, NULL, 0, now);
	}
	buf_fini(&reply);
}

static void every_allocation_may_fail(void **state)
{
	static struct node a, b;
	unsigned rounds = 0;

	if (!oom_works())
		skip();
	OOM_FOR_EACH(n)
	{
		uint64_t now = 1000 * SEC;
		struct buf sent_a = {0}, sent_b = {0};
		struct sockaddr_storage addr = address(2);
		struct node_answer ans;
		struct child *c = NULL;
		struct node_local local = {.id = "1",
			.peer_id = "p",
			.tag = "tag",
			.version = {.generation = 5, .has_fingerprint = true},
			.length = 100,
			.wanted = 2,
			.expires_ns = now + 500 * SEC,
			.piece_length = 4 << 20,
			.n_pieces = 1,
			.state = DFCACHEFILES__V1__TASK_STATE__COMPLETE,
			.persistent = true};
		struct node_upload up = {.host_id = "a",
			.task_id = "2",
			.peer_id = "q",
			.wanted = 2,
			.length = 100,
			.expires_ns = REG_NEVER,
			.piece_length = 4 << 20,
			.n_pieces = 1,
			.version = {.generation = 6, .has_fingerprint = true}};
		struct node_register reg = {
			.host_id = "h", .task_id = "2", .peer_id = "r", .is_ours = true};
		int ra = node_make(&a, "a", 1, &sent_a, now);
		int rb = ra ? -1 : node_make(&b, "b", 2, &sent_b, now);

		if (!ra && !rb) {
			peers_set_contacts(&a.peers, &addr, 1, now);
			(void)node_local_put(&a, &local, now);
			announce(&a, "h", 9, now);
			for (int i = 0; i < 4; i++) {
				talk(&a, &sent_a, &b, now);
				talk(&b, &sent_b, &a, now);
				now += SEC;
			}
			node_upload_started(&a, &up, &ans, now);
			assert_true(ans.status == RPC_OK || *ans.message);
			node_upload_finished(&a, "2", "q", &ans, now);
			node_register(&a, &reg, NULL, &c, &ans, now);
			assert_true(ans.status == RPC_OK || *ans.message);
			now += 10 * SEC;
			node_step(&a, now);
			node_set_expiry(&a, "2", now + 50 * SEC, &ans, now);
			node_delete(&a, "2", &ans, now);
			talk(&a, &sent_a, &b, now);
			check(&a);
			check(&b);
		}
		oom_stop();
		if (!ra && !rb) {
			/* memory is back: everything heals by being told again */
			assert_int_equal(peers_set_contacts(&a.peers, &addr, 1, now), 0);
			for (int i = 0; i < 30; i++) {
				talk(&a, &sent_a, &b, now);
				talk(&b, &sent_b, &a, now);
				now += SEC;
			}
			assert_int_equal(a.peers.n_live, 1);
			assert_int_equal(node_local_put(&a, &local, now), 0);
			node_step(&a, now);
			talk(&a, &sent_a, &b, now);
			assert_non_null(
				registry_task(peers_owner(&a.peers, "1") ? &b.reg : &a.reg, "1"));
		}
		if (!ra)
			node_fini(&a);
		if (!ra && !rb)
			node_fini(&b);
		buf_fini(&sent_a);
		buf_fini(&sent_b);
		rounds++;
	}
	assert_true(rounds > 50);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_allocation_may_fail),
	};

	log_set_level(LOG_EMERG);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
