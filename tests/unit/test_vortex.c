/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_vortex.c — the server and the client of pieces over real sockets and files, on both back ends,
 * against each other and against parents and children that misbehave. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/tls.h"
#include "p2p/vortex/client.h"
#include "p2p/vortex/server.h"
#include "tests/lib/certs.h"
#include "tests/lib/oom.h"

#define MS       1000000ull
#define DEADLINE (20000 * MS)
#define TASK     "2229733261"
#define FILE_LEN ((9u << 20) + 123)
#define PIECE    (4u << 20)

enum answer { REPLY, NOT_FOUND, NEVER, ARRIVING };

struct fixture {
	struct loop *l;
	int n_fds_before;
	/* the parent */
	struct vortex_server *server;
	struct sockaddr_in addr;
	uint8_t *content;
	int file;
	enum answer answer;
	bool wrong_crc, no_crc;
	int n_find, n_done, n_whole, n_children;
	uint16_t ports[512];
	uint64_t sent;
	struct vortex_request *pending;
	/* the child */
	struct vortex_pool *pool;
	int out;
	int n_gone;
};

static struct tls_context *tls_parent, *tls_child; /* NULL: plaintext */

static int count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static uint32_t file_crc(const struct fixture *f, uint32_t number, uint32_t length)
{
	return digest_crc32(0, f->content + (size_t)number * PIECE, length);
}

static uint32_t length_of(uint32_t number)
{
	uint32_t at = number * PIECE;

	return FILE_LEN - at < PIECE ? FILE_LEN - at : PIECE;
}

static void reply(struct fixture *f, struct vortex_request *rq, uint32_t number)
{
	struct vortex_piece p = {
		.fd = f->file,
		.offset = (uint64_t)number * PIECE,
		.length = length_of(number),
		.crc32 = file_crc(f, number, length_of(number)) + f->wrong_crc,
		.has_crc32 = !f->no_crc,
		.parent_id = f->answer == ARRIVING ? "peer" : "",
		.created_s = 1751328000,
		.is_arriving = f->answer == ARRIVING,
	};

	vortex_reply(rq, &p);
}

static void on_find(void *arg, struct vortex_request *rq, const char *task_id, uint32_t number)
{
	struct fixture *f = arg;
	uint16_t port = ((const struct sockaddr_in *)vortex_request_child(rq))->sin_port;
	int i = 0;

	f->n_find++;
	assert_string_equal(task_id, TASK);
	while (i < f->n_children && f->ports[i] != port)
		i++;
	if (i == f->n_children && i < 512)
		f->ports[f->n_children++] = port;
	vortex_request_set_data(rq, f);
	f->pending = rq;
	if ((f->answer == REPLY || f->answer == ARRIVING) && number < 3)
		reply(f, rq, number);
	else if (f->answer != NEVER)
		vortex_refuse(rq, VORTEX_E_NOT_FOUND, "piece %s-%u not found", task_id, number);
}

static void on_done(void *arg, struct vortex_request *rq, uint64_t sent, bool whole)
{
	struct fixture *f = arg;

	assert_ptr_equal(vortex_request_data(rq), f);
	f->n_done++;
	f->n_whole += whole;
	f->sent += sent;
}

static const struct vortex_source_ops source = {.find = on_find, .done = on_done};

static int listen_tcp(struct sockaddr_in *sa, int backlog, int sndbuf)
{
	socklen_t len = sizeof(*sa);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	*sa = (struct sockaddr_in){
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	if (sndbuf)
		setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &sndbuf, sizeof(sndbuf));
	assert_int_equal(bind(fd, (struct sockaddr *)sa, sizeof(*sa)), 0);
	assert_int_equal(listen(fd, backlog), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)sa, &len), 0);
	return fd;
}

static void start_server(struct fixture *f, const struct vortex_server_limits *limits, int sndbuf)
{
	static const struct vortex_server_limits none;

	assert_int_equal(vortex_server_new(&f->server, f->l, listen_tcp(&f->addr, 128, sndbuf),
				 &source, f, limits ? limits : &none),
		0);
	vortex_server_set_tls(f->server, tls_parent);
}

/* valgrind holds its big lock while a thread waits in io_uring_enter, so no other thread runs, and it
 * does not see what the kernel writes: there the ring is not tried */
static bool is_valgrind(void)
{
	const char *s = getenv("LD_PRELOAD");

	return s && strstr(s, "vgpreload");
}

static int setup(void **state)
{
	const struct loop_backend *be = *state;
	struct vortex_pool_options options = {.max_idle = 4, .buffer_bytes = 128 << 10};
	struct fixture *f = calloc(1, sizeof(*f));
	uint64_t x = 88172645463325252ull;
	int r;

	log_set_level(LOG_ERR); /* dropped peers are expected here */
	f->n_fds_before = count_fds();
	f->out = f->file = -1;
	*state = f;
	r = be == &loop_backend_uring && is_valgrind() ? -ENOSYS : loop_new(&f->l, be, 2);
	if (r)
		return be == &loop_backend_uring && (r == -EPERM || r == -ENOSYS) ? 0 : -1;
	f->content = malloc(FILE_LEN);
	for (size_t i = 0; i < FILE_LEN; i++) {
		if (i % 8 == 0) {
			x ^= x << 13;
			x ^= x >> 7;
			x ^= x << 17;
		}
		f->content[i] = (uint8_t)(x >> (i % 8 * 8));
	}
	f->file = memfd_create("parent", MFD_CLOEXEC);
	f->out = memfd_create("child", MFD_CLOEXEC);
	if (fd_pwrite_full(f->file, f->content, FILE_LEN, 0) ||
		vortex_pool_new(&f->pool, f->l, &options))
		return -1;
	vortex_pool_set_tls(f->pool, tls_child, NULL);
	return 0;
}

static void on_gone(void *arg)
{
	((struct fixture *)arg)->n_gone++;
}

/* run_until - turns of the loop until *@n reaches @want */
static void run_until(struct fixture *f, const int *n, int want)
{
	uint64_t end = loop_now(f->l) + DEADLINE;

	while (*n < want) {
		assert_int_equal(loop_step(f->l, 100 * MS), 0);
		assert_true(loop_now(f->l) < end);
	}
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	int want = 0;

	if (!f->l) { /* no ring here */
		free(f);
		return 0;
	}
	if (f->server) {
		vortex_server_close(f->server, on_gone, f);
		want++;
	}
	if (f->pool) {
		vortex_pool_close(f->pool, on_gone, f);
		want++;
	}
	run_until(f, &f->n_gone, want);
	assert_int_equal(f->n_find, f->n_done); /* done() exactly once for each find() */
	loop_free(f->l);
	fd_close(f->file);
	fd_close(f->out);
	assert_int_equal(count_fds(), f->n_fds_before);
	free(f->content);
	free(f);
	return 0;
}

