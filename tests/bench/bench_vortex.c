/* SPDX-License-Identifier: GPL-2.0-or-later */
/* bench_vortex.c — how fast pieces travel on loopback, each end on a processor of its own, beside a
 * plain loops of system calls in the same run. Every byte that our client counts is verified (crc32) and
 * hashed (XXH3-128). Prints one row per way; GiB/s are medians of the rounds.
 *
 *   bench_vortex [MIB [ROUNDS [PIECES-AT-ONCE [BUFFER-KIB]]]]
 *
 * PARENT_NS, CHILD_NS (files of network namespaces), PARENT_IP and CERT_SAN (both addresses, as OpenSSL writes
 * them) in the environment: not on loopback, but from one namespace to the other.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/loop.h"
#include "common/tls.h"
#include "p2p/piece.h"
#include "p2p/vortex/client.h"
#include "p2p/vortex/server.h"
#include "tests/lib/certs.h"

#define PIECE      PIECE_LENGTH_MIN
#define MAX_ROUNDS 32
#define GIB        (1024.0 * 1024 * 1024)

enum way { RAW, RAW_SPLICE, RAW_COPY, EPOLL, URING, TLS_EPOLL, TLS_URING, N_WAYS };
static const char *const way_names[] = {"sendfile/recv", "splice/recv", "read+send/recv",
	"vortex, epoll", "vortex, io_uring", "TLS, epoll", "TLS, io_uring"};
enum sink { TO_TMPFS, TO_NOTHING, N_SINKS };
static const char *const sink_names[] = {"tmpfs", "discarded"};

static struct {
	uint64_t length;
	uint32_t n_pieces, at_once;
	size_t buffer_bytes; /* 0 = the default */
	int source, sink;
	uint32_t *crcs;
	struct sockaddr_in addr;
	struct tls_context *tls;
} b;

struct sample {
	double gib_s, parent_cpu, child_cpu; /* seconds per GiB */
	long private_kib[2]; /* parent, child: the most seen */
};

static void __attribute__((noreturn)) die(const char *what, int error)
{
	fprintf(stderr, "bench_vortex: %s: %s\n", what, strerror(error));
	exit(1);
}

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET((unsigned)(cpu % (int)sysconf(_SC_NPROCESSORS_ONLN)), &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		die("sched_setaffinity", errno);
}

static long private_max_kib;

/* note_private - RssAnon: memory of our own, without mapped files */
static void note_private(void)
{
	_cleanup_file_ FILE *f = fopen("/proc/self/status", "re");
	char line[256];
	long kib;

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "RssAnon: %ld", &kib) == 1 && kib > private_max_kib)
			private_max_kib = kib;
}

static struct loop *make_loop(enum way way)
{
	struct loop *l;
	int r = loop_new(&l,
		way == URING || way == TLS_URING ? &loop_backend_uring : &loop_backend_epoll, 4);

	if (r)
		exit(77); /* no ring here: the row is left out */
	return l;
}

/* ---- the parent ------------------------------------------------------------------------------- */

struct parent {
	struct loop *l;
	uint32_t n_done;
};

static void find(void *arg, struct vortex_request *rq, const char *id, uint32_t number)
{
	struct vortex_piece p = {
		.fd = b.source,
		.offset = piece_offset(number, PIECE),
		.length = piece_size(number, b.length, PIECE),
		.crc32 = b.crcs[number],
		.has_crc32 = true,
		.parent_id = "",
	};

	vortex_reply(rq, &p);
}

static void done(void *arg, struct vortex_request *rq, uint64_t sent, bool whole)
{
	struct parent *p = arg;

	p->n_done += whole;
	if (p->n_done % 16 == 8)
		note_private();
	if (p->n_done == b.n_pieces)
		loop_quit(p->l);
}

static void on_gone(void *arg)
{
	loop_quit(arg);
}

