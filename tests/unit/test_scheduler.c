/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_scheduler.c — embedded schedulers and their clients over real gRPC on loopback TCP, several in
 * one process, on both loop back ends. What dfdaemon does with its store is played: a copy is an entry
 * of a table.
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
#include <netinet/in.h>
#include <time.h>

#include "common/log.h"
#include "common/loop.h"
#include "common/rpc/listen.h"
#include "common/rpc/pbc.h"
#include "common/rpc/rpc.h"
#include "p2p/api/dfdaemon.pb-c.h"
#include "p2p/api/methods.h"
#include "p2p/api/scheduler.pb-c.h"
#include "p2p/channels.h"
#include "p2p/sched.h"
#include "p2p/scheduler/impl.h"

#define SEC  UINT64_C(1000000000)
#define MS   UINT64_C(1000000)
#define WAIT (60 * SEC)
#define MIB  (UINT64_C(1) << 20)

enum { PEERS = 4, COPIES = 8 };

struct copy {
	char id[TASK_ID_SIZE];
	struct sched_local local;
};

struct peer {
	int index;
	struct channels *channels;
	struct scheduler *scheduler;
	struct sched *sched;
	struct rpc_server *server;
	struct sockaddr_storage addr;
	char host_id[64], text[32];
	struct copy copies[COPIES];
	size_t n_copies;
	unsigned n_fetches, n_updates, n_drops, n_expiries;
	bool server_gone;
};

static struct loop *loop;
static struct peer peers[PEERS];
static size_t n_peers;
static const struct loop_backend *backend = &loop_backend_epoll;

/* ---- the rest of a dfdaemon, played ------------------------------------------------------- */

static struct copy *copy_of(struct peer *p, const char *id)
{
	for (size_t i = 0; i < p->n_copies; i++) {
		if (!strcmp(p->copies[i].id, id))
			return &p->copies[i];
	}
	return NULL;
}

static void tell(struct peer *p, struct copy *c)
{
	assert_int_equal(sched_local_put(p->sched, &c->local), 0);
}

static struct copy *copy_put(struct peer *p, const char *id, uint64_t generation, uint8_t content,
	uint64_t length, uint64_t wanted)
{
	struct copy *c = copy_of(p, id);

	if (!c)
		c = &p->copies[p->n_copies++];
	assert_true(p->n_copies <= COPIES);
	snprintf(c->id, sizeof(c->id), "%s", id);
	c->local = (struct sched_local){.id = c->id,
		.peer_id = p->host_id,
		.generation = generation,
		.length = length,
		.replicas_wanted = wanted,
		.piece_length = 4 << 20,
		.n_pieces = (uint32_t)((length + (4 << 20) - 1) / (4 << 20)),
		.importer_uid = 1000,
		.has_fingerprint = true,
		.expires_in_ns = 3600 * SEC,
		.state = SCHED_LOCAL_COMPLETE,
		.persistent = true};
	memset(c->local.fingerprint, content, sizeof(c->local.fingerprint));
	tell(p, c);
	return c;
}

static void on_drop(
	void *arg, const char *id, uint64_t generation, enum scheduler_drop reason, const char *why)
{
	struct peer *p = arg;
	struct copy *c = copy_of(p, id);

	(void)reason;
	assert_non_null(why);
	p->n_drops++;
	if (c && c->local.generation <= generation) {
		*c = p->copies[--p->n_copies];
		sched_local_remove(p->sched, id);
	}
}

static void on_expiry(void *arg, const char *id, uint64_t in_ns)
{
	struct peer *p = arg;
	struct copy *c = copy_of(p, id);

	p->n_expiries++;
	if (c)
		c->local.expires_in_ns = in_ns;
}

/* a fetch: ask the scheduler what the task is, then have it */
struct fetch {
	struct peer *peer;
	struct rpc_call *call;
	struct sched_call *sched;
	char id[TASK_ID_SIZE];
};

static void on_fetch_stat(void *arg, int status, const char *message, const struct sched_task *t)
{
	struct fetch *f = arg;

	f->sched = NULL;
	if (status != RPC_OK) {
		rpc_call_finish(f->call, RPC_INTERNAL, "%s", message);
		return;
	}
	copy_put(f->peer, t->id, t->generation, t->fingerprint[0], t->length, t->replicas_wanted);
	rpc_call_finish(f->call, RPC_OK, NULL);
}