#define FIXTURE                                                                                    \
	struct fixture *f = *state;                                                                \
	if (!f->l)                                                                                 \
	skip()

/* ---- a get and its outcome -------------------------------------------------------------------- */

struct got {
	int n;
	struct vortex_result r;
};

static void on_got(void *arg, struct vortex_get *g, const struct vortex_result *r)
{
	struct got *got = arg;

	got->n++;
	got->r = *r;
}

static struct vortex_want want_of(struct fixture *f, uint32_t number, bool reuse)
{
	return (struct vortex_want){
		.addr = (const struct sockaddr *)&f->addr,
		.addr_len = sizeof(f->addr),
		.task_id = TASK,
		.number = number,
		.length = length_of(number < 3 ? number : 0),
		.offset = (uint64_t)number * PIECE,
		.fd = f->out,
		.reuse = reuse,
	};
}

static struct got get(struct fixture *f, const struct vortex_want *w)
{
	struct got got = {0};

	assert_non_null(vortex_get_start(f->pool, w, on_got, &got));
	assert_int_equal(got.n, 0); /* never from inside */
	run_until(f, &got.n, 1);
	assert_int_equal(got.n, 1);
	return got;
}

static void check_file(struct fixture *f, uint32_t number)
{
	uint32_t n = length_of(number);
	uint8_t *b = malloc(n);

	assert_int_equal(fd_pread_full(f->out, b, n, (uint64_t)number * PIECE), n);
	assert_memory_equal(b, f->content + (size_t)number * PIECE, n);
	free(b);
}

static void check_ok(struct fixture *f, const struct got *got, uint32_t number)
{
	uint32_t n = length_of(number);
	struct digest_128 x = digest_xxh3_128(f->content + (size_t)number * PIECE, n);

	assert_string_equal(vortex_outcome_name(got->r.outcome), "ok");
	assert_int_equal(got->r.bytes, n);
	assert_int_equal(got->r.crc32, file_crc(f, number, n));
	assert_true(got->r.xxh3.hi == x.hi && got->r.xxh3.lo == x.lo);
	check_file(f, number);
}

static void bytes_arrive_as_they_were(void **state)
{
	FIXTURE;
	start_server(f, NULL, 0);
	for (int reuse = 0; reuse < 2; reuse++)
		for (uint32_t i = 0; i < 3; i++) {
			struct vortex_want w = want_of(f, i, reuse);
			struct got got = get(f, &w);

			check_ok(f, &got, i);
			assert_true(got.r.parent_had_digest);
			assert_true(got.r.duration_ns > 0);
			assert_int_equal(ftruncate(f->out, 0), 0);
		}
	run_until(f, &f->n_done, 6);
	assert_int_equal(f->n_whole, 6);
	assert_int_equal(f->sent, 2 * FILE_LEN);
	assert_int_equal(vortex_server_get_stats(f->server).bytes_sent, 2 * FILE_LEN);
	assert_int_equal(vortex_server_get_stats(f->server).n_pieces, 6);
	assert_int_equal(f->n_children, 3 + 1); /* one connection each, then one for all */
}

