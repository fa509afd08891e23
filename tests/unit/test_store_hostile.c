/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_store_hostile.c — clients that send rubbish, too much, or do not read: they hurt themselves
 * alone. And requests given up by their owner leave nothing behind.
 */
#include "tests/unit/store_fixture.h"

#include <dirent.h>

#include "cachefilesd/api/proto.h"
#include "cachefilesd/store/session.h"

static int raw_connect(struct fixture *f)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	strcpy(sa.sun_path, f->socket);
	assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	return fd;
}

/* turn the loop until something (or the end: 0) can be read */
static ssize_t raw_recv(struct fixture *f, int fd, uint8_t *buf, size_t n)
{
	ssize_t got;

	while ((got = recv(fd, buf, n, 0)) < 0 && errno == EAGAIN)
		assert_int_equal(loop_step(f->loop, SEC / 20), 0);
	return got;
}

static void turn(struct fixture *f, int n)
{
	while (n--)
		assert_int_equal(loop_step(f->loop, SEC / 200), 0);
}

static unsigned open_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static int hello(uint8_t *buf, size_t cap, uint32_t number)
{
	struct proto_request rq = {.type = PROTO_HELLO, .number = number};

	return proto_request_encode(&rq, buf, cap);
}

static void rubbish_ends_the_session(void **state)
{
	static uint8_t buf[PROTO_MESSAGE_MAX + 4096];
	struct fixture *f = fixture_ready();
	int fd = raw_connect(f), n;

	memset(buf, 0x5a, sizeof(buf));
	assert_int_equal(send(fd, buf, 100, 0), 100);
	assert_int_equal(raw_recv(f, fd, buf, sizeof(buf)), 0);
	close(fd);
	/* so does a message that is too long, whatever it begins with */
	fd = raw_connect(f);
	hello(buf, sizeof(buf), 1);
	assert_int_equal(send(fd, buf, sizeof(buf), 0), sizeof(buf));
	assert_int_equal(raw_recv(f, fd, buf, sizeof(buf)), 0);
	close(fd);
	/* a wrong request with a number is answered, and the session goes on */
	fd = raw_connect(f);
	n = hello(buf, sizeof(buf), 7);
	buf[16] = 1;
	assert_int_equal(send(fd, buf, (size_t)n, 0), n);
	{
		struct proto_reply r = {0};
		ssize_t got = raw_recv(f, fd, buf, sizeof(buf));

		assert_int_equal(proto_reply_decode(buf, (size_t)got, &r), 0);
		assert_int_equal(r.number, 7);
		assert_int_equal(r.status, STORE_INVALID);
		n = hello(buf, sizeof(buf), 8);
		assert_int_equal(send(fd, buf, (size_t)n, 0), n);
		got = raw_recv(f, fd, buf, sizeof(buf));
		assert_int_equal(proto_reply_decode(buf, (size_t)got, &r), 0);
		assert_int_equal(r.status, STORE_OK);
	}
	close(fd);
	turn(f, 5);
	assert_int_equal(server_sessions(f->server), 1);
	fixture_free(f);
}

static void descriptors_of_clients_are_dropped(void **state)
{
	struct fixture *f = fixture_ready();
	int fd = raw_connect(f), devnull = open("/dev/null", O_RDONLY);
	uint8_t buf[PROTO_MESSAGE_MAX];
	unsigned before;

	turn(f, 3);
	before = open_fds();
	for (uint32_t i = 1; i < 50; i++) {
		int n = hello(buf, sizeof(buf), i);

		assert_int_equal(fd_send(fd, buf, (size_t)n, &devnull, 1, 0), n);
		assert_true(raw_recv(f, fd, buf, sizeof(buf)) > 0);
	}
	assert_int_equal(open_fds(), before);
	close(fd);
	close(devnull);
	fixture_free(f);
}