static void svc_download(struct rpc_call *call, void *service, const uint8_t *p, size_t n)
{
	struct peer *peer = service;
	Dfdaemon__V2__DownloadPersistentCacheTaskRequest *m =
		pbc_unpack(&dfdaemon__v2__download_persistent_cache_task_request__descriptor, p, n);
	struct fetch *f = calloc(1, sizeof(*f));

	assert_non_null(m);
	assert_non_null(f);
	assert_true(m->persistent);
	assert_true(scheduler_call_trusted(peer->scheduler, call));
	peer->n_fetches++;
	f->peer = peer;
	f->call = call;
	rpc_call_set_data(call, f);
	f->sched = sched_stat_task(peer->sched, m->task_id, 10 * SEC, on_fetch_stat, f);
	assert_non_null(f->sched);
	protobuf_c_message_free_unpacked(&m->base, NULL);
}

static void svc_end(struct rpc_call *call, void *service, bool finished)
{
	struct fetch *f = rpc_call_data(call);

	(void)service;
	(void)finished;
	if (f)
		sched_call_cancel(f->sched);
	free(f);
}

static void svc_update(struct rpc_call *call, void *service, const uint8_t *p, size_t n)
{
	struct peer *peer = service;
	Dfdaemon__V2__UpdatePersistentCacheTaskRequest *m =
		pbc_unpack(&dfdaemon__v2__update_persistent_cache_task_request__descriptor, p, n);
	struct copy *c = copy_of(peer, m->task_id);

	peer->n_updates++;
	if (c) {
		c->local.persistent = m->persistent;
		tell(peer, c);
		rpc_call_send(call, "", 0);
	}
	rpc_call_finish(call, c ? RPC_OK : RPC_NOT_FOUND, NULL);
	protobuf_c_message_free_unpacked(&m->base, NULL);
}

static const struct rpc_method upload_methods[] = {
	{.path = METHOD_PEER_DOWNLOAD, .on_message = svc_download, .on_end = svc_end},
	{.path = METHOD_PEER_UPDATE, .on_message = svc_update},
};

/* ---- life -------------------------------------------------------------------------------- */

static void stopped(void *arg)
{
	*(bool *)arg = true;
}

static void steps_until(bool (*done)(void *), void *arg)
{
	struct timespec ts;
	uint64_t end;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	end = (uint64_t)ts.tv_sec * SEC + (uint64_t)ts.tv_nsec + WAIT;
	while (!done(arg)) {
		assert_int_equal(loop_step(loop, 50 * MS), 0);
		assert_true(loop_now(loop) < end);
	}
}

static void run_for(uint64_t ns)
{
	uint64_t end = loop_now(loop) + ns;

	while (loop_now(loop) < end)
		assert_int_equal(loop_step(loop, 20 * MS), 0);
}

static void announce(struct peer *p)
{
	Scheduler__V2__AnnounceHostRequest m = SCHEDULER__V2__ANNOUNCE_HOST_REQUEST__INIT;
	Common__V2__Host h = COMMON__V2__HOST__INIT;
	Common__V2__Disk disk = COMMON__V2__DISK__INIT;
	Common__V2__Network net = COMMON__V2__NETWORK__INIT;
	Common__V2__Build build = COMMON__V2__BUILD__INIT;
	struct buf out = {0};
	char ip[ADDR_TEXT];
	uint16_t port;

	addr_text(&p->addr, ip, &port);
	h.id = h.hostname = p->host_id;
	h.ip = ip;
	h.port = h.download_port = port;
	disk.total = UINT64_C(1) << 40;
	disk.free = UINT64_C(1) << 39;
	h.disk = &disk;
	net.max_tx_bandwidth = 1000000 * (uint64_t)(p->index + 1);
	h.network = &net;
	build.git_version = (char *)HOST_VERSION_PREFIX "test";
	h.build = &build;
	m.host = &h;
	assert_int_equal(pbc_pack(&m.base, &out), 0);
	sched_announce_host(p->sched, out.data, out.len);
	buf_fini(&out);
}

static void on_schedulers(void *arg)
{
	announce(arg);
}

static void peer_listen(struct peer *p, const char *ip, int *fd)
{
	struct sockaddr_in a = {.sin_family = AF_INET};
	socklen_t len = sizeof(p->addr);

	assert_int_equal(inet_pton(AF_INET, ip, &a.sin_addr), 1);
	a.sin_port = p->addr.ss_family ? ((struct sockaddr_in *)&p->addr)->sin_port : 0;
	*fd = rpc_listen_tcp((struct sockaddr *)&a, sizeof(a));
	assert_true(*fd >= 0);
	memset(&p->addr, 0, sizeof(p->addr));
	assert_int_equal(getsockname(*fd, (struct sockaddr *)&p->addr, &len), 0);
	snprintf(p->text, sizeof(p->text), "%s:%u", ip,
		ntohs(((struct sockaddr_in *)&p->addr)->sin_port));
}