static void a_file_that_is_not_in_memory(void **state)
{
	FIXTURE;
	char path[] = "/var/tmp/test_vortex.XXXXXX";
	struct vortex_want w = want_of(f, 1, true);
	struct got got;
	int fd = mkstemp(path);

	unlink(path);
	assert_int_equal(fcntl(fd, F_SETFD, FD_CLOEXEC), 0);
	assert_int_equal(fd_pwrite_full(fd, f->content, FILE_LEN, 0), 0);
	assert_int_equal(fsync(fd), 0);
	assert_int_equal(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
	fd_close(f->file);
	f->file = fd;
	start_server(f, NULL, 0);
	got = get(f, &w);
	check_ok(f, &got, 1);
}

static void refusals_are_told(void **state)
{
	FIXTURE;
	start_server(f, NULL, 0);
	for (int reuse = 0; reuse < 2; reuse++) {
		struct vortex_want w = want_of(f, 7, reuse);
		struct got got = get(f, &w);

		assert_int_equal(got.r.outcome, VORTEX_REFUSED);
		assert_int_equal(got.r.code, VORTEX_E_NOT_FOUND);
		assert_string_equal(got.r.message, "piece " TASK "-7 not found");
		w = want_of(f, 0, reuse); /* the kept connection is still good */
		got = get(f, &w);
		check_ok(f, &got, 0);
	}
	assert_int_equal(f->n_children, 2 + 1);
	run_until(f, &f->n_done, 4);
	assert_int_equal(f->n_whole, 2); /* a refusal is not a piece */
}

static void a_dead_kept_connection_is_replaced(void **state)
{
	FIXTURE;
	struct vortex_server_limits limits = {.idle_timeout_ns = 20 * MS};
	struct got got;

	start_server(f, &limits, 0);
	for (int i = 0; i < 3; i++) {
		struct vortex_want w = want_of(f, 2, true);
		uint64_t end = loop_now(f->l) + DEADLINE;

		got = get(f, &w);
		check_ok(f, &got, 2);
		while (vortex_server_get_stats(f->server).n_connections) {
			assert_int_equal(loop_step(f->l, 5 * MS), 0);
			assert_true(loop_now(f->l) < end);
		}
	}
	assert_int_equal(f->n_children, 3);
}

static void no_digest_is_accepted_and_a_wrong_one_is_not(void **state)
{
	FIXTURE;
	struct vortex_want w = want_of(f, 0, true);
	struct got got;

	start_server(f, NULL, 0);
	f->no_crc = true;
	got = get(f, &w);
	check_ok(f, &got, 0);
	assert_false(got.r.parent_had_digest);
	f->no_crc = false;
	f->wrong_crc = true;
	got = get(f, &w);
	assert_int_equal(got.r.outcome, VORTEX_DIGEST);
}

static void a_file_that_cannot_be_written(void **state)
{
	FIXTURE;
	struct vortex_want w = want_of(f, 0, true);
	_cleanup_fd_ int full = open("/dev/full", O_RDWR | O_CLOEXEC);
	_cleanup_fd_ int read_only = open("/dev/null", O_RDONLY | O_CLOEXEC);
	struct got got;

	start_server(f, NULL, 0);
	w.fd = full;
	got = get(f, &w);
	assert_int_equal(got.r.outcome, VORTEX_IO);
	assert_int_equal(got.r.error, ENOSPC);
	w.fd = read_only;
	got = get(f, &w);
	assert_int_equal(got.r.outcome, VORTEX_IO);
	assert_int_equal(got.r.error, EBADF);
}

/* ---- a piece that is passed on while it arrives ---------------------------------------------- */

struct progress {
	struct got got; /* first: on_got's argument */
	int n;
	uint32_t written, crc32;
};

static void on_progress(void *arg, struct vortex_get *g)
{
	struct progress *p = arg;

	assert_int_equal(p->got.n, 0);
	assert_true(vortex_get_announced(g, &p->crc32));
	assert_true(!p->n || vortex_get_written(g) >= p->written + VORTEX_PROGRESS_STEP);
	p->written = vortex_get_written(g);
	p->n++;
}

/* turns of the loop until the child has received @n bytes, and some more to see that it stays so */
static void receive_exactly(struct fixture *f, struct vortex_get *g, struct progress *p, uint64_t n)
{
	uint64_t end = loop_now(f->l) + DEADLINE;

	while (vortex_get_bytes(g) < n || p->written + VORTEX_PROGRESS_STEP <= n) {
		assert_int_equal(loop_step(f->l, 100 * MS), 0);
		assert_true(loop_now(f->l) < end);
	}
	for (int i = 0; i < 5; i++)
		assert_int_equal(loop_step(f->l, 2 * MS), 0);
	assert_int_equal(vortex_get_bytes(g), n);
	assert_int_equal(p->got.n, 0);
}

static void what_arrives_is_passed_on_as_far_as_allowed(void **state)
{
	FIXTURE;
	static const uint32_t steps[] = {0, 1, 100000, 100000, 2000000, PIECE - 65536};

	start_server(f, NULL, 0);
	f->answer = ARRIVING;
	for (uint32_t i = 0; i < 2; i++) {
		struct vortex_want w = want_of(f, i, true);
		struct progress p = {0};
		struct vortex_get *g;

		w.progress = on_progress;
		g = vortex_get_start(f->pool, &w, on_got, &p);
		assert_non_null(g);
		run_until(f, &p.n, 1); /* the header comes before any byte */
		assert_int_equal(p.crc32, file_crc(f, i, PIECE));
		for (size_t k = 0; k < sizeof(steps) / sizeof(*steps); k++) {
			vortex_grown(f->pending, steps[k]);
			receive_exactly(f, g, &p, steps[k]);
		}
		vortex_grown(f->pending, PIECE);
		run_until(f, &p.got.n, 1);
		check_ok(f, &p.got, i);
		assert_true(p.got.r.was_forwarded);
	}
	run_until(f, &f->n_done, 2);
	assert_int_equal(f->n_whole, 2);
	assert_int_equal(f->n_children, 1); /* and the connection is kept */
	f->answer = REPLY;
	struct vortex_want w = want_of(f, 2, true);
	struct got got = get(f, &w);

	check_ok(f, &got, 2);
	assert_false(got.r.was_forwarded);
}

static void what_stops_arriving_is_never_completed(void **state)
{
	FIXTURE;
	struct vortex_want w = want_of(f, 0, true);
	struct got got;

	start_server(f, NULL, 0);
	f->answer = ARRIVING;
	w.progress = on_progress;
	for (int i = 0; i < 3; i++) {
		struct progress p = {0};
		struct vortex_get *g = vortex_get_start(f->pool, &w, on_got, &p);

		run_until(f, &p.n, 1);
		if (i) { /* i == 0: before the first byte */
			vortex_grown(f->pending, PIECE - 65536);
			receive_exactly(f, g, &p, PIECE - 65536);
		}
		if (i == 2) /* with something on its way */
			vortex_grown(f->pending, PIECE - 1);
		vortex_give_up(f->pending);
		run_until(f, &p.got.n, 1);
		assert_int_equal(p.got.r.outcome, VORTEX_LOST);
		assert_true(p.got.r.was_forwarded);
		run_until(f, &f->n_done, i + 1);
	}
	assert_int_equal(f->n_whole, 0);
	f->answer = REPLY;
	w.progress = NULL;
	got = get(f, &w);
	check_ok(f, &got, 0);
}

static void many_at_once_wait_their_turn(void **state)
{
	FIXTURE;
	enum { N = 60 };
	struct vortex_server_limits limits = {.max_sending = 2};
	struct got got[N] = {0};

	start_server(f, &limits, 0);
	for (int i = 0; i < N; i++) { /* upstream children do not understand busy */
		struct vortex_want w = want_of(f, 2, false);

		w.header_timeout_ns = DEADLINE;
		assert_non_null(vortex_get_start(f->pool, &w, on_got, &got[i]));
	}
	for (int i = 0; i < N; i++) {
		run_until(f, &got[i].n, 1);
		check_ok(f, &got[i], 2);
		assert_true(vortex_server_get_stats(f->server).n_sending <= 2);
	}
	run_until(f, &f->n_done, N);
	assert_int_equal(vortex_server_get_stats(f->server).n_busy, 0);
	assert_int_equal(vortex_server_get_stats(f->server).n_waiting, 0);
}

static void our_children_hear_busy(void **state)
{
	FIXTURE;
	enum { N = 40 };
	struct vortex_server_limits limits = {.max_sending = 2};
	struct got got[N] = {0};
	int n_ok = 0, n_busy = 0;

	start_server(f, &limits, 0);
	for (int i = 0; i < N; i++) {
		struct vortex_want w = want_of(f, (uint32_t)i % 3, true);

		assert_non_null(vortex_get_start(f->pool, &w, on_got, &got[i]));
	}
	for (int i = 0; i < N; i++) {
		run_until(f, &got[i].n, 1);
		if (got[i].r.outcome == VORTEX_OK)
			check_ok(f, &got[i], (uint32_t)i % 3);
		n_ok += got[i].r.outcome == VORTEX_OK;
		n_busy += got[i].r.outcome == VORTEX_BUSY;
	}
	assert_int_equal(n_ok + n_busy, N);
	assert_true(n_ok >= 2 && n_busy > 0);
	assert_int_equal(vortex_server_get_stats(f->server).n_busy, n_busy);
}

static void bandwidth_is_kept_and_shared(void **state)
{
	FIXTURE;
	struct vortex_server_limits limits = {.bandwidth = 10000000};
	struct got got[2] = {0};
	uint64_t start, both, expect;

	start_server(f, &limits, 0);
	assert_int_equal(loop_step(f->l, 0), 0);
	start = loop_now(f->l);
	for (int i = 0; i < 2; i++) { /* 1 MB and 4.2 MB in a stream of 10 MB/s */
		struct vortex_want w = want_of(f, i ? 2 : 0, i);

		assert_non_null(vortex_get_start(f->pool, &w, on_got, &got[i]));
	}
	run_until(f, &got[1].n, 1);
	both = 2 * (uint64_t)length_of(2) - 1000000; /* a full bucket is for free */
	expect = both * 100; /* ns at 10 MB/s: the small one has had half of the stream */
	assert_true(loop_now(f->l) - start > expect * 8 / 10);
	run_until(f, &got[0].n, 1);
	expect = (uint64_t)(length_of(0) + length_of(2) - 1000000) * 100;
	assert_true(loop_now(f->l) - start > expect * 95 / 100);
	check_ok(f, &got[0], 0);
	check_ok(f, &got[1], 2);
}

static void a_download_limit_is_kept_and_shared(void **state)
{
	FIXTURE;
	struct vortex_pool_options options = {
		.buffer_bytes = 128 << 10, .bandwidth = 20000000, .replica_bandwidth = 5000000};
	struct got got[2] = {0};
	uint64_t start;

	vortex_pool_close(f->pool, on_gone, f);
	run_until(f, &f->n_gone, 1);
	f->n_gone = 0;
	assert_int_equal(vortex_pool_new(&f->pool, f->l, &options), 0);
	start_server(f, NULL, 0);
	assert_int_equal(loop_step(f->l, 0), 0);
	start = loop_now(f->l);
	for (int i = 0; i < 2;
		i++) { /* 1 MB as a replica at 5 MB/s, 4.2 MB for somebody who waits */
		struct vortex_want w = want_of(f, i ? 2 : 0, i);

		w.class = i ? VORTEX_REPLICA : VORTEX_FOREGROUND;
		assert_non_null(vortex_get_start(f->pool, &w, on_got, &got[i]));
	}
	run_until(f, &got[1].n, 1); /* less its share of a full bucket, a tenth of a second */
	assert_true(loop_now(f->l) - start >= (uint64_t)(length_of(2) - 500000) * 200);
	run_until(f, &got[0].n, 1);
	assert_true(
		loop_now(f->l) - start >= (uint64_t)(length_of(0) + length_of(2) - 2000000) * 50);
	check_ok(f, &got[0], 0);
	check_ok(f, &got[1], 2);
}

static void buffers_are_bounded(void **state)
{
	FIXTURE;
	struct vortex_pool_options options = {.buffer_bytes = 128 << 10, .max_buffers = 2};
	struct vortex_want w = want_of(f, 2, true);
	struct got got[3] = {0};

	vortex_pool_close(f->pool, on_gone, f);
	run_until(f, &f->n_gone, 1);
	f->n_gone = 0;
	assert_int_equal(vortex_pool_new(&f->pool, f->l, &options), 0);
	start_server(f, NULL, 0);
	for (int i = 0; i < 2; i++)
		assert_non_null(vortex_get_start(f->pool, &w, on_got, &got[i]));
	assert_null(vortex_get_start(f->pool, &w, on_got, &got[2]));
	run_until(f, &got[0].n, 1);
	run_until(f, &got[1].n, 1);
	assert_non_null(vortex_get_start(f->pool, &w, on_got, &got[2]));
	run_until(f, &got[2].n, 1);
	check_ok(f, &got[2], 2);
}

/* one child with four connections and another with one: each gets half. No time is asserted, only how
 * much the other has when the one is served. */
static void children_share_alike_whatever_their_connections(void **state)
{
	FIXTURE;
	struct vortex_server_limits limits = {.bandwidth = 40000000};
	uint64_t end = loop_now(f->l) + DEADLINE, greedy = 0, modest = 0;
	struct vortex_download d = {.task_id = TASK, .number = 0};
	uint8_t rq[VORTEX_REQUEST_SIZE];
	static uint8_t b[1 << 20];
	int fd[5];

	start_server(f, &limits, 0);
	vortex_download_encode(rq, sizeof(rq), 1, &d);
	for (int i = 0; i < 5; i++) {
		struct sockaddr_in from = {.sin_family = AF_INET,
			.sin_addr.s_addr = htonl(INADDR_LOOPBACK + (i ? 1 : 2))};

		fd[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		assert_int_equal(bind(fd[i], (struct sockaddr *)&from, sizeof(from)), 0);
		assert_int_equal(connect(fd[i], (struct sockaddr *)&f->addr, sizeof(f->addr)), 0);
		assert_int_equal(send(fd[i], rq, sizeof(rq), 0), sizeof(rq));
	}
	while (modest < 3000000) {
		assert_int_equal(loop_step(f->l, 10 * MS), 0);
		assert_true(loop_now(f->l) < end);
		for (int i = 0; i < 5; i++) {
			ssize_t n;

			while ((n = recv(fd[i], b, sizeof(b), MSG_DONTWAIT)) > 0)
				*(i ? &greedy : &modest) += (size_t)n;
		}
	}
	/* a bucket of 4 MB, and a quantum each */
	assert_true(greedy < modest + 5000000);
	for (int i = 0; i < 5; i++)
		close(fd[i]);
	run_until(f, &f->n_done, 5);
}

/* ---- children that misbehave ------------------------------------------------------------------ */

static int child_connect(struct fixture *f, int rcvbuf)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (rcvbuf)
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &rcvbuf, sizeof(rcvbuf));
	assert_int_equal(connect(fd, (struct sockaddr *)&f->addr, sizeof(f->addr)), 0);
	return fd;
}