static void parent_vortex(enum way way, int listener)
{
	static const struct vortex_source_ops ops = {.find = find, .done = done};
	static const struct vortex_server_limits limits;
	struct parent p = {.l = make_loop(way)};
	struct vortex_server *s;

	if (vortex_server_new(&s, p.l, listener, &ops, &p, &limits))
		die("the server", EIO);
	vortex_server_set_tls(s, way >= TLS_EPOLL ? b.tls : NULL);
	if (loop_run(p.l))
		die("the loop", EIO);
	vortex_server_close(s, on_gone, p.l);
	loop_run(p.l);
	loop_free(p.l);
}

static void send_copy(int fd, off_t *off, char *buffer, size_t cap)
{
	ssize_t n = pread(b.source, buffer, cap, *off);

	if (n <= 0 || send(fd, buffer, (size_t)n, MSG_NOSIGNAL) != n)
		die("read and send", errno);
	*off += n;
}

static void send_splice(int fd, off_t *off, const int *pipe_fds)
{
	ssize_t n = splice(b.source, off, pipe_fds[1], NULL, 1 << 20, SPLICE_F_MOVE);

	for (ssize_t k; n > 0; n -= k) {
		k = splice(pipe_fds[0], NULL, fd, NULL, (size_t)n, SPLICE_F_MOVE);
		if (k <= 0)
			n = -1;
	}
	if (n < 0)
		die("splice", errno);
}

static void parent_raw(enum way way, int listener)
{
	size_t cap = 256 << 10;
	char *buffer = malloc(cap);
	int pipe_fds[2], fd = accept(listener, NULL, NULL);
	off_t off = 0;

	if (fd < 0 || !buffer || pipe2(pipe_fds, O_CLOEXEC))
		die("accept", errno);
	(void)fcntl(pipe_fds[1], F_SETPIPE_SZ, 1 << 20); /* as large as we may */
	while ((uint64_t)off < b.length) {
		if (way == RAW_COPY)
			send_copy(fd, &off, buffer, cap);
		else if (way == RAW_SPLICE)
			send_splice(fd, &off, pipe_fds);
		else if (sendfile(fd, b.source, &off, b.length - (uint64_t)off) <= 0)
			die("sendfile", errno);
	}
	close(fd);
	free(buffer);
}

/* ---- the child -------------------------------------------------------------------------------- */

struct child {
	struct loop *l;
	struct vortex_pool *pool;
	uint32_t next, n_done;
};

static void start_one(struct child *c);

static void on_got(void *arg, struct vortex_get *g, const struct vortex_result *r)
{
	struct child *c = arg;

	if (r->outcome != VORTEX_OK || !r->parent_had_digest)
		die(vortex_outcome_name(r->outcome), r->error);
	if (c->n_done % 16 == 8)
		note_private();
	if (++c->n_done == b.n_pieces)
		loop_quit(c->l);
	else if (c->next < b.n_pieces)
		start_one(c);
}

static void start_one(struct child *c)
{
	struct vortex_want w = {
		.addr = (const struct sockaddr *)&b.addr,
		.addr_len = sizeof(b.addr),
		.task_id = "1",
		.number = c->next,
		.length = piece_size(c->next, b.length, PIECE),
		.offset = piece_offset(c->next, PIECE),
		.fd = b.sink,
		.reuse = true,
	};

	c->next++;
	if (!vortex_get_start(c->pool, &w, on_got, c))
		die("a get", ENOMEM);
}

static void child_vortex(enum way way)
{
	struct child c = {.l = make_loop(way)};

	if (vortex_pool_new(&c.pool, c.l,
		    &(struct vortex_pool_options){
			    .max_idle = b.at_once, .buffer_bytes = b.buffer_bytes}))
		die("the pool", ENOMEM);
	vortex_pool_set_tls(c.pool, way >= TLS_EPOLL ? b.tls : NULL, NULL);
	for (uint32_t i = 0; i < b.at_once && i < b.n_pieces; i++)
		start_one(&c);
	loop_run(c.l);
	vortex_pool_close(c.pool, on_gone, c.l);
	loop_run(c.l);
	loop_free(c.l);
}