static void peer_up(struct peer *p, int fd, const char *const *contacts, size_t n_contacts)
{
	static const struct scheduler_ops ops = {.drop = on_drop, .set_expiry = on_expiry};
	struct scheduler_config sc = {.host_id = p->host_id,
		.hostname = p->host_id,
		.self = p->addr,
		.peers = contacts,
		.n_peers = n_contacts,
		/* Shorter, and on a busy machine under valgrind live peers count as dead: then
		 * each test waits for what cannot come. */
		.heartbeat_ns = SEC};
	struct sched_config cc = {.loop = loop, .host_id = p->host_id};
	struct rpc_service services[SCHEDULER_N_SERVICES + 1];
	size_t n;

	p->channels = channels_new(loop, 64);
	assert_non_null(p->channels);
	assert_int_equal(scheduler_new(&p->scheduler, loop, p->channels, &sc, &ops, p), 0);
	cc.channels = p->channels;
	cc.embedded = p->scheduler;
	assert_int_equal(sched_new(&p->sched, &cc), 0);
	n = scheduler_services(p->scheduler, services);
	services[n++] = (struct rpc_service){upload_methods, 2, p};
	assert_int_equal(rpc_server_new(&p->server, loop, &fd, 1, services, n, NULL), 0);
	sched_on_schedulers(p->sched, on_schedulers, p);
	p->server_gone = false;
}

static bool is_true(void *arg)
{
	return *(bool *)arg;
}

/* without a word to anybody: as by SIGKILL */
static void peer_down(struct peer *p)
{
	if (!p->server)
		return;
	rpc_server_stop(p->server, 0, stopped, &p->server_gone);
	steps_until(is_true, &p->server_gone);
	p->server = rpc_server_free(p->server);
	p->sched = sched_free(p->sched);
	p->scheduler = scheduler_free(p->scheduler);
	p->channels = channels_free(p->channels);
}

static bool mesh_is_full(void *arg)
{
	(void)arg;
	for (size_t i = 0; i < n_peers; i++) {
		struct scheduler_stats st;

		if (!peers[i].server)
			continue;
		st = scheduler_get_stats(peers[i].scheduler);
		if (st.n_peers_live != n_peers - 1)
			return false;
		/* and everybody's report has been heard */
		for (size_t k = 0; k < n_peers; k++) {
			struct reg_host *h =
				registry_host(&peers[i].scheduler->node.reg, peers[k].host_id);

			if (!h || !h->info)
				return false;
		}
	}
	return true;
}

static void peers_start(size_t n, const char *ip, bool wait)
{
	const char *contacts[PEERS];
	int fds[PEERS];

	assert_int_equal(loop_new(&loop, backend, 2), 0);
	memset(peers, 0, sizeof(peers));
	n_peers = n;
	for (size_t i = 0; i < n; i++) {
		peers[i].index = (int)i;
		snprintf(peers[i].host_id, sizeof(peers[i].host_id), "%s-node%zu", ip, i);
		peer_listen(&peers[i], ip, &fds[i]);
		contacts[i] = peers[i].text;
	}
	for (size_t i = 0; i < n; i++) {
		peer_up(&peers[i], fds[i], contacts, n);
		announce(&peers[i]);
	}
	/* reports are repeated, as the daemon does: on a slow machine one may get lost */
	for (int tries = 0; wait && !mesh_is_full(NULL); tries++) {
		assert_true(tries < 300);
		run_for(100 * MS);
		for (size_t i = 0; tries % 20 == 19 && i < n; i++)
			announce(&peers[i]);
	}
}

static bool is_idle(void *arg)
{
	(void)arg;
	return !loop_get_stats(loop).n_inflight;
}

static int peers_stop(void **state)
{
	(void)state;
	for (size_t i = 0; i < n_peers; i++)
		peer_down(&peers[i]);
	if (loop) {
		steps_until(is_idle, NULL);
		loop = loop_free(loop);
	}
	n_peers = 0;
	return 0;
}

/* ---- calls, awaited ---------------------------------------------------------------------- */

struct result {
	bool done;
	int status;
	char message[512];
	struct sched_task t;
	size_t n_holders, n_complete;
};

static void on_result(void *arg, int status, const char *message, const struct sched_task *t)
{
	struct result *r = arg;

	assert_false(r->done);
	r->done = true;
	r->status = status;
	snprintf(r->message, sizeof(r->message), "%s", message);
	if (t)
		r->t = *t; /* strings are not looked at later */
}

static void on_holders(
	void *arg, int status, const char *message, const struct sched_holder *h, size_t n)
{
	struct result *r = arg;

	r->done = true;
	r->status = status;
	snprintf(r->message, sizeof(r->message), "%s", message);
	r->n_holders = n;
	for (size_t i = 0; i < n; i++)
		r->n_complete += h[i].is_complete;
}