static void child_ask(int fd, uint32_t number, bool keep)
{
	struct vortex_download d = {.task_id = TASK, .number = number, .keep = keep};
	uint8_t b[VORTEX_REQUEST_SIZE];

	assert_int_equal(vortex_download_encode(b, sizeof(b), 0x55, &d), sizeof(b));
	assert_int_equal(send(fd, b, sizeof(b), MSG_NOSIGNAL), sizeof(b));
}

/* child_read - @n bytes while the loop runs; fewer at the end of the stream or on an error */
static size_t child_read(struct fixture *f, int fd, void *p, size_t n)
{
	uint64_t end = loop_now(f->l) + DEADLINE;
	size_t got = 0;

	while (got < n) {
		ssize_t k = recv(fd, (char *)p + got, n - got, MSG_DONTWAIT);

		if (k == 0 || (k < 0 && errno != EAGAIN))
			break;
		got += k > 0 ? (size_t)k : 0;
		assert_int_equal(loop_step(f->l, k > 0 ? 0 : 5 * MS), 0);
		assert_true(loop_now(f->l) < end);
	}
	return got;
}

static void an_upstream_child_is_served_as_it_expects(void **state)
{
	FIXTURE;
	int fd;
	uint8_t *b = malloc(PIECE + 1000);
	struct vortex_content c;
	size_t n = VORTEX_HEADER_SIZE + 4 + 45 + strlen("crc32:1234567890");

	start_server(f, NULL, 0);
	for (int half_close = 0; half_close < 2; half_close++) {
		fd = child_connect(f, 0);
		child_ask(fd, 1, false);
		if (half_close) /* its side ends early, and it still waits for the answer */
			shutdown(fd, SHUT_WR);
		assert_true(child_read(f, fd, b, VORTEX_HEADER_SIZE) == VORTEX_HEADER_SIZE);
		assert_int_equal(b[1], VORTEX_TAG_PERSISTENT_CACHE_CONTENT);
		n = (size_t)b[4] << 8 | b[5];
		assert_int_equal(child_read(f, fd, b, n), n);
		assert_int_equal(vortex_content_parse(b, n, &c), 0);
		assert_int_equal(c.number, 1);
		assert_int_equal(c.offset, PIECE);
		assert_int_equal(c.length, PIECE);
		assert_int_equal(c.traffic_type, 1);
		assert_int_equal(c.created_s, 1751328000);
		/* the content, then the end: not one byte more */
		assert_int_equal(child_read(f, fd, b, PIECE + 1000), PIECE);
		assert_memory_equal(b, f->content + PIECE, PIECE);
		close(fd);
	}
	/* bytes that nobody asked for do not destroy the answer */
	fd = child_connect(f, 0);
	child_ask(fd, 2, false);
	assert_int_equal(send(fd, "surplus", 7, 0), 7);
	run_until(f, &f->n_done, 3);
	n = child_read(f, fd, b, PIECE + 1000);
	assert_true(n > length_of(2));
	assert_memory_equal(b + n - length_of(2), f->content + 2 * PIECE, length_of(2));
	close(fd);
	free(b);
}

