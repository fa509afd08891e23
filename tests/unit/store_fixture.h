/* SPDX-License-Identifier: GPL-2.0-or-later */
/* store_fixture.h — a real store in a directory of its own and clients of it, all on one loop: the
 * socket, the files and the messages are the real ones. Space and time can be given by the test.
 */
#ifndef TESTS_STORE_FIXTURE_H
#define TESTS_STORE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "cachefilesd/api/record.h"
#include "cachefilesd/api/store.h"
#include "cachefilesd/store/server.h"
#include "common/cleanup.h"
#include "common/digest.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/path.h"

#define SEC 1000000000ull

struct fixture {
	char dir[64], socket[96];
	int dirfd;
	struct loop *loop;
	struct depot *depot;
	struct server *server;
	struct depot_settings set;
	struct server_settings server_set;
	struct depot_world world;
	bool use_world, server_stopped, clock_is_free; /* the last: no NTP */
	/* the world of the test */
	uint64_t wall_ns, mono_ns;
	struct depot_space space;
	uint64_t needed;
	unsigned n_needed;
	struct store_client *client;
	unsigned n_ready, n_lost;
};

static inline struct wallclock_now fixture_now(void *arg)
{
	struct fixture *f = arg;

	return (struct wallclock_now){
		.wall_ns = f->wall_ns, .mono_ns = f->mono_ns, .is_synchronized = !f->clock_is_free};
}

static inline int fixture_space(void *arg, int fd, struct depot_space *out)
{
	struct fixture *f = arg;

	(void)fd;
	*out = f->space;
	return 0;
}

static inline void fixture_need(void *arg, uint64_t avail)
{
	struct fixture *f = arg;

	f->needed = avail;
	f->n_needed++;
}

static inline void fixture_event(void *arg, enum store_event e)
{
	struct fixture *f = arg;

	f->n_ready += e == STORE_EVENT_READY;
	f->n_lost += e == STORE_EVENT_LOST;
}

static inline void fixture_stopped(void *arg)
{
	((struct fixture *)arg)->server_stopped = true;
}

static inline void fixture_start(struct fixture *f)
{
	struct server_hooks hooks = {.need_space = fixture_need, .arg = f};
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	char reason[256] = "";
	int fd;

	f->world = (struct depot_world){.now = fixture_now, .space = fixture_space, .arg = f};
	f->server_set.is_enabled = true;
	f->server_stopped = false;
	if (depot_new(&f->depot, f->dirfd, &f->set, f->use_world ? &f->world : NULL, reason))
		fail_msg("%s", reason);
	assert_int_equal(server_new(&f->server, f->loop, f->depot, &f->server_set, &hooks), 0);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	strcpy(sa.sun_path, f->socket);
	unlink(f->socket);
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(listen(fd, 16), 0);
	server_listen(f->server, fd);
}

static inline void fixture_stop(struct fixture *f)
{
	server_stop(f->server, fixture_stopped, f);
	while (!f->server_stopped)
		assert_int_equal(loop_step(f->loop, SEC), 0);
	f->server = server_free(f->server);
	f->depot = depot_free(f->depot);
}

static inline void fixture_remove(const char *dir)
{
	char parent[64];
	int fd;

	snprintf(parent, sizeof(parent), "%.*s", (int)(strrchr(dir, '/') - dir), dir);
	/* nothing is removed across a mount */
	fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	path_remove_tree(fd, strrchr(dir, '/') + 1, NULL);
	close(fd);
}

/* Thousands of syncs that nobody looks at: where there is a tmpfs, stores of this program are there. */
static char fixture_shm[32];

static inline void fixture_forget_memory(void)
{
	fixture_remove(fixture_shm);
}

static inline void fixture_in_memory(void)
{
	strcpy(fixture_shm, "/dev/shm/dfc-store.XXXXXX");
	if (!mkdtemp(fixture_shm))
		return;
	setenv("TMPDIR", fixture_shm, 1);
	atexit(fixture_forget_memory);
}

static inline struct fixture *fixture_new(void)
{
	struct fixture *f = calloc(1, sizeof(*f));
	const char *base = getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp";

	log_set_level(LOG_CRIT);
	snprintf(f->dir, sizeof(f->dir), "%s/store.XXXXXX", base);
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->socket, sizeof(f->socket), "%s/sock", f->dir);
	f->dirfd = open(f->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	/* the real disk may be nearly full: limits that never bite */
	f->set.limits = (struct limits){.blocks = {2, 1, 0}, .files = {2, 1, 0}};
	f->wall_ns = 1700000000ull * SEC;
	f->mono_ns = 1000 * SEC;
	f->space = (struct depot_space){.block_size = 4096,
		.blocks_total = 1 << 20,
		.blocks_avail = 1 << 19,
		.files_total = 1 << 20,
		.files_avail = 1 << 19};
	f->use_world = true;
	assert_int_equal(loop_new(&f->loop, &loop_backend_epoll, 2), 0);
	return f;
}