static bool result_done(void *arg)
{
	return ((struct result *)arg)->done;
}

static int await(struct result *r)
{
	steps_until(result_done, r);
	return r->status;
}

static int stat_task(struct peer *p, const char *id, struct result *r)
{
	*r = (struct result){0};
	assert_non_null(sched_stat_task(p->sched, id, 20 * SEC, on_result, r));
	return await(r);
}

static struct sched_task describe(
	struct peer *p, const char *id, uint8_t content, uint64_t length, uint64_t wanted)
{
	struct sched_task t = {.id = id,
		.tag = "tag",
		.replicas_wanted = wanted,
		.piece_length = 4 << 20,
		.n_pieces = (uint32_t)((length + (4 << 20) - 1) / (4 << 20)),
		.length = length,
		.expires_in_ns = 3600 * SEC,
		.has_fingerprint = true,
		.generation = sched_new_generation(p->sched),
		.importer_uid = 1000};

	memset(t.fingerprint, content, sizeof(t.fingerprint));
	return t;
}

static int import(struct peer *p, const char *id, uint8_t content, uint64_t length, uint64_t wanted,
	struct result *r)
{
	struct sched_task t = describe(p, id, content, length, wanted);

	*r = (struct result){0};
	assert_non_null(sched_upload_started(p->sched, &t, p->host_id, 20 * SEC, on_result, r));
	if (await(r) != RPC_OK)
		return r->status;
	copy_put(p, id, t.generation, content, length, wanted);
	*r = (struct result){0};
	assert_non_null(
		sched_upload_finished(p->sched, id, p->host_id, NULL, 20 * SEC, on_result, r));
	return await(r);
}

struct want {
	const char *id;
	size_t n;
};

static bool has_copies(void *arg)
{
	struct want *w = arg;
	size_t n = 0;

	for (size_t i = 0; i < n_peers; i++)
		n += peers[i].server && copy_of(&peers[i], w->id);
	return n == w->n;
}

static struct peer *owner_of(const char *id)
{
	char host[HOST_ID_SIZE];

	for (size_t i = 0; i < n_peers; i++) {
		if (!peers[i].server)
			continue;
		sched_owner(peers[i].sched, id, host);
		for (size_t k = 0; k < n_peers; k++) {
			if (!strcmp(peers[k].host_id, host))
				return &peers[k];
		}
	}
	fail();
	return NULL;
}

struct moved {
	const char *id;
	const struct peer *from;
};

static bool is_not_owner_anywhere(void *arg)
{
	struct moved *m = arg;
	char host[HOST_ID_SIZE];

	for (size_t i = 0; i < n_peers; i++) {
		if (!peers[i].server)
			continue;
		sched_owner(peers[i].sched, m->id, host);
		if (!strcmp(host, m->from->host_id))
			return false;
	}
	return true;
}

/* an id that @p owns */
static const char *id_owned_by(struct peer *p, char id[16])
{
	for (unsigned i = 1; i < 10000; i++) {
		snprintf(id, 16, "%u", i * 101);
		if (owner_of(id) == p)
			return id;
	}
	fail_msg("%s owns nothing: it counts as dead", p->host_id);
	return NULL;
}

/* ---- tests ------------------------------------------------------------------------------- */

static void import_makes_replicas_and_stat_tells_them(void **state)
{
	struct result r;
	char id[16];

	(void)state;
	peers_start(4, "127.0.0.1", true);
	/* the importer is not the owner */
	id_owned_by(&peers[2], id);
	assert_int_equal(import(&peers[0], id, 1, 10 * MIB, 3, &r), RPC_OK);
	assert_int_equal(r.t.replicas_persistent, 1);
	steps_until(has_copies, &(struct want){id, 3});
	do {
		assert_int_equal(stat_task(&peers[1], id, &r), RPC_OK);
	} while (r.t.replicas_persistent < 3);
	assert_int_equal(r.t.replicas_persistent, 3);
	assert_int_equal(r.t.replicas_all, 3);
	assert_int_equal(r.t.replicas_wanted, 3);
	assert_int_equal(r.t.length, 10 * MIB);
	assert_int_equal(r.t.n_pieces, 3);
	assert_true(r.t.has_fingerprint);
	assert_int_equal(r.t.fingerprint[5], 1);
	assert_int_equal(r.t.importer_uid, 1000);
	assert_true(r.t.expires_in_ns > 3500 * SEC && r.t.expires_in_ns <= 3600 * SEC);
	assert_true(r.t.generation > 0);
	r = (struct result){0};
	assert_non_null(sched_holders(peers[3].sched, id, 5 * SEC, on_holders, &r));
	assert_int_equal(await(&r), RPC_OK);
	assert_int_equal(r.n_holders, 3);
	assert_int_equal(r.n_complete, 3);
	assert_int_equal(stat_task(&peers[1], "nothing", &r), RPC_NOT_FOUND);
	assert_string_equal(r.message, "persistent cache task nothing not found");
}