static void nonsense_is_dropped_without_an_answer(void **state)
{
	FIXTURE;
	static const struct {
		const char *bytes;
		size_t n;
	} rows[] = {
		{"\0\0\0\0\0\x44", 6}, /* another task family */
		{"\0\5\0\0\0\x44", 6},
		{"\0\4\xff\xff\xff\xff", 6}, /* 4 GiB */
		{"\0\4\0\0\0\x43", 6},
		{"\0\xff\0\0\0\x01", 6},
		{"\0\xfd\0\0\0\x45", 6},
		{"GET / HTTP/1.1\r\n\r\n", 18},
		{"\0\4\0\0\0\x44../../etc/passwd/////////////////////////////////////////////////0000",
			74},
	};
	struct vortex_server_stats s;
	char b[8];

	start_server(f, NULL, 0);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		int fd = child_connect(f, 0);

		assert_int_equal(send(fd, rows[i].bytes, rows[i].n, 0), rows[i].n);
		assert_int_equal(child_read(f, fd, b, 1), 0);
		close(fd);
	}
	s = vortex_server_get_stats(f->server);
	assert_int_equal(s.n_dropped, ARRAY_SIZE(rows));
	assert_int_equal(f->n_find, 0);
	/* a close frame is a polite end, as is one before any byte */
	int fd = child_connect(f, 0);

	assert_int_equal(send(fd, "\0\xfe\0\0\0\0", 6, 0), 6);
	assert_int_equal(child_read(f, fd, b, 1), 0);
	close(fd);
	fd = child_connect(f, 0);
	shutdown(fd, SHUT_WR);
	assert_int_equal(child_read(f, fd, b, 1), 0);
	close(fd);
	assert_int_equal(vortex_server_get_stats(f->server).n_dropped, ARRAY_SIZE(rows));
}

static void a_request_must_arrive_in_time(void **state)
{
	FIXTURE;
	struct vortex_server_limits limits = {.request_timeout_ns = 60 * MS};
	char b[8];
	int fd;

	start_server(f, &limits, 0);
	fd = child_connect(f, 0); /* nothing */
	assert_int_equal(child_read(f, fd, b, 1), 0);
	close(fd);
	fd = child_connect(f, 0); /* a byte now and then does not prolong it */
	for (int i = 0; i < 6; i++) {
		uint64_t until = loop_now(f->l) + 20 * MS;

		if (send(fd, &"\0\4\0\0\0\x44"[i], 1, MSG_NOSIGNAL) != 1)
			break;
		while (loop_now(f->l) < until)
			assert_int_equal(loop_step(f->l, 5 * MS), 0);
	}
	child_read(f, fd, b, 1);
	close(fd);
	assert_int_equal(vortex_server_get_stats(f->server).n_dropped, 2);
	assert_int_equal(f->n_find, 0);
}

static void a_child_that_takes_nothing_is_dropped(void **state)
{
	FIXTURE;
	struct vortex_server_limits limits = {.stall_timeout_ns = 80 * MS, .max_sending = 1};
	struct vortex_want w = want_of(f, 2, false);
	struct got got = {0};
	int fd;

	start_server(f, &limits, 8192);
	fd = child_connect(f, 4096);
	child_ask(fd, 0, false);
	run_until(f, &f->n_find, 1);
	/* the one slot is taken; the next child gets it when the first is dropped */
	assert_non_null(vortex_get_start(f->pool, &w, on_got, &got));
	run_until(f, &got.n, 1);
	check_ok(f, &got, 2);
	assert_int_equal(vortex_server_get_stats(f->server).n_stalled, 1);
	assert_int_equal(f->n_whole + 1, f->n_find);
	close(fd);
}

static void a_child_that_takes_slow_bytes_is_dropped(void **state)
{
	FIXTURE;
	struct vortex_server_limits limits = {.stall_timeout_ns = 200 * MS};
	uint64_t end;
	char b[512];
	int fd;

	start_server(f, &limits, 4096);
	fd = child_connect(f, 2048);
	child_ask(fd, 0, false);
	end = loop_now(f->l) + DEADLINE;
	/* about 10 kB/s, never silent for as long as the stall time */
	while (!vortex_server_get_stats(f->server).n_stalled) {
		uint64_t until = loop_now(f->l) + 50 * MS;

		while (loop_now(f->l) < until)
			assert_int_equal(loop_step(f->l, 10 * MS), 0);
		if (recv(fd, b, sizeof(b), MSG_DONTWAIT) == 0)
			break;
		assert_true(loop_now(f->l) < end);
	}
	assert_int_equal(vortex_server_get_stats(f->server).n_stalled, 1);
	run_until(f, &f->n_done, 1);
	assert_int_equal(f->n_whole, 0);
	close(fd);
}

