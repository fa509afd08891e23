/* SPDX-License-Identifier: GPL-2.0-or-later */
/* bench_sched.c — one real dfdaemon that schedules 10 000 tasks (three copies each) for 63 peers. The peers
 * are the daemon's own scheduler rooms over gRPC on loopback, all in this process, with heartbeats of 3 s.
 * Measured: memory of dfdaemon, time of an answer, and how long after its SIGKILL every task is
 * known, with its holders, to whoever schedules it next.
 *
 *   bench_sched DFDAEMON DIR [TASKS [PEERS [MAX-P99-US]]]
 *
 * Fails when dfdaemon has more than 32 MiB resident, a task is not found within 10 s, or (with the last
 * argument) an answer takes longer.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/log.h"
#include "common/loop.h"
#include "common/rpc/listen.h"
#include "p2p/channels.h"
#include "p2p/sched.h"
#include "p2p/scheduler/impl.h"

#define SEC UINT64_C(1000000000)
#define MS  UINT64_C(1000000)

enum { PEERS_SIM_MAX = 63, COPIES = 3, ASKED = 4000, AT_ONCE = 64, PORT = 4000, WAIT_SEC = 300 };
enum { MAX_RSS_KIB = 32 << 10, MAX_FIND_MS = 10000 };

struct peer {
	char host_id[64], text[32];
	struct sockaddr_storage addr;
	struct channels *channels;
	struct scheduler *scheduler;
	struct sched *sched;
	struct rpc_server *server;
};

static struct {
	struct loop *loop;
	struct peer peers[PEERS_SIM_MAX];
	size_t n_peers, n_tasks;
	char (*ids)[16];
	char owner_id[80], owner_text[32];
	unsigned net; /* 127.NET.x.y */
	pid_t daemon;
	int n_failed;
} b;

static void __attribute__((noreturn)) die(const char *what, int error)
{
	fprintf(stderr, "bench_sched: %s: %s\n", what, strerror(error));
	if (b.daemon > 0)
		kill(b.daemon, SIGKILL);
	exit(1);
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * SEC + (uint64_t)ts.tv_nsec;
}

static void judge(bool good, const char *what)
{
	printf("%s: %s\n", good ? "good" : "MISSED", what);
	b.n_failed += !good;
}

static void on_drop(
	void *arg, const char *id, uint64_t generation, enum scheduler_drop reason, const char *why)
{
	die("a copy was dropped", EINVAL);
}

static void on_expiry(void *arg, const char *id, uint64_t in_ns)
{
}

/* 127.NET.0.1 is dfdaemon, its peers follow */
static void address(size_t n, char text[32], struct sockaddr_storage *out)
{
	struct sockaddr_in *a = (struct sockaddr_in *)out;

	memset(out, 0, sizeof(*out));
	a->sin_family = AF_INET;
	a->sin_port = htons(PORT);
	a->sin_addr.s_addr = htonl(127u << 24 | b.net << 16 | (unsigned)(n + 1));
	snprintf(text, 32, "127.%u.0.%zu:%d", b.net, n + 1, PORT);
}

static void peer_up(struct peer *p, size_t n, const char *const *contacts, size_t n_contacts)
{
	static const struct scheduler_ops ops = {.drop = on_drop, .set_expiry = on_expiry};
	struct scheduler_prefix net;
	struct scheduler_config sc = {.host_id = p->host_id,
		.hostname = p->host_id,
		.peers = contacts,
		.n_peers = n_contacts,
		.networks = &net,
		.n_networks = 1};
	struct sched_config cc = {.loop = b.loop, .host_id = p->host_id};
	struct rpc_service services[SCHEDULER_N_SERVICES];
	size_t n_services;
	int fd;

	address(n, p->text, &p->addr);
	snprintf(p->host_id, sizeof(p->host_id), "%.*s-node%zu", (int)strcspn(p->text, ":"),
		p->text, n);
	sc.self = p->addr;
	fd = rpc_listen_tcp((struct sockaddr *)&p->addr, sizeof(struct sockaddr_in));
	p->channels = channels_new(b.loop, PEERS_SIM_MAX + 8);
	if (fd < 0 || !p->channels || scheduler_parse_prefix("127.0.0.0/8", &net) ||
		scheduler_new(&p->scheduler, b.loop, p->channels, &sc, &ops, p))
		die(p->text, fd < 0 ? -fd : ENOMEM);
	cc.channels = p->channels;
	cc.embedded = p->scheduler;
	n_services = scheduler_services(p->scheduler, services);
	if (sched_new(&p->sched, &cc) ||
		rpc_server_new(&p->server, b.loop, &fd, 1, services, n_services, NULL))
		die(p->text, ENOMEM);
}