static void the_same_id_twice(void **state)
{
	struct result r;
	struct sched_task t;

	(void)state;
	peers_start(3, "127.0.0.1", true);
	assert_int_equal(import(&peers[0], "42", 1, 5 * MIB, 1, &r), RPC_OK);
	t = describe(&peers[1], "42", 1, 5 * MIB, 1);
	r = (struct result){0};
	sched_upload_started(peers[1].sched, &t, "p", 5 * SEC, on_result, &r);
	assert_int_equal(await(&r), RPC_ALREADY_EXISTS);
	assert_true(r.t.has_fingerprint);
	assert_memory_equal(r.t.fingerprint, t.fingerprint, 16);
	t = describe(&peers[1], "42", 2, 5 * MIB, 1);
	r = (struct result){0};
	sched_upload_started(peers[1].sched, &t, "p", 5 * SEC, on_result, &r);
	assert_int_equal(await(&r), RPC_ALREADY_EXISTS);
	assert_memory_not_equal(r.t.fingerprint, t.fingerprint, 16);
	assert_non_null(strstr(r.message, "already names other content"));
	assert_non_null(strstr(r.message, "127.0.0.1-node0"));
	/* a failed import leaves nothing behind */
	t = describe(&peers[1], "43", 2, 5 * MIB, 1);
	for (int i = 0; i < 2; i++) {
		r = (struct result){0};
		sched_upload_started(peers[1].sched, &t, "p", 5 * SEC, on_result, &r);
		assert_int_equal(await(&r), RPC_OK);
		r = (struct result){0};
		sched_upload_failed(peers[1].sched, "43", "p", "no space", 5 * SEC, on_result, &r);
		assert_int_equal(await(&r), RPC_OK);
	}
	assert_int_equal(stat_task(&peers[0], "43", &r), RPC_NOT_FOUND);
}

static bool has_expiry(void *arg)
{
	uint64_t in = ((struct copy *)arg)->local.expires_in_ns;

	return in > 50 * SEC && in <= 100 * SEC;
}

static void delete_and_expiry_reach_all_copies(void **state)
{
	struct result r;

	(void)state;
	peers_start(4, "127.0.0.1", true);
	assert_int_equal(import(&peers[0], "51", 1, 5 * MIB, 4, &r), RPC_OK);
	steps_until(has_copies, &(struct want){"51", 4});
	r = (struct result){0};
	sched_set_expiry(peers[3].sched, "51", 100 * SEC, 5 * SEC, on_result, &r);
	assert_int_equal(await(&r), RPC_OK);
	for (int i = 0; i < 4; i++)
		steps_until(has_expiry, copy_of(&peers[i], "51"));
	assert_int_equal(stat_task(&peers[2], "51", &r), RPC_OK);
	assert_true(r.t.expires_in_ns > 40 * SEC && r.t.expires_in_ns <= 100 * SEC);
	r = (struct result){0};
	sched_delete_task(peers[1].sched, "51", 5 * SEC, on_result, &r);
	assert_int_equal(await(&r), RPC_OK);
	/* answered when the live peers know: their copies are gone already, or in this moment */
	steps_until(has_copies, &(struct want){"51", 0});
	assert_int_equal(stat_task(&peers[1], "51", &r), RPC_NOT_FOUND);
	r = (struct result){0};
	sched_set_expiry(peers[3].sched, "51", 100 * SEC, 5 * SEC, on_result, &r);
	assert_int_equal(await(&r), RPC_NOT_FOUND);
}

static void owner_dies_and_the_task_is_found_again(void **state)
{
	struct result r;
	char id[16];

	(void)state;
	peers_start(4, "127.0.0.1", true);
	id_owned_by(&peers[3], id);
	assert_int_equal(import(&peers[0], id, 1, 5 * MIB, 1, &r), RPC_OK);
	peer_down(&peers[3]);
	/* asked at once: the call waits for the next owner, who asks who has it */
	assert_int_equal(stat_task(&peers[1], id, &r), RPC_OK);
	assert_int_equal(r.t.replicas_persistent, 1);
	assert_int_equal(r.t.length, 5 * MIB);
	/* the others notice in their own time */
	steps_until(is_not_owner_anywhere, &(struct moved){id, &peers[3]});
	/* the new owner refuses other content too */
	assert_int_equal(import(&peers[2], id, 2, 5 * MIB, 1, &r), RPC_ALREADY_EXISTS);
}