static void who_does_not_read_is_not_read(void **state)
{
	struct fixture *f = fixture_ready();
	int fd = raw_connect(f), n;
	uint8_t buf[PROTO_MESSAGE_MAX];
	struct call *c = malloc(sizeof(*c));
	uint32_t sent = 0;

	for (int idle = 0; idle < 20; idle++) {
		n = hello(buf, sizeof(buf), sent + 1);
		while (send(fd, buf, (size_t)n, 0) == n) {
			sent++;
			idle = 0;
			n = hello(buf, sizeof(buf), sent + 1);
		}
		turn(f, 2);
	}
	/* the kernel's socket buffer and our bound; then it has to wait */
	list_for_each (it, &f->server->sessions)
		assert_true(list_entry(it, struct session, link)->n_outs <= SERVER_REQUESTS);
	assert_true(sent < 3 * SERVER_REQUESTS + 1000);
	/* others are served */
	CALL(f, c, store_hello);
	assert_int_equal(c->r.status, STORE_OK);
	/* and it gets everything when it reads again */
	for (uint32_t i = 0; i < sent; i++)
		assert_true(raw_recv(f, fd, buf, sizeof(buf)) > 0);
	close(fd);
	free(c);
	fixture_free(f);
}

static void too_many_sessions(void **state)
{
	struct fixture *f = fixture_ready();
	uint8_t buf[PROTO_MESSAGE_MAX];
	struct proto_reply r = {0};
	static int fds[SERVER_SESSIONS];
	ssize_t got;

	for (size_t i = 0; i < SERVER_SESSIONS - 1; i++) {
		fds[i] = raw_connect(f);
		while (server_sessions(f->server) < i + 2)
			turn(f, 1);
	}
	fds[SERVER_SESSIONS - 1] = raw_connect(f);
	got = raw_recv(f, fds[SERVER_SESSIONS - 1], buf, sizeof(buf));
	assert_int_equal(proto_reply_decode(buf, (size_t)got, &r), 0);
	assert_int_equal(r.status, STORE_DENIED);
	assert_string_equal(r.message, "too many clients");
	for (size_t i = 0; i < SERVER_SESSIONS; i++)
		close(fds[i]);
	while (server_sessions(f->server) > 1)
		turn(f, 1);
	fixture_free(f);
}

static void leases_are_bounded(void **state)
{
	struct fixture *f = fixture_ready();
	struct call *c = malloc(sizeof(*c));
	unsigned before;

	assert_int_equal(put_task(f, "a", "abcd", 4, 4, 1, false, 0), STORE_OK);
	before = open_fds();
	for (unsigned i = 0; i < SERVER_LEASES; i++) {
		CALL(f, c, store_open, "a");
		assert_int_equal(c->r.status, STORE_OK);
		call_close(c);
	}
	CALL(f, c, store_open, "a");
	assert_int_equal(c->r.status, STORE_LIMIT);
	turn(f, 3);
	/* a lease is no descriptor here */
	assert_true(open_fds() <= before);
	/* they end with the session */
	f->client = store_client_free(f->client);
	while (server_sessions(f->server))
		turn(f, 1);
	assert_int_equal(f->depot->lru.n, 1);
	free(c);
	fixture_free(f);
}

static void reserve_of_a_client_is_bounded(void **state)
{
	struct fixture *f = fixture_ready();
	struct call *c = malloc(sizeof(*c));
	struct store_create cr = {
		.length = 40000, .reserve_bytes = 40000, .piece_length = 4096, .uid = getuid()};
	uint32_t lease;

	f->server_set.client_max_bytes = 100000;
	server_reload(f->server, &f->server_set);
	CALL(f, c, store_create, &cr);
	lease = c->r.lease;
	call_close(c);
	CALL(f, c, store_create, &cr);
	call_close(c);
	CALL(f, c, store_create, &cr);
	assert_int_equal(c->r.status, STORE_LIMIT);
	assert_non_null(strstr(c->message, "client_max_reserve"));
	CALL(f, c, store_abort, lease);
	CALL(f, c, store_create, &cr);
	assert_int_equal(c->r.status, STORE_OK);
	call_close(c);
	free(c);
	fixture_free(f);
}

static void given_up_requests_leave_nothing(void **state)
{
	struct fixture *f = fixture_ready();
	struct store_create cr = {.length = 4, .piece_length = 4, .uid = getuid()};
	unsigned before = open_fds();

	/* cancelled at every moment of its way there and back */
	for (int turns = 0; turns < 12; turns++) {
		struct call c = {.op.fn = call_done};

		store_create(f->client, &c.op, &cr);
		turn(f, turns);
		if (!c.done)
			store_cancel(f->client, &c.op);
		call_wait(f, &c);
		if (c.r.status == STORE_OK) {
			struct call a;

			call_close(&c);
			CALL(f, &a, store_abort, c.r.lease);
		} else {
			assert_int_equal(c.r.status, STORE_LOST);
		}
	}
	for (int i = 0; i < 200 && f->depot->n_partials; i++)
		turn(f, 1);
	assert_int_equal(f->depot->n_partials, 0);
	turn(f, 10);
	assert_true(open_fds() <= before);
	fixture_free(f);
}

