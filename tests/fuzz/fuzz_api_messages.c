/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fuzz_api_messages.c — every message that strangers send to the scheduler and the inventory: unpacked,
 * checked, and (if it passes) worked on by a node with some state, which must stay consistent. First
 * byte: which message; the rest: its bytes.
 */
#include <assert.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/log.h"
#include "common/rpc/pbc.h"
#include "common/rpc/rpc.h"
#include "p2p/api/convert.h"
#include "p2p/scheduler/check.h"
#include "p2p/scheduler/node.h"

#define SEC UINT64_C(1000000000)

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void exchange(void *arg, struct peer_link *l, const void *p, size_t n)
{
	(void)arg;
	(void)l;
	(void)p;
	(void)n;
}

static void action(void *arg, struct repair_action *a)
{
	(void)arg;
	(void)a;
}

static void child_send(void *arg, struct child *c)
{
	(void)arg;
	assert(c->n_parents <= CHILD_PARENTS && c->n_holders <= c->n_parents);
}

static void child_end(void *arg, struct child *c, int status, const char *message)
{
	struct child **mine = arg;

	assert(status && *message);
	if (*mine == c)
		*mine = NULL;
}

static void on_peer(void *arg)
{
	(void)arg;
}

static void drop(
	void *arg, const char *id, uint64_t generation, enum scheduler_drop reason, const char *why)
{
	(void)arg;
	(void)generation;
	(void)reason;
	assert(task_id_is_valid(id) && *why);
}

static void set_expiry(void *arg, const char *id, uint64_t in_ns)
{
	(void)arg;
	(void)in_ns;
	assert(task_id_is_valid(id));
}

static const struct node_ops ops = {.exchange = exchange,
	.repair = {.start = action, .cancel = action},
	.children = {.send = child_send, .end = child_end},
	.on_peer = on_peer,
	.local = {.drop = drop, .set_expiry = set_expiry}};

/* lists and counts agree, nothing is over its bound */
static void check_node(const struct node *n)
{
	size_t copies = 0;

	assert(n->peers.n <= PEERS_MAX && n->reg.hosts.n <= REG_HOSTS_MAX);
	assert(n->reg.tasks.n <= n->reg.max_tasks);
	for (struct reg_task *t = registry_task_next(&n->reg, NULL); t;
		t = registry_task_next(&n->reg, t)) {
		size_t k = 0;

		assert(task_id_is_valid(t->id));
		list_for_each (it, &t->copies) {
			const struct reg_copy *c = list_entry(it, struct reg_copy, by_task);

			assert(c->task == t && registry_copy(t, c->host) == c);
			k++;
		}
		assert(k == t->n_copies);
		copies += k;
	}
	assert(copies == n->reg.n_copies);
}

static struct sockaddr_storage address(const char *ip)
{
	struct sockaddr_storage a = {0};
	struct sockaddr_in *v4 = (struct sockaddr_in *)&a;

	v4->sin_family = AF_INET;
	v4->sin_port = htons(4000);
	inet_pton(AF_INET, ip, &v4->sin_addr);
	return a;
}

/* a node with a copy of its own, one that it schedules for host "a", and a deleted task */
static void set_up(struct node *n, struct child **child, uint64_t now)
{
	struct node_config cfg = {.host_id = "self",
		.self = address("10.0.0.1"),
		.incarnation = 7,
		.leave_grace_ns = SEC,
		.seed = 1,
		.max_tasks = 20,
		.max_repairs = 4};
	struct node_local local = {.id = "11",
		.peer_id = "self-peer",
		.version = {.generation = 5, .has_fingerprint = true},
		.length = 100,
		.wanted = 2,
		.expires_ns = REG_NEVER,
		.piece_length = 4 << 20,
		.n_pieces = 1,
		.state = DFCACHEFILES__V1__TASK_STATE__COMPLETE,
		.persistent = true};
	struct node_upload up = {.host_id = "a",
		.task_id = "22",
		.peer_id = "a-peer",
		.wanted = 2,
		.length = 100,
		.expires_ns = now + 100 * SEC,
		.piece_length = 4 << 20,
		.n_pieces = 1,
		.version = {.generation = 6, .has_fingerprint = true}};
	struct node_host_info host = {.id = "a",
		.hostname = "a",
		.addr = address("10.0.0.2"),
		.is_ours = true,
		.packed = "",
		.interval_ns = 60 * SEC};
	struct node_register reg = {
		.host_id = "b", .task_id = "22", .peer_id = "b-peer", .is_ours = true};
	struct node_answer a;

	assert(!node_init(n, &cfg, &ops, child, now));
	n->wall_offset_ns = (int64_t)(UINT64_C(1700000000) * SEC);
	assert(!node_local_put(n, &local, now));
	node_announce_host(n, &host, &a, now);
	host.id = host.hostname = "b";
	host.addr = address("10.0.0.3");
	node_announce_host(n, &host, &a, now);
	node_upload_started(n, &up, &a, now);
	node_upload_finished(n, "22", "a-peer", &a, now);
	up.task_id = "33";
	node_upload_started(n, &up, &a, now);
	node_delete(n, "33", &a, now);
	node_register(n, &reg, NULL, child, &a, now);
	assert(*child);
	node_step(n, now);
}