static void child_raw(enum sink sink)
{
	size_t cap = 256 << 10;
	char *p = malloc(cap);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	off_t off = 0;
	ssize_t n;

	if (connect(fd, (struct sockaddr *)&b.addr, sizeof(b.addr)))
		die("connect", errno);
	while ((n = recv(fd, p, cap, 0)) > 0) {
		if (sink == TO_TMPFS && pwrite(b.sink, p, (size_t)n, off) != n)
			die("pwrite", errno);
		off += n;
	}
	if ((uint64_t)off != b.length)
		die("recv", EIO);
	close(fd);
	free(p);
}

/* ---- measuring -------------------------------------------------------------------------------- */

static void enter(const char *variable)
{
	const char *path = getenv(variable);
	_cleanup_fd_ int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;

	if (path && (fd < 0 || setns(fd, CLONE_NEWNET)))
		die(path, errno);
}

static int listen_tcp(void)
{
	socklen_t len = sizeof(b.addr);
	const char *ip = getenv("PARENT_IP");
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	b.addr = (struct sockaddr_in){
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	if (ip && inet_pton(AF_INET, ip, &b.addr.sin_addr) != 1)
		die(ip, EINVAL);
	if (bind(fd, (struct sockaddr *)&b.addr, len) || listen(fd, 64) ||
		getsockname(fd, (struct sockaddr *)&b.addr, &len))
		die("listen", errno);
	return fd;
}

static double cpu_of(pid_t pid, int *status)
{
	struct rusage u;

	if (wait4(pid, status, 0, &u) != pid)
		die("wait4", errno);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
	       (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

/* measure - one transfer of everything; false when this way does not work here */
static bool measure(enum way way, enum sink sink, struct sample *s)
{
	int listener = listen_tcp(), memory[2], status[2];
	long kib[2] = {0};
	pid_t pid[2];
	double start, cpu[2];

	if (pipe2(memory, O_CLOEXEC))
		die("pipe", errno);
	b.sink = sink == TO_TMPFS ? memfd_create("sink", MFD_CLOEXEC)
				  : open("/dev/null", O_WRONLY | O_CLOEXEC);
	start = seconds();
	for (int end = 0; end < 2; end++) {
		pid[end] = fork();
		if (pid[end] < 0)
			die("fork", errno);
		if (pid[end])
			continue;
		struct {
			int end;
			long kib;
		} told = {.end = end};

		pin(end);
		if (end == 1)
			enter("CHILD_NS");
		if (way >= EPOLL && fcntl(listener, F_SETFL, O_NONBLOCK))
			exit(1);
		if (end == 0 && way < EPOLL)
			parent_raw(way, listener);
		else if (end == 0)
			parent_vortex(way, listener);
		else if (way < EPOLL)
			child_raw(sink);
		else
			child_vortex(way);
		note_private();
		told.kib = private_max_kib;
		exit(write(memory[1], &told, sizeof(told)) == sizeof(told) ? 0 : 1);
	}
	close(listener);
	cpu[1] = cpu_of(pid[1], &status[1]);
	s->gib_s = (double)b.length / GIB / (seconds() - start);
	if (status[1])
		kill(pid[0], SIGKILL);
	cpu[0] = cpu_of(pid[0], &status[0]);
	close(memory[1]);
	for (int i = 0; i < 2; i++) {
		struct {
			int end;
			long kib;
		} told;

		if (read(memory[0], &told, sizeof(told)) == sizeof(told))
			kib[told.end & 1] = told.kib;
	}
	close(memory[0]);
	close(b.sink);
	if (status[1]) {
		if (WIFEXITED(status[1]) && WEXITSTATUS(status[1]) == 77)
			return false;
		die("the child failed", EIO);
	}
	s->parent_cpu = cpu[0] / ((double)b.length / GIB);
	s->child_cpu = cpu[1] / ((double)b.length / GIB);
	s->private_kib[0] = kib[0];
	s->private_kib[1] = kib[1];
	return true;
}

static int by_speed(const void *a, const void *c)
{
	double d = ((const struct sample *)a)->gib_s - ((const struct sample *)c)->gib_s;

	return d < 0 ? -1 : d > 0;
}

static void make_source(void)
{
	uint64_t x = 88172645463325252ull;
	uint8_t *p;

	b.source = memfd_create("source", MFD_CLOEXEC);
	if (b.source < 0 || ftruncate(b.source, (off_t)b.length))
		die("the source", errno);
	p = mmap(NULL, b.length, PROT_READ | PROT_WRITE, MAP_SHARED, b.source, 0);
	if (p == MAP_FAILED)
		die("mmap", errno);
	for (uint64_t i = 0; i < b.length; i += 8) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		memcpy(p + i, &x, 8);
	}
	b.crcs = calloc(b.n_pieces, sizeof(*b.crcs));
	for (uint32_t i = 0; i < b.n_pieces; i++)
		b.crcs[i] =
			digest_crc32(0, p + piece_offset(i, PIECE), piece_size(i, b.length, PIECE));
	munmap(p, b.length);
}

int main(int argc, char **argv)
{
	static struct sample samples[N_SINKS][N_WAYS][MAX_ROUNDS];
	static bool works[N_SINKS][N_WAYS];
	uint64_t mib = argc > 1 ? strtoull(argv[1], NULL, 10) : 1024;
	int rounds = argc > 2 ? atoi(argv[2]) : 5;
	const char *san;
	char *dir;

	b.length = mib << 20;
	b.n_pieces = piece_count(b.length, PIECE);
	b.at_once = argc > 3 ? (uint32_t)atoi(argv[3]) : 4;
	b.buffer_bytes = argc > 4 ? strtoull(argv[4], NULL, 10) << 10 : 0;
	if (!mib || rounds < 1 || rounds > MAX_ROUNDS || !b.at_once) {
		fprintf(stderr,
			"usage: bench_vortex [MIB [ROUNDS [PIECES-AT-ONCE [BUFFER-KIB]]]]\n");
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	enter("PARENT_NS");
	make_source();
	dir = certs_dir();
	san = getenv("CERT_SAN");
	if (san)
		certs_issue(dir, "ca", "a", san, "", -60, 86400);
	b.tls = certs_context(dir, "ca", "a");
	for (int r = 0; r < rounds; r++) /* the ways take turns, so that a noisy moment hits all */
		for (int sink = 0; sink < N_SINKS; sink++)
			for (int way = 0; way < N_WAYS; way++)
				works[sink][way] = measure(
					(enum way)way, (enum sink)sink, &samples[sink][way][r]);
	certs_remove(dir);
	printf("# %llu MiB in pieces of 4 MiB, %u at once, %d rounds, each end on one processor\n",
		(unsigned long long)mib, b.at_once, rounds);
	printf("%-10s %-18s %8s %7s %16s %15s %14s\n", "into", "way", "GiB/s", "of raw",
		"parent CPU s/GiB", "child CPU s/GiB", "private KiB");
	for (int sink = 0; sink < N_SINKS; sink++)
		for (int way = 0; way < N_WAYS; way++) {
			struct sample *s = samples[sink][way], *m;

			if (!works[sink][way]) {
				printf("%-10s %-18s not possible here\n", sink_names[sink],
					way_names[way]);
				continue;
			}
			qsort(s, (size_t)rounds, sizeof(*s), by_speed);
			m = &s[rounds / 2];
			printf("%-10s %-18s %8.2f %7.2f %16.3f %15.3f %6ld %7ld\n",
				sink_names[sink], way_names[way], m->gib_s,
				m->gib_s / samples[sink][RAW][rounds / 2].gib_s, m->parent_cpu,
				m->child_cpu, m->private_kib[0], m->private_kib[1]);
		}
	return 0;
}