static void the_client_survives_its_store(void **state)
{
	struct fixture *f = fixture_ready();
	struct call a = {.op.fn = call_done}, b = {.op.fn = call_done};

	assert_int_equal(put_task(f, "a", "abcd", 4, 4, 1, false, 0), STORE_OK);
	fixture_stop(f);
	while (!f->n_lost)
		turn(f, 1);
	/* what needs no lease waits for the next session, what does is lost */
	store_stat(f->client, &a.op, "a");
	store_release(f->client, &b.op, 1);
	call_wait(f, &b);
	assert_int_equal(b.r.status, STORE_LOST);
	assert_false(a.done);
	fixture_start(f);
	call_wait(f, &a);
	assert_int_equal(a.r.status, STORE_OK);
	/* freed with requests in flight: each gets its answer */
	a = (struct call){.op.fn = call_done};
	store_stat(f->client, &a.op, "a");
	f->client = store_client_free(f->client);
	assert_false(a.done);
	call_wait(f, &a);
	assert_int_equal(a.r.status, STORE_LOST);
	fixture_free(f);
}

/* stopped with SIGSTOP, say: its socket is open, and it will never give anything back */
static void who_is_silent_loses_its_leases(void **state)
{
	struct fixture *f = fixture_ready();
	struct proto_request rq = {
		.type = PROTO_OPEN, .number = 1, .mask = PROTO_F_ID, .id = "held"};
	struct call *c = malloc(sizeof(*c));
	uint8_t buf[PROTO_MESSAGE_MAX];
	struct proto_reply r = {0};
	struct session *ours = NULL;
	int fd = raw_connect(f), idle = raw_connect(f), n;
	ssize_t got;

	assert_int_equal(put_task(f, "held", "abcd", 4, 4, 1, false, 0), STORE_OK);
	n = hello(buf, sizeof(buf), 1);
	assert_int_equal(send(idle, buf, (size_t)n, 0), n);
	assert_true(raw_recv(f, idle, buf, sizeof(buf)) > 0);
	n = proto_request_encode(&rq, buf, sizeof(buf));
	assert_int_equal(send(fd, buf, (size_t)n, 0), n);
	got = raw_recv(f, fd, buf, sizeof(buf));
	assert_int_equal(proto_reply_decode(buf, (size_t)got, &r), 0);
	assert_int_equal(r.status, STORE_OK);
	/* not yet */
	server_reload(f->server, &f->server_set);
	CALL(f, c, store_stat, "held");
	assert_true(c->r.info.leased);
	f->server_set.silent_ns = SEC / 10;
	do {
		server_reload(f->server, &f->server_set);
		CALL(f, c, store_stat, "held");
	} while (c->r.info.leased);
	assert_int_equal(raw_recv(f, fd, buf, sizeof(buf)), 0);
	/* who holds nothing may be as silent as it likes */
	assert_int_equal(server_sessions(f->server), 2);
	/* and our client is not silent, whether it is asked for anything or not */
	f->server_set.silent_ns = 0;
	server_reload(f->server, &f->server_set);
	CALL(f, c, store_open, "held");
	assert_int_equal(c->r.status, STORE_OK);
	call_close(c);
	list_for_each (it, &f->server->sessions)
		ours = list_entry(it, struct session, link)->n_leases
			       ? list_entry(it, struct session, link)
			       : ours;
	assert_non_null(ours);
	store_client_beat_every(f->client, SEC / 100);
	for (int i = 0; i < 3; i++)
		for (uint64_t heard = ours->heard_ns; ours->heard_ns == heard;)
			assert_int_equal(loop_step(f->loop, SEC), 0);
	close(fd);
	close(idle);
	free(c);
	fixture_free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rubbish_ends_the_session),
		cmocka_unit_test(descriptors_of_clients_are_dropped),
		cmocka_unit_test(who_does_not_read_is_not_read),
		cmocka_unit_test(who_is_silent_loses_its_leases),
		cmocka_unit_test(too_many_sessions),
		cmocka_unit_test(leases_are_bounded),
		cmocka_unit_test(reserve_of_a_client_is_bounded),
		cmocka_unit_test(given_up_requests_leave_nothing),
		cmocka_unit_test(the_client_survives_its_store),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