static void a_child_that_leaves_is_forgotten(void **state)
{
	FIXTURE;
	int fd;

	start_server(f, NULL, 0);
	f->answer = NEVER; /* before an answer */
	fd = child_connect(f, 0);
	child_ask(fd, 0, true);
	run_until(f, &f->n_find, 1);
	close(fd);
	run_until(f, &f->n_done, 1);
	f->answer = REPLY; /* in the middle of one */
	fd = child_connect(f, 4096);
	child_ask(fd, 0, true);
	run_until(f, &f->n_find, 2);
	assert_int_equal(loop_step(f->l, 10 * MS), 0);
	close(fd);
	run_until(f, &f->n_done, 2);
	assert_int_equal(f->n_whole, 0);
	assert_true(f->sent < PIECE);
	assert_int_equal(vortex_server_get_stats(f->server).n_sending, 0);
}

static void an_answer_may_come_later(void **state)
{
	FIXTURE;
	struct vortex_want w = want_of(f, 1, true);
	struct got got = {0};

	start_server(f, NULL, 0);
	f->answer = NEVER;
	assert_non_null(vortex_get_start(f->pool, &w, on_got, &got));
	run_until(f, &f->n_find, 1);
	for (int i = 0; i < 5; i++)
		assert_int_equal(loop_step(f->l, MS), 0);
	assert_int_equal(got.n, 0);
	reply(f, f->pending, 1);
	run_until(f, &got.n, 1);
	check_ok(f, &got, 1);
}

static void connections_are_bounded(void **state)
{
	FIXTURE;
	struct vortex_server_limits limits = {.max_connections = 2};
	struct vortex_want w = want_of(f, 2, true);
	struct got got = {0};
	int a, b;
	char c;

	start_server(f, &limits, 0);
	f->answer = NEVER;
	a = child_connect(f, 0);
	child_ask(a, 0, true);
	b = child_connect(f, 0);
	child_ask(b, 0, true);
	run_until(f, &f->n_find, 2);
	/* both are being served: the third waits in the listener's queue */
	f->answer = REPLY;
	assert_non_null(vortex_get_start(f->pool, &w, on_got, &got));
	for (int i = 0; i < 20; i++)
		assert_int_equal(loop_step(f->l, MS), 0);
	assert_int_equal(vortex_server_get_stats(f->server).n_connections, 2);
	assert_int_equal(got.n, 0);
	close(a);
	run_until(f, &got.n, 1);
	check_ok(f, &got, 2);
	/* silent strangers make room for who comes next, the longest silent first, a kept one too */
	for (int i = 0; i < 5; i++) {
		a = child_connect(f, 0);
		for (int k = 0; k < 5; k++)
			assert_int_equal(loop_step(f->l, MS), 0);
		assert_int_equal(vortex_server_get_stats(f->server).n_connections, 2);
		got = get(f, &w);
		check_ok(f, &got, 2);
		assert_int_equal(child_read(f, a, &c, 1), 0); /* it was closed for the other */
		close(a);
	}
	close(b);
}

/* ---- parents that misbehave ------------------------------------------------------------------- */

struct liar { /* a thread that plays the parent for one connection */
	int listener;
	const struct fixture *f;
	uint8_t bytes[8192];
	size_t n_bytes;
	size_t step; /* bytes per send, 0 = all */
	uint32_t content; /* bytes of piece 2 that follow */
	bool stays; /* keep the connection open until the get has ended */
	int ended; /* the read end of a pipe: its end says so */
	pthread_t thread;
};

static void *lie(void *arg)
{
	struct liar *p = arg;
	struct pollfd pfd = {.fd = p->listener, .events = POLLIN};
	uint8_t b[VORTEX_REQUEST_SIZE];
	int fd;

	if (poll(&pfd, 1, 10000) != 1)
		return NULL;
	fd = accept4(p->listener, NULL, NULL, SOCK_CLOEXEC);
	if (fd_read_full(fd, b, sizeof(b)) == (ssize_t)sizeof(b)) {
		for (size_t at = 0, k; at < p->n_bytes; at += k) {
			k = p->step && p->step < p->n_bytes - at ? p->step : p->n_bytes - at;
			if (send(fd, p->bytes + at, k, MSG_NOSIGNAL) < 0)
				break;
		}
		for (size_t at = 0; at < p->content;) {
			ssize_t k = send(
				fd, p->f->content + 2 * PIECE + at, p->content - at, MSG_NOSIGNAL);

			if (k <= 0)
				break;
			at += (size_t)k;
		}
		pfd = (struct pollfd){.fd = p->ended, .events = POLLIN};
		if (p->stays)
			poll(&pfd, 1, 10000);
	}
	close(fd);
	return NULL;
}

static struct got get_from_liar(struct fixture *f, struct liar *p, struct vortex_want w)
{
	struct got got;
	int ended[2];

	assert_int_equal(pipe2(ended, O_CLOEXEC), 0);
	p->ended = ended[0];
	p->f = f;
	p->listener = listen_tcp(&f->addr, 8, 0);
	w.addr = (const struct sockaddr *)&f->addr;
	assert_int_equal(pthread_create(&p->thread, NULL, lie, p), 0);
	got = get(f, &w);
	close(ended[1]);
	pthread_join(p->thread, NULL);
	close(ended[0]);
	close(p->listener);
	return got;
}

static struct vortex_content honest(const struct fixture *f)
{
	struct vortex_content c = {
		.number = 2, .offset = 2 * PIECE, .length = length_of(2), .traffic_type = 1};

	snprintf(c.digest, sizeof(c.digest), "crc32:%u", file_crc(f, 2, length_of(2)));
	return c;
}

static void put_content(struct liar *p, const struct vortex_content *c)
{
	p->n_bytes = vortex_content_encode(p->bytes, sizeof(p->bytes), 1, c);
}

static void an_honest_frame_in_single_bytes(void **state)
{
	FIXTURE;
	struct vortex_content c = honest(f);
	struct liar p = {.step = 1, .content = length_of(2)};
	struct got got;

	put_content(&p, &c);
	got = get_from_liar(f, &p, want_of(f, 2, false));
	check_ok(f, &got, 2);
}