static void holder_dies_and_is_replaced(void **state)
{
	struct result r;
	char id[16];

	(void)state;
	peers_start(4, "127.0.0.1", true);
	id_owned_by(&peers[0], id);
	assert_int_equal(import(&peers[1], id, 1, 5 * MIB, 2, &r), RPC_OK);
	steps_until(has_copies, &(struct want){id, 2});
	peer_down(&peers[1]);
	steps_until(has_copies, &(struct want){id, 2});
	for (;;) {
		assert_int_equal(stat_task(&peers[0], id, &r), RPC_OK);
		if (r.t.replicas_persistent == 2)
			break;
	}
}

/* ---- the announce stream ------------------------------------------------------------------ */

struct fetcher {
	struct sched_stream *stream;
	unsigned n_lists, n_ends;
	size_t n, n_holders;
	struct sched_parent parents[32];
	int status;
	char message[256];
};

static void on_parents(void *arg, const struct sched_parent *p, size_t n)
{
	struct fetcher *c = arg;

	c->n_lists++;
	c->n = n;
	c->n_holders = 0;
	for (size_t i = 0; i < n; i++) {
		c->parents[i] = p[i];
		c->n_holders += p[i].is_holder;
	}
}

static void on_stream_end(void *arg, int status, const char *message)
{
	struct fetcher *c = arg;

	c->n_ends++;
	c->stream = NULL;
	c->status = status;
	snprintf(c->message, sizeof(c->message), "%s", message);
}

static const struct sched_stream_ops stream_ops = {on_parents, on_stream_end};

static void child_open(struct fetcher *c, struct peer *p, const char *id, const char *peer_id)
{
	struct sched_register reg = {.task_id = id,
		.peer_id = peer_id,
		.piece_length = 4 << 20,
		.n_pieces = 2,
		.concurrent_pieces = 8};

	*c = (struct fetcher){0};
	c->stream = sched_stream_open(p->sched, &reg, &stream_ops, c);
	assert_non_null(c->stream);
}

static bool has_list(void *arg)
{
	return ((struct fetcher *)arg)->n_lists > 0;
}

static bool has_two_parents(void *arg)
{
	return ((struct fetcher *)arg)->n == 2;
}

static bool has_ended(void *arg)
{
	return ((struct fetcher *)arg)->n_ends > 0;
}

static void children_get_parents_and_each_other(void **state)
{
	struct fetcher a, b;
	struct result r;

	(void)state;
	peers_start(4, "127.0.0.1", true);
	assert_int_equal(import(&peers[0], "61", 1, 8 * MIB, 1, &r), RPC_OK);
	child_open(&a, &peers[1], "61", "child-a");
	steps_until(has_list, &a);
	assert_int_equal(a.n, 1);
	assert_true(a.parents[0].is_holder && a.parents[0].is_ours);
	assert_string_equal(a.parents[0].host_id, peers[0].host_id);
	assert_int_equal(a.parents[0].max_tx_bandwidth, 1000000);
	assert_memory_equal(&((struct sockaddr_in *)&a.parents[0].grpc)->sin_port,
		&((struct sockaddr_in *)&peers[0].addr)->sin_port, 2);
	sched_stream_started(a.stream);
	run_for(100 * MS);
	/* the second child gets the holder and the first child, the first is told of the second */
	child_open(&b, &peers[2], "61", "child-b");
	steps_until(has_two_parents, &b);
	assert_int_equal(b.n_holders, 1);
	sched_stream_started(b.stream);
	steps_until(has_two_parents, &a);
	assert_string_equal(a.parents[1].peer_id, "child-b");
	assert_false(a.parents[1].is_holder);
	/* a finishes: it counts, and b still has two parents */
	sched_stream_finished(a.stream);
	steps_until(has_ended, &a);
	assert_int_equal(a.status, RPC_OK);
	assert_int_equal(stat_task(&peers[3], "61", &r), RPC_OK);
	assert_int_equal(r.t.replicas_all, 2);
	assert_int_equal(r.t.replicas_persistent, 1);
	/* b loses patience with a, and is left with the holder */
	sched_stream_piece_failed(b.stream, 0, "child-a", true);
	b.n_lists = 0;
	steps_until(has_list, &b);
	assert_int_equal(b.n, 1);
	assert_string_equal(b.parents[0].host_id, peers[0].host_id);
	sched_stream_failed(b.stream, "given up");
	steps_until(has_ended, &b);
	assert_int_equal(stat_task(&peers[3], "61", &r), RPC_OK);
	assert_int_equal(r.t.replicas_all, 2);
}

static bool has_one_copy(void *arg)
{
	return registry_task(&owner_of(arg)->scheduler->node.reg, arg)->n_copies == 1;
}