static void daemon_up(const char *program, const char *dir, const char *const *contacts, size_t n)
{
	char peers[PEERS_SIM_MAX * 32 + 16] = "peer.peers=", ip[64], listen[80], host[48],
					socket[300], store[300];
	char *dot;

	for (size_t i = 0; i < n; i++)
		snprintf(peers + strlen(peers), sizeof(peers) - strlen(peers), "%s%s", i ? "," : "",
			contacts[i]);
	snprintf(ip, sizeof(ip), "host.ip=%s", b.owner_text);
	dot = strchr(ip, ':');
	*dot = 0;
	snprintf(listen, sizeof(listen), "peer.listen=%s", ip + strlen("host.ip="));
	snprintf(host, sizeof(host), "host.hostname=node0");
	snprintf(b.owner_id, sizeof(b.owner_id), "%s-node0", ip + strlen("host.ip="));
	snprintf(socket, sizeof(socket), "local.socket=%s/sock", dir);
	snprintf(store, sizeof(store), "store.socket=%s/none", dir);
	b.daemon = fork();
	if (b.daemon < 0)
		die("fork", errno);
	if (b.daemon > 0)
		return;
	execl(program, program, "--allow-root", "--config", "/dev/null", "--log-level", "error",
		"--set", ip, "--set", listen, "--set", host, "--set", peers, "--set",
		"peer.peer_networks=127.0.0.0/8", "--set", socket, "--set", store, "--set",
		"metrics.port=0", "--set", "health.port=0", NULL);
	die(program, errno);
}

static void run_until(bool (*done)(void), const char *what)
{
	uint64_t end = now_ns() + WAIT_SEC * SEC;

	while (!done()) {
		if (loop_step(b.loop, 20 * MS) < 0 || now_ns() > end)
			die(what, ETIMEDOUT);
		if (waitpid(b.daemon, NULL, WNOHANG) == b.daemon)
			die("dfdaemon ended", ECHILD);
	}
}

static bool mesh_is_full(void)
{
	for (size_t i = 0; i < b.n_peers; i++)
		if (scheduler_get_stats(b.peers[i].scheduler).n_peers_live != b.n_peers)
			return false;
	return true;
}

/* ids that dfdaemon owns in a cluster of these peers */
static void choose_ids(void)
{
	const struct peers *view = &b.peers[0].scheduler->node.peers;
	const struct peer_link *owner = peers_find_host(view, b.owner_id);
	unsigned id = 1;

	for (size_t i = 0; i < b.n_tasks; i++)
		do
			snprintf(b.ids[i], sizeof(b.ids[i]), "%u", id += 2654435);
		while (peers_owner(view, b.ids[i]) != owner);
}

static void put_copies(void)
{
	char peer_id[128];

	for (size_t i = 0; i < b.n_tasks; i++) {
		struct sched_local l = {
			.id = b.ids[i],
			.peer_id = peer_id,
			.tag = "checkpoint",
			.generation = SEC * 1700000000 + i,
			.length = UINT64_C(100) << 20,
			.replicas_wanted = COPIES,
			.piece_length = 4 << 20,
			.n_pieces = 25,
			.importer_uid = 1000,
			.has_fingerprint = true,
			.expires_in_ns = 86400 * SEC,
			.state = SCHED_LOCAL_COMPLETE,
			.persistent = true,
		};

		memcpy(l.fingerprint, &i, sizeof(i));
		for (size_t c = 0; c < COPIES; c++) {
			struct peer *p = &b.peers[(i + c * 7) % b.n_peers];

			snprintf(peer_id, sizeof(peer_id), "%s-0f5a4d7e-1111-2222-3333-%012zu",
				p->host_id, i);
			if (sched_local_put(p->sched, &l))
				die("a copy", ENOMEM);
		}
	}
}

/* ---- questions ----------------------------------------------------------------------------------- */

struct question {
	size_t task;
	uint64_t began;
	bool busy;
};

static struct {
	struct question q[AT_ONCE];
	size_t next, n, n_good, n_done;
	uint64_t *took; /* of each; NULL: nobody wants it */
} ask;

static void ask_next(struct question *q);

static void on_answer(void *arg, int status, const char *message, const struct sched_task *t)
{
	struct question *q = arg;
	uint64_t took = now_ns() - q->began;

	q->busy = false;
	if (status != RPC_OK || t->replicas_all != COPIES) {
		/* too early: the peers are still telling */
		if (!ask.took) {
			ask_next(q);
			return;
		}
	} else {
		ask.n_good++;
	}
	if (ask.took)
		ask.took[ask.n_done] = took;
	ask.n_done++;
	q->task = ask.next++;
	ask_next(q);
}

static void ask_next(struct question *q)
{
	if (q->task >= ask.n)
		return;
	q->began = now_ns();
	q->busy = true;
	if (!sched_stat_task(b.peers[q->task % b.n_peers].sched, b.ids[q->task % b.n_tasks],
		    20 * SEC, on_answer, q))
		die("a call", ENOMEM);
}

static bool all_answered(void)
{
	return ask.n_done == ask.n;
}