static void run(struct node *n, struct child **child, uint8_t kind, const uint8_t *p, size_t len,
	uint64_t now)
{
	struct buf out = {0};
	void *m;

	switch (kind % 14) {
	case 0:
		(void)node_exchange_serve(n, p, len, &out, now);
		break;
	case 1: {
		struct sockaddr_storage a = address("10.0.0.9");
		struct peer_link *l = peers_learn(&n->peers, &a, true, now);

		node_exchange_done(n, l, true, p, len, now);
		break;
	}
	case 2: {
		Scheduler__V2__AnnouncePersistentCachePeerRequest *q = pbc_unpack(
			&scheduler__v2__announce_persistent_cache_peer_request__descriptor, p, len);

		if (q && !check_announce_peer(q) &&
			q->request_case ==
				SCHEDULER__V2__ANNOUNCE_PERSISTENT_CACHE_PEER_REQUEST__REQUEST_REGISTER_PERSISTENT_CACHE_PEER_REQUEST) {
			struct node_register r = {.host_id = q->host_id,
				.task_id = q->task_id,
				.peer_id = q->peer_id,
				.is_ours = true};
			struct node_answer a;
			struct child *c;

			node_register(n, &r, NULL, &c, &a, now);
			if (c && c != *child)
				node_child_finished(n, c, len & 1, now);
		}
		if (q)
			protobuf_c_message_free_unpacked(&q->base, NULL);
		break;
	}
	case 3:
		m = pbc_unpack(
			&scheduler__v2__upload_persistent_cache_task_started_request__descriptor, p,
			len);
		if (m && !check_upload_started(m)) {
			const Scheduler__V2__UploadPersistentCacheTaskStartedRequest *q = m;
			struct node_upload u = {.host_id = q->host_id,
				.task_id = q->task_id,
				.peer_id = q->peer_id,
				.tag = q->tag,
				.application = q->application,
				.wanted = q->persistent_replica_count,
				.length = q->content_length,
				.expires_ns = REG_NEVER,
				.piece_length = (uint32_t)q->piece_length,
				.n_pieces = q->piece_count};
			struct node_answer a;

			node_upload_started(n, &u, &a, now);
			assert(a.status == RPC_OK || *a.message);
		}
		if (m)
			protobuf_c_message_free_unpacked(m, NULL);
		break;
#define CASE(number, descriptor, check)                                                            \
	case number:                                                                               \
		m = pbc_unpack(&scheduler__v2__##descriptor##__descriptor, p, len);                \
		if (m) {                                                                           \
			(void)check(m);                                                            \
			protobuf_c_message_free_unpacked(m, NULL);                                 \
		}                                                                                  \
		break;
		CASE(4, announce_host_request, check_announce_host)
		CASE(5, delete_host_request, check_delete_host)
		CASE(6, upload_persistent_cache_task_finished_request, check_upload_finished)
		CASE(7, upload_persistent_cache_task_failed_request, check_upload_failed)
		CASE(8, stat_persistent_cache_peer_request, check_stat_peer)
		CASE(9, delete_persistent_cache_peer_request, check_delete_peer)
		CASE(10, delete_persistent_cache_task_request, check_delete_task)
		CASE(11, stat_persistent_cache_task_request, check_stat_task)
	case 12:
		m = pbc_unpack(&dfcachefiles__v1__owned_request__descriptor, p, len);
		if (m && !check_owned(m)) {
			const char *after = ((Dfcachefiles__V1__OwnedRequest *)m)->after;
			struct reg_task *v[2];
			size_t k = registry_page(&n->reg, after ? after : "", v, 2);

			assert(k < 2 || strcmp(v[0]->id, v[1]->id) < 0);
		}
		if (m)
			protobuf_c_message_free_unpacked(m, NULL);
		break;
	case 13:
		m = pbc_unpack(&dfcachefiles__v1__owned_response__descriptor, p, len);
		if (m) {
			(void)check_owned_answer(m, "", node_wall(n, now));
			protobuf_c_message_free_unpacked(m, NULL);
		}
		break;
	}
	buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	uint64_t now = 1000 * SEC;
	struct child *child = NULL;
	struct node node;

	log_set_level(LOG_EMERG);
	set_up(&node, &child, now);
	/* several messages in one input: length (2 bytes, little endian), kind, bytes */
	for (int i = 0; i < 8 && n >= 3; i++) {
		size_t len = p[0] | (size_t)p[1] << 8;
		uint8_t kind = p[2];

		p += 3;
		n -= 3;
		if (len > n)
			len = n;
		run(&node, &child, kind, p, len, now);
		p += len;
		n -= len;
		now += SEC;
		node_step(&node, now);
		check_node(&node);
	}
	node_fini(&node);
	return 0;
}