static void surplus_is_ignored(void **state)
{
	FIXTURE;
	struct vortex_want w = want_of(f, 2, false);
	struct vortex_content c = honest(f);
	struct liar p = {.stays = true};
	struct got got;

	c.length = w.length = 1000;
	snprintf(c.digest, sizeof(c.digest), "crc32:%u", file_crc(f, 2, 1000));
	put_content(&p, &c);
	memcpy(p.bytes + p.n_bytes, f->content + 2 * PIECE, 1000);
	memset(p.bytes + p.n_bytes + 1000, 'x', 500);
	p.n_bytes += 1500;
	got = get_from_liar(f, &p, w);
	assert_int_equal(got.r.outcome, VORTEX_OK);
	assert_int_equal(got.r.bytes, 1000);
	assert_int_equal(lseek(f->out, 0, SEEK_END), 2 * PIECE + 1000); /* nothing written beyond */
}

static void wrong_frames_are_protocol_errors(void **state)
{
	FIXTURE;
	static const char *const problems[] = {"piece 3 instead of 2", "offset 1 instead",
		"length 4294967296 instead", "crc32:<decimal>", "crc32:<decimal>", "does not parse",
		"a frame of 4294967295 bytes", "tag 1", "tag 254", "a frame of"};

	for (size_t i = 0; i < ARRAY_SIZE(problems); i++) {
		struct vortex_content c = honest(f);
		struct liar p = {.content = 100, .stays = true};
		struct got got;

		if (i == 0)
			c.number = 3;
		if (i == 1)
			c.offset = 1;
		if (i == 2)
			c.length = 1ull << 32;
		if (i == 3)
			strcpy(c.digest, "sha256:00");
		if (i == 4)
			strcpy(c.digest, "crc32:4294967296");
		put_content(&p, &c);
		if (i == 5) /* metadata of 4 GiB inside a frame of honest length */
			memset(p.bytes + VORTEX_HEADER_SIZE, 0xff, 4);
		if (i == 6)
			memset(p.bytes + 2, 0xff, 4);
		if (i == 7)
			p.bytes[1] = 1;
		if (i == 8)
			p.n_bytes = vortex_close_encode(p.bytes, sizeof(p.bytes), 0);
		if (i == 9)
			p.bytes[3] = 1; /* 64 KiB of metadata */
		got = get_from_liar(f, &p, want_of(f, 2, i % 2));
		assert_string_equal(vortex_outcome_name(got.r.outcome), "protocol error");
		assert_non_null(strstr(got.r.message, problems[i]));
		assert_int_equal(got.r.bytes, 0);
	}
	assert_int_equal(lseek(f->out, 0, SEEK_END), 0); /* and not a byte was written */
}

static void truncated_answers_are_lost(void **state)
{
	FIXTURE;
	for (int i = 0; i < 3; i++) {
		struct vortex_content c = honest(f);
		struct liar p = {.content = i == 2 ? length_of(2) - 1 : 0};
		struct got got;

		put_content(&p, &c);
		if (i == 0)
			p.n_bytes = 0;
		if (i == 1)
			p.n_bytes -= 10;
		got = get_from_liar(f, &p, want_of(f, 2, false));
		assert_string_equal(vortex_outcome_name(got.r.outcome), "connection lost");
		assert_int_equal(got.r.bytes, i == 2 ? length_of(2) - 1 : 0);
	}
}

static void silent_parents_are_stalled(void **state)
{
	FIXTURE;
	for (int i = 0; i < 3; i++) {
		struct vortex_want w = want_of(f, 2, i % 2);
		struct vortex_content c = honest(f);
		struct liar p = {.content = i == 2 ? 1000 : 0, .stays = true};
		struct got got;

		w.header_timeout_ns = i == 2 ? DEADLINE : 50 * MS;
		w.stall_timeout_ns = i == 2 ? 50 * MS : DEADLINE;
		put_content(&p, &c);
		if (i == 0)
			p.n_bytes = 0;
		if (i == 1)
			p.n_bytes -= 10; /* a frame that never ends is no answer */
		got = get_from_liar(f, &p, w);
		assert_string_equal(vortex_outcome_name(got.r.outcome), "stalled");
		assert_true(got.r.duration_ns >= 50 * MS && got.r.duration_ns < 5000 * MS);
	}
}

static void errors_of_parents_are_told_apart(void **state)
{
	FIXTURE;
	static const struct {
		uint8_t code;
		const char *message;
		bool reuse;
		enum vortex_outcome outcome;
	} rows[] = {
		{3, "busy", true, VORTEX_BUSY},
		{3, "busy", false, VORTEX_REFUSED}, /* upstream does not speak our words */
		{3, "busy hard disk", true, VORTEX_REFUSED},
		{2, "busy", true, VORTEX_REFUSED},
		{200, "\x1b[2J", true, VORTEX_REFUSED},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct liar p = {.stays = true};
		struct got got;

		p.n_bytes = vortex_failure_encode(
			p.bytes, sizeof(p.bytes), 1, rows[i].code, rows[i].message);
		got = get_from_liar(f, &p, want_of(f, 2, rows[i].reuse));
		assert_int_equal(got.r.outcome, rows[i].outcome);
		assert_int_equal(got.r.code, rows[i].code);
		assert_null(strchr(got.r.message, '\x1b'));
	}
}