static void streams_end_with_a_reason_or_are_closed(void **state)
{
	struct fetcher c;
	struct result r;

	(void)state;
	peers_start(3, "127.0.0.1", true);
	child_open(&c, &peers[1], "nobody-has-it", "child");
	steps_until(has_ended, &c);
	assert_int_equal(c.status, RPC_NOT_FOUND);
	assert_non_null(strstr(c.message, "nobody-has-it"));
	/* the empty file needs no parents */
	assert_int_equal(import(&peers[0], "71", 1, 0, 1, &r), RPC_OK);
	child_open(&c, &peers[1], "71", "child");
	steps_until(has_list, &c);
	assert_int_equal(c.n, 0);
	sched_stream_finished(c.stream);
	steps_until(has_ended, &c);
	assert_int_equal(c.status, RPC_OK);
	/* closed: no callback any more, and the copy is forgotten there */
	assert_int_equal(import(&peers[0], "72", 1, 5 * MIB, 1, &r), RPC_OK);
	child_open(&c, &peers[1], "72", "child");
	steps_until(has_list, &c);
	sched_stream_close(c.stream);
	steps_until(has_one_copy, (char *)"72");
	assert_int_equal(c.n_ends, 0);
}

static void stream_registers_again_when_the_owner_dies(void **state)
{
	struct fetcher c;
	struct result r;
	char id[16];

	(void)state;
	peers_start(4, "127.0.0.1", true);
	id_owned_by(&peers[3], id);
	assert_int_equal(import(&peers[0], id, 1, 8 * MIB, 1, &r), RPC_OK);
	child_open(&c, &peers[1], id, "child");
	steps_until(has_list, &c);
	sched_stream_started(c.stream);
	run_for(100 * MS);
	c.n_lists = 0;
	peer_down(&peers[3]);
	steps_until(has_list, &c);
	assert_int_equal(c.n_ends, 0);
	assert_string_equal(c.parents[0].host_id, peers[0].host_id);
	sched_stream_finished(c.stream);
	steps_until(has_ended, &c);
	assert_int_equal(c.status, RPC_OK);
}

/* ---- strangers --------------------------------------------------------------------------- */

struct raw {
	bool done;
	int status;
	char message[256];
};

static void raw_done(struct rpc_request *q, void *arg, int status, const char *message)
{
	struct raw *r = arg;

	(void)q;
	r->done = true;
	r->status = status;
	snprintf(r->message, sizeof(r->message), "%s", message);
}

static bool raw_is_done(void *arg)
{
	return ((struct raw *)arg)->done;
}

static int raw_call(struct peer *to, const char *path, const void *p, size_t n, struct raw *r)
{
	static const struct rpc_handlers h = {.on_done = raw_done};
	struct channels *ch = channels_new(loop, 4);

	*r = (struct raw){0};
	assert_non_null(rpc_unary(channels_get(ch, (struct sockaddr *)&to->addr, sizeof(to->addr)),
		path, p, n, 5 * SEC, &h, r));
	steps_until(raw_is_done, r);
	channels_free(ch);
	return r->status;
}

static int raw_message(struct peer *to, const char *path, ProtobufCMessage *m, struct raw *r)
{
	struct buf out = {0};

	assert_int_equal(pbc_pack(m, &out), 0);
	raw_call(to, path, out.data ? (const void *)out.data : "", out.len, r);
	buf_fini(&out);
	return r->status;
}

static void strangers_may_look_but_not_change(void **state)
{
	static const char *const for_trusted[] = {METHOD_INVENTORY, METHOD_INVENTORY_OWNED,
		METHOD_SCHED_ANNOUNCE_HOST, METHOD_SCHED_DELETE_HOST, METHOD_SCHED_ANNOUNCE_PEER,
		METHOD_SCHED_DELETE_PEER, METHOD_SCHED_UPLOAD_STARTED, METHOD_SCHED_UPLOAD_FINISHED,
		METHOD_SCHED_UPLOAD_FAILED, METHOD_SCHED_DELETE_TASK};
	Scheduler__V2__DeletePersistentCacheTaskRequest del =
		SCHEDULER__V2__DELETE_PERSISTENT_CACHE_TASK_REQUEST__INIT;
	Scheduler__V2__StatPersistentCacheTaskRequest stat =
		SCHEDULER__V2__STAT_PERSISTENT_CACHE_TASK_REQUEST__INIT;
	Scheduler__V2__ListHostsRequest list = SCHEDULER__V2__LIST_HOSTS_REQUEST__INIT;
	struct result res;
	struct raw r;

	(void)state;
	/* the peer's address is 127.0.0.2, and whoever connects comes from 127.0.0.1: a stranger */
	peers_start(1, "127.0.0.2", false);
	run_for(300 * MS);
	/* its own client is known by a secret of the process */
	assert_int_equal(import(&peers[0], "81", 1, 5 * MIB, 1, &res), RPC_OK);
	del.host_id = stat.host_id = (char *)"stranger";
	del.task_id = stat.task_id = (char *)"81";
	assert_int_equal(raw_message(&peers[0], METHOD_SCHED_DELETE_TASK, &del.base, &r),
		RPC_PERMISSION_DENIED);
	assert_non_null(strstr(r.message, "not among the configured peers"));
	for (size_t i = 0; i < ARRAY_SIZE(for_trusted); i++)
		if (raw_call(&peers[0], for_trusted[i], "", 0, &r) != RPC_PERMISSION_DENIED)
			fail_msg("%s: %s", for_trusted[i], r.message);
	assert_int_equal(raw_message(&peers[0], METHOD_SCHED_STAT_TASK, &stat.base, &r), RPC_OK);
	assert_int_equal(raw_message(&peers[0], METHOD_SCHED_LIST_HOSTS, &list.base, &r), RPC_OK);
	assert_int_equal(stat_task(&peers[0], "81", &res), RPC_OK);
}