static void ask_all(size_t n, size_t at_once, uint64_t *took)
{
	memset(&ask, 0, sizeof(ask));
	ask.n = n;
	ask.took = took;
	for (size_t i = 0; i < at_once; i++) {
		ask.q[i].task = ask.next++;
		ask_next(&ask.q[i]);
	}
}

static int by_value(const void *x, const void *y)
{
	uint64_t p = *(const uint64_t *)x, q = *(const uint64_t *)y;

	return p < q ? -1 : p > q;
}

static long resident_kib(void)
{
	char path[64], line[256];
	long kib = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)b.daemon);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		sscanf(line, "VmRSS: %ld", &kib);
	if (f)
		fclose(f);
	return kib;
}

static void measure(uint64_t max_p99_us)
{
	uint64_t *took = calloc(ASKED, sizeof(*took));
	char text[128];
	long rss;

	if (!took)
		die("memory", ENOMEM);
	/* all copies have been told when every answer tells them */
	ask_all(b.n_tasks, AT_ONCE, NULL);
	run_until(all_answered, "the tasks are not told");
	rss = resident_kib();
	printf("%zu peers, %zu tasks with %d copies each: dfdaemon has %.1f MiB resident\n",
		b.n_peers + 1, b.n_tasks, COPIES, (double)rss / 1024);
	judge(rss && rss <= MAX_RSS_KIB, "at most 32 MiB resident");
	ask_all(ASKED, 1, took);
	run_until(all_answered, "answers");
	qsort(took, ASKED, sizeof(*took), by_value);
	printf("an answer over gRPC, heartbeats of all peers beside it: median %.2f ms, p99 %.2f ms, "
	       "worst %.2f ms\n",
		(double)took[ASKED / 2] / 1e6, (double)took[ASKED * 99 / 100] / 1e6,
		(double)took[ASKED - 1] / 1e6);
	if (max_p99_us) {
		snprintf(text, sizeof(text), "99 %% of the answers within %.1f ms",
			(double)max_p99_us / 1e3);
		judge(took[ASKED * 99 / 100] <= max_p99_us * 1000, text);
	}
	judge(ask.n_good == ASKED, "every answer right");
	free(took);
}

static void kill_owner(void)
{
	uint64_t t0 = now_ns(), end = t0 + WAIT_SEC * SEC, ms;

	kill(b.daemon, SIGKILL);
	waitpid(b.daemon, NULL, 0);
	b.daemon = 0;
	/* asked at once, and as long as it takes */
	ask_all(b.n_tasks, AT_ONCE, NULL);
	while (!all_answered()) {
		if (loop_step(b.loop, 20 * MS) < 0 || now_ns() > end)
			die("the tasks are not found again", ETIMEDOUT);
	}
	ms = (now_ns() - t0) / MS;
	printf("SIGKILL: all %zu tasks known with all copies to their next owners after %.1f s\n",
		b.n_tasks, (double)ms / 1e3);
	judge(ms <= MAX_FIND_MS, "found again within 10 s");
}

static uint64_t number(int argc, char **argv, int i, uint64_t def)
{
	return argc > i ? strtoull(argv[i], NULL, 10) : def;
}

int main(int argc, char **argv)
{
	static char texts[PEERS_SIM_MAX + 1][32];
	const char *contacts[PEERS_SIM_MAX + 1];
	struct rlimit files;
	struct sockaddr_storage sa;
	int r;

	if (argc < 3) {
		fputs("usage: bench_sched DFDAEMON DIR [TASKS [PEERS [MAX-P99-US]]]\n", stderr);
		return 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	log_set_level(LOG_ERR);
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	b.n_tasks = number(argc, argv, 3, 10000);
	b.n_peers = number(argc, argv, 4, PEERS_SIM_MAX);
	if (!b.n_tasks || b.n_peers < COPIES || b.n_peers > PEERS_SIM_MAX)
		die("numbers", EINVAL);
	b.net = 1 + (unsigned)getpid() % 250;
	b.ids = calloc(b.n_tasks, sizeof(*b.ids));
	if (!b.ids)
		die("memory", ENOMEM);
	for (size_t i = 0; i <= b.n_peers; i++) {
		address(i, texts[i], &sa);
		contacts[i] = texts[i];
	}
	snprintf(b.owner_text, sizeof(b.owner_text), "%s", texts[0]);
	r = loop_new(&b.loop, &loop_backend_epoll, 2);
	if (r)
		die("a loop", -r);
	daemon_up(argv[1], argv[2], contacts + 1, b.n_peers);
	for (size_t i = 0; i < b.n_peers; i++)
		peer_up(&b.peers[i], i + 1, contacts, b.n_peers + 1);
	run_until(mesh_is_full, "the peers do not meet");
	choose_ids();
	put_copies();
	measure(number(argc, argv, 5, 0));
	kill_owner();
	return b.n_failed ? 1 : 0; /* what is in flight goes with the process */
}