/* a listener whose queue is full does not answer: a connect hangs */
static int full_listener(struct fixture *f, int fill[4])
{
	int fd = listen_tcp(&f->addr, 0, 0);

	for (int i = 0; i < 4; i++) {
		fill[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		connect(fill[i], (struct sockaddr *)&f->addr, sizeof(f->addr));
	}
	return fd;
}

static void unreachable_parents(void **state)
{
	FIXTURE;
	struct vortex_want w = want_of(f, 0, true);
	struct got got;
	int fd, fill[4];

	fd = listen_tcp(&f->addr, 8, 0);
	close(fd);
	got = get(f, &w);
	assert_int_equal(got.r.outcome, VORTEX_UNREACHABLE);
	assert_int_equal(got.r.error, ECONNREFUSED);
	fd = full_listener(f, fill);
	w.connect_timeout_ns = 50 * MS;
	got = get(f, &w);
	assert_int_equal(got.r.outcome, VORTEX_UNREACHABLE);
	assert_int_equal(got.r.error, ETIMEDOUT);
	for (int i = 0; i < 4; i++)
		close(fill[i]);
	close(fd);
}

static void cancel_in_every_state(void **state)
{
	FIXTURE;
	struct vortex_server_limits limits = {.bandwidth = 1000000};
	struct vortex_want w = want_of(f, 0, true);
	struct vortex_get *g;
	struct got got = {0};
	int fd, fill[4];

	/* before anything happened */
	fd = full_listener(f, fill);
	g = vortex_get_start(f->pool, &w, on_got, &got);
	vortex_get_cancel(g);
	vortex_get_cancel(g); /* twice is once */
	assert_int_equal(got.n, 0);
	run_until(f, &got.n, 1);
	assert_int_equal(got.r.outcome, VORTEX_CANCELLED);
	/* connecting */
	g = vortex_get_start(f->pool, &w, on_got, &got);
	for (int i = 0; i < 5; i++)
		assert_int_equal(loop_step(f->l, MS), 0);
	vortex_get_cancel(g);
	run_until(f, &got.n, 2);
	assert_int_equal(got.r.outcome, VORTEX_CANCELLED);
	for (int i = 0; i < 4; i++)
		close(fill[i]);
	close(fd);
	/* waiting for the frame */
	start_server(f, &limits, 0);
	f->answer = NEVER;
	g = vortex_get_start(f->pool, &w, on_got, &got);
	run_until(f, &f->n_find, 1);
	vortex_get_cancel(g);
	run_until(f, &got.n, 3);
	assert_int_equal(got.r.outcome, VORTEX_CANCELLED);
	/* in the middle of the content */
	f->answer = REPLY;
	g = vortex_get_start(f->pool, &w, on_got, &got);
	while (!vortex_get_bytes(g))
		assert_int_equal(loop_step(f->l, 100 * MS), 0);
	assert_true(vortex_get_bytes(g) < w.length);
	vortex_get_cancel(g);
	run_until(f, &got.n, 4);
	assert_int_equal(got.r.outcome, VORTEX_CANCELLED);
	run_until(f, &f->n_done, 2);
	assert_int_equal(vortex_server_get_stats(f->server).n_sending, 0);
}

static void closing_ends_what_runs(void **state)
{
	FIXTURE;
	struct vortex_server_limits limits = {.bandwidth = 1000000, .max_sending = 2};
	struct got got[6] = {0};

	start_server(f, &limits, 0);
	for (int i = 0; i < 6; i++) {
		struct vortex_want w = want_of(f, 0, i % 2);

		assert_non_null(vortex_get_start(f->pool, &w, on_got, &got[i]));
	}
	run_until(f, &f->n_find, 6);
	vortex_server_close(f->server, on_gone, f);
	run_until(f, &f->n_gone, 1);
	assert_int_equal(f->n_done, 6);
	f->server = NULL;
	f->n_gone = 0;
	vortex_pool_close(f->pool, on_gone, f);
	{
		struct vortex_want w = want_of(f, 0, true);

		assert_null(vortex_get_start(f->pool, &w, on_got, &got[0]));
	}
	run_until(f, &f->n_gone, 1);
	for (int i = 0; i < 6; i++)
		assert_int_equal(got[i].n, 1);
	f->pool = NULL;
	f->n_gone = 0;
}

/* Every allocation of both ends fails once: there is always an answer, and nothing is lost for good. */
static void allocations_may_fail(void **state)
{
	FIXTURE;
	struct got got;

	start_server(f, NULL, 0);
	OOM_FOR_EACH(n)
	{
		struct vortex_want w = want_of(f, 2, n % 2);

		got.n = 0;
		w.header_timeout_ns = w.stall_timeout_ns = 500 * MS;
		if (!vortex_get_start(f->pool, &w, on_got, &got))
			continue;
		run_until(f, &got.n, 1);
		oom_stop();
		if (got.r.outcome == VORTEX_OK)
			check_ok(f, &got, 2);
		else
			assert_true(oom_hit() || !oom_works());
	}
	struct vortex_want w = want_of(f, 2, true);

	got = get(f, &w);
	check_ok(f, &got, 2);
}

#define BOTH(fn)                                                                                   \
	{#fn " [epoll]", fn, setup, teardown, (void *)&loop_backend_epoll},                        \
	{                                                                                          \
#fn " [io_uring]", fn, setup, teardown, (void *)&loop_backend_uring                \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(bytes_arrive_as_they_were),
		BOTH(a_file_that_is_not_in_memory),
		BOTH(refusals_are_told),
		BOTH(a_dead_kept_connection_is_replaced),
		BOTH(no_digest_is_accepted_and_a_wrong_one_is_not),
		BOTH(a_file_that_cannot_be_written),
		BOTH(what_arrives_is_passed_on_as_far_as_allowed),
		BOTH(what_stops_arriving_is_never_completed),
		BOTH(many_at_once_wait_their_turn),
		BOTH(our_children_hear_busy),
		BOTH(bandwidth_is_kept_and_shared),
		BOTH(a_download_limit_is_kept_and_shared),
		BOTH(buffers_are_bounded),
		BOTH(children_share_alike_whatever_their_connections),
		BOTH(an_upstream_child_is_served_as_it_expects),
		BOTH(nonsense_is_dropped_without_an_answer),
		BOTH(a_request_must_arrive_in_time),
		BOTH(a_child_that_takes_nothing_is_dropped),
		BOTH(a_child_that_takes_slow_bytes_is_dropped),
		BOTH(a_child_that_leaves_is_forgotten),
		BOTH(an_answer_may_come_later),
		BOTH(connections_are_bounded),
		BOTH(an_honest_frame_in_single_bytes),
		BOTH(surplus_is_ignored),
		BOTH(wrong_frames_are_protocol_errors),
		BOTH(truncated_answers_are_lost),
		BOTH(silent_parents_are_stalled),
		BOTH(errors_of_parents_are_told_apart),
		BOTH(unreachable_parents),
		BOTH(cancel_in_every_state),
		BOTH(closing_ends_what_runs),
		BOTH(allocations_may_fail),
	};

	/* those whose other end is not a socket of the test's own */
	const struct CMUnitTest tls_tests[] = {
		BOTH(bytes_arrive_as_they_were),
		BOTH(a_file_that_is_not_in_memory),
		BOTH(refusals_are_told),
		BOTH(a_dead_kept_connection_is_replaced),
		BOTH(no_digest_is_accepted_and_a_wrong_one_is_not),
		BOTH(a_file_that_cannot_be_written),
		BOTH(our_children_hear_busy),
		BOTH(an_answer_may_come_later),
		BOTH(cancel_in_every_state),
		BOTH(closing_ends_what_runs),
	};
	char *dir = certs_dir();
	int n;

	signal(SIGPIPE,
		SIG_DFL); /* whatever the caller's is: a child that leaves must not kill us */
	n = cmocka_run_group_tests_name("plaintext", tests, NULL, NULL);
	tls_parent = certs_context(dir, "ca", "a");
	tls_child = certs_context(dir, "ca", "b");
	n += cmocka_run_group_tests_name("tls", tls_tests, NULL, NULL);
	tls_parent = tls_context_unref(tls_parent);
	tls_child = tls_context_unref(tls_child);
	certs_remove(dir);
	return n;
}