static void nonsense_is_refused_with_a_sentence(void **state)
{
	Scheduler__V2__UploadPersistentCacheTaskStartedRequest up =
		SCHEDULER__V2__UPLOAD_PERSISTENT_CACHE_TASK_STARTED_REQUEST__INIT;
	Scheduler__V2__StatPersistentCacheTaskRequest stat =
		SCHEDULER__V2__STAT_PERSISTENT_CACHE_TASK_REQUEST__INIT;
	struct raw r;

	(void)state;
	peers_start(1, "127.0.0.1", false);
	run_for(300 * MS);
	assert_int_equal(raw_call(&peers[0], METHOD_SCHED_STAT_TASK, "\xff\xff\xff", 3, &r),
		RPC_INVALID_ARGUMENT);
	stat.host_id = (char *)"h";
	stat.task_id = (char *)"../etc/passwd";
	assert_int_equal(raw_message(&peers[0], METHOD_SCHED_STAT_TASK, &stat.base, &r),
		RPC_INVALID_ARGUMENT);
	assert_non_null(strstr(r.message, "task_id"));
	up.host_id = up.peer_id = (char *)"h";
	up.task_id = (char *)"5";
	up.persistent_replica_count = 2;
	up.piece_length = 4 << 20;
	up.content_length = 9 << 20;
	up.piece_count = 2;
	assert_int_equal(raw_message(&peers[0], METHOD_SCHED_UPLOAD_STARTED, &up.base, &r),
		RPC_INVALID_ARGUMENT);
	assert_non_null(strstr(r.message, "piece_count"));
	up.piece_count = 3;
	assert_int_equal(
		raw_message(&peers[0], METHOD_SCHED_UPLOAD_STARTED, &up.base, &r), RPC_NOT_FOUND);
	assert_string_equal(r.message, "host h not found");
	assert_int_equal(
		raw_call(&peers[0], METHOD_INVENTORY, "\x0a\x00", 2, &r), RPC_INVALID_ARGUMENT);
	assert_int_equal(raw_call(&peers[0], METHOD_SCHED_ANNOUNCE_PEER, "\xff", 1, &r),
		RPC_INVALID_ARGUMENT);
}

/* ---- back ends --------------------------------------------------------------------------- */

static int use_uring(void **state)
{
	struct loop *l;

	(void)state;
	if (loop_new(&l, &loop_backend_uring, 1))
		return 1;
	loop_free(l);
	backend = &loop_backend_uring;
	return 0;
}

int main(void)
{
#define T(f) cmocka_unit_test_teardown(f, peers_stop)
	const struct CMUnitTest tests[] = {
		T(import_makes_replicas_and_stat_tells_them),
		T(the_same_id_twice),
		T(delete_and_expiry_reach_all_copies),
		T(owner_dies_and_the_task_is_found_again),
		T(holder_dies_and_is_replaced),
		T(children_get_parents_and_each_other),
		T(streams_end_with_a_reason_or_are_closed),
		T(stream_registers_again_when_the_owner_dies),
		T(strangers_may_look_but_not_change),
		T(nonsense_is_refused_with_a_sentence),
	};
	int failed;

	log_set_level(getenv("TEST_LOG") ? LOG_DEBUG : LOG_ERR);
	failed = cmocka_run_group_tests_name("epoll", tests, NULL, NULL);
	if (use_uring(NULL))
		fprintf(stderr, "# io_uring is forbidden here: only epoll was tested\n");
	else
		failed += cmocka_run_group_tests_name("io_uring", tests, NULL, NULL);
	return failed;
}