static inline void fixture_connect(struct fixture *f)
{
	unsigned ready = f->n_ready;

	if (!f->client)
		assert_int_equal(
			store_client_new(&f->client, f->loop, f->socket, fixture_event, f), 0);
	while (f->n_ready == ready)
		assert_int_equal(loop_step(f->loop, SEC), 0);
}

static inline struct fixture *fixture_ready(void)
{
	struct fixture *f = fixture_new();

	fixture_start(f);
	fixture_connect(f);
	return f;
}

static inline void fixture_free(struct fixture *f)
{
	f->client = store_client_free(f->client);
	if (f->server)
		fixture_stop(f);
	while (loop_get_stats(f->loop).n_inflight)
		assert_int_equal(loop_step(f->loop, SEC), 0);
	loop_free(f->loop);
	close(f->dirfd);
	fixture_remove(f->dir);
	free(f);
}

/* ---- one request, waited for ---- */

struct call {
	struct store_op op;
	bool done;
	struct store_reply r;
	char message[STORE_MESSAGE_MAX];
	uint8_t attrs[STORE_ATTR_MAX];
	struct store_info entries[64];
};

static inline void call_done(struct store_op *op, const struct store_reply *r)
{
	struct call *c = container_of(op, struct call, op);

	c->r = *r;
	snprintf(c->message, sizeof(c->message), "%s", r->message);
	c->r.message = c->message;
	if (r->attrs_len)
		memcpy(c->attrs, r->attrs, r->attrs_len);
	if (r->n_entries)
		memcpy(c->entries, r->entries, r->n_entries * sizeof(*r->entries));
	c->done = true;
}

static inline void call_wait(struct fixture *f, struct call *c)
{
	while (!c->done)
		assert_int_equal(loop_step(f->loop, SEC), 0);
}

static inline void call_close(struct call *c)
{
	c->r.data_fd = fd_close(c->r.data_fd);
	c->r.record_fd = fd_close(c->r.record_fd);
	c->r.read_fd = fd_close(c->r.read_fd);
}

#define CALL(f, c, call, ...)                                                                      \
	do {                                                                                       \
		memset((c), 0, sizeof(*(c)));                                                      \
		(c)->op.fn = call_done;                                                            \
		(call)((f)->client, &(c)->op, ##__VA_ARGS__);                                      \
		call_wait((f), (c));                                                               \
	} while (0)

/* a whole task: create, write, pieces, commit; returns the status of the commit */
static inline enum store_status put_task(struct fixture *f, const char *id, const void *data,
	size_t len, uint32_t piece_length, uint8_t print, bool pin, uint64_t expires_ns)
{
	struct store_create cr = {.length = len,
		.reserve_bytes = len,
		.piece_length = piece_length,
		.pin = pin,
		.expires_ns = expires_ns,
		.uid = getuid()};
	struct store_piece p[STORE_PIECES_BATCH];
	uint8_t fingerprint[STORE_FPRINT_SIZE];
	struct call *c = malloc(sizeof(*c));
	enum store_status st;
	uint32_t lease;
	size_t n = 0;

	memset(fingerprint, print, sizeof(fingerprint));
	CALL(f, c, store_create, &cr);
	st = c->r.status;
	if (st)
		goto out;
	lease = c->r.lease;
	assert_int_equal(fd_pwrite_full(c->r.data_fd, data, len, 0), 0);
	assert_int_equal(fdatasync(c->r.data_fd), 0);
	call_close(c);
	for (size_t off = 0; off < len; off += piece_length, n++) {
		size_t k = len - off < piece_length ? len - off : piece_length;

		p[n] = (struct store_piece){
			(uint32_t)n, digest_crc32(0, (const uint8_t *)data + off, k)};
	}
	CALL(f, c, store_pieces, lease, p, n);
	assert_int_equal(c->r.status, STORE_OK);
	CALL(f, c, store_commit, lease, id, fingerprint, NULL, 0);
	st = c->r.status;
out:
	if (st > STORE_EXISTS_DIFFERENT)
		print_message("# put %s: %s: %s\n", id, store_status_name(st), c->message);
	free(c);
	return st;
}

#endif
