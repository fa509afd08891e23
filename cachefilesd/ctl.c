/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ctl.c — cachefilesctl(8): ask the running daemon, or look at the disk.
 *
 * Exit status: 0 fine, 1 something is wrong or was found, 2 usage, 3 the daemon cannot be reached.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "cachefilesd/api/store.h"
#include "cachefilesd/config.h"
#include "cachefilesd/control.h"
#include "cachefilesd/doctor.h"
#include "cachefilesd/fsck.h"
#include "cachefilesd/kview.h"
#include "cachefilesd/options.h"
#include "common/buf.h"
#include "common/cleanup.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/num.h"

#define SECOND       1000000000ull
#define REACH_NS     (3 * SECOND)
#define ANSWER_MAX   (256u << 20)
#define RATE_DEFAULT (64ull << 20)
#define TOP_TASKS    20
#define LS_OBJECTS   65536 /* of the kernel, as many as a dry run shows */

enum { EXIT_FINE, EXIT_FOUND, EXIT_USAGE, EXIT_UNREACHABLE };

struct ctl {
	const char *config, *socket;
	bool json, dry_run, repair, has_free;
	uint64_t free_bytes, rate;
	const char *id;
	struct config cfg;
	bool has_cfg;
	struct loop *loop;
	struct store_client *client;
	bool is_ready;
};

/* ---- asking ---------------------------------------------------------------------------------- */

static void on_event(void *arg, enum store_event e)
{
	((struct ctl *)arg)->is_ready = e == STORE_EVENT_READY;
}

/* 0 or the exit status */
static int read_config(struct ctl *c)
{
	_cleanup_buf_ struct buf text = {0}, errors = {0}, warnings = {0};
	int rc;

	if (c->has_cfg)
		return 0;
	rc = fd_read_file(AT_FDCWD, c->config, CONFIG_TEXT_MAX, &text);
	if (rc) {
		fprintf(stderr, "cachefilesctl: cannot read %s: %s\n", c->config, strerror(-rc));
		return EXIT_FOUND;
	}
	rc = config_parse(c->config, buf_str(&text), text.len, &c->cfg, &errors, &warnings);
	c->has_cfg = true;
	if (!rc)
		return 0;
	fputs(buf_str(&errors), stderr);
	return EXIT_FOUND;
}

static int connect_daemon(struct ctl *c)
{
	const char *path = c->socket;
	uint64_t until;
	int rc;

	if (!path) {
		rc = read_config(c);
		if (rc)
			return rc;
		path = c->cfg.socket ? c->cfg.socket : CONFIG_SOCKET;
	}
	rc = loop_new(&c->loop, &loop_backend_epoll, 0);
	if (!rc)
		rc = store_client_new(&c->client, c->loop, path, on_event, c);
	if (!rc)
		store_client_control_only(c->client);
	if (rc) {
		fprintf(stderr, "cachefilesctl: %s: %s\n", path, strerror(-rc));
		return EXIT_UNREACHABLE;
	}
	until = loop_now(c->loop) + REACH_NS;
	while (!c->is_ready && loop_now(c->loop) < until)
		loop_step(c->loop, SECOND / 10);
	if (c->is_ready)
		return 0;
	fprintf(stderr, "cachefilesctl: no daemon answers at %s: is cachefilesd running?\n", path);
	return EXIT_UNREACHABLE;
}

static void disconnect(struct ctl *c)
{
	c->client = store_client_free(c->client);
	while (c->loop && loop_get_stats(c->loop).n_inflight)
		if (loop_step(c->loop, SECOND))
			break;
	if (c->loop)
		c->loop = loop_free(c->loop);
}

struct answer {
	struct store_op op;
	bool is_done;
	enum store_status status;
	char message[STORE_MESSAGE_MAX];
	int fd;
	struct store_info *entries; /* list: room for a page */
	size_t n_entries;
	uint64_t cursor;
};

static void on_answer(struct store_op *op, const struct store_reply *r)
{
	struct answer *a = container_of(op, struct answer, op);

	a->is_done = true;
	a->status = r->status;
	snprintf(a->message, sizeof(a->message), "%s", r->message);
	a->fd = r->data_fd;
	fd_close(r->record_fd);
	a->cursor = r->cursor;
	a->n_entries = a->entries ? r->n_entries : 0;
	if (a->n_entries)
		memcpy(a->entries, r->entries, a->n_entries * sizeof(*r->entries));
}

static int wait_answer(struct ctl *c, struct answer *a)
{
	while (!a->is_done)
		if (loop_step(c->loop, SECOND))
			return EXIT_FOUND;
	if (a->status == STORE_OK)
		return 0;
	fprintf(stderr, "cachefilesctl: %s\n", a->message);
	return a->status == STORE_LOST || a->status == STORE_TIMEOUT ? EXIT_UNREACHABLE
								     : EXIT_FOUND;
}

/* send words, print what comes */
static int ask(struct ctl *c, const char *words)
{
	struct answer a = {.op.fn = on_answer, .fd = -1};
	char chunk[16384];
	ssize_t n;
	uint64_t off = 0;
	int rc = connect_daemon(c);

	if (rc)
		return rc;
	store_control(c->client, &a.op, words);
	rc = wait_answer(c, &a);
	/* a failure may have an answer, too: what was done */
	while (a.fd >= 0 && off < ANSWER_MAX &&
		(n = fd_pread_full(a.fd, chunk, sizeof(chunk), off)) > 0) {
		fwrite(chunk, 1, (size_t)n, stdout);
		off += (uint64_t)n;
	}
	fd_close(a.fd);
	return rc;
}

/* ---- commands -------------------------------------------------------------------------------- */

static int cmd_status(struct ctl *c)
{
	return ask(c, c->json ? "status json" : "status");
}

static int cmd_metrics(struct ctl *c)
{
	return ask(c, "metrics");
}

static int cmd_evictions(struct ctl *c)
{
	return ask(c, c->json ? "evictions json" : "evictions");
}

static int cmd_cull(struct ctl *c)
{
	char words[64];

	if (c->dry_run == c->has_free && !c->dry_run) {
		fprintf(stderr, "cachefilesctl: cull needs --dry-run or --free SIZE\n");
		return EXIT_USAGE;
	}
	snprintf(words, sizeof(words), "%s%s %" PRIu64, c->dry_run ? "dry-run" : "free",
		c->json ? " json" : "", c->free_bytes);
	return ask(c, words);
}

static uint64_t wall_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * SECOND + (uint64_t)ts.tv_nsec;
}

static int read_list(struct ctl *c, struct store_info **out, size_t *n)
{
	struct store_info page[64];
	uint64_t cursor = 0;
	int rc = connect_daemon(c);

	*out = NULL;
	*n = 0;
	while (!rc) {
		struct answer a = {.op.fn = on_answer, .fd = -1, .entries = page};
		struct store_info *more;

		store_list(c->client, &a.op, cursor);
		rc = wait_answer(c, &a);
		if (rc)
			break;
		more = realloc(*out, (*n + a.n_entries + 1) * sizeof(**out));
		if (!more) {
			fprintf(stderr, "cachefilesctl: out of memory\n");
			rc = EXIT_FOUND;
			break;
		}
		*out = more;
		memcpy(more + *n, page, a.n_entries * sizeof(*page));
		*n += a.n_entries;
		cursor = a.cursor;
		if (!cursor)
			return 0;
	}
	free(*out);
	*out = NULL;
	return rc;
}

static void print_tasks(struct ctl *c, const struct store_info *v, size_t n)
{
	_cleanup_buf_ struct buf b = {0};

	for (size_t i = 0; i < n; i++)
		control_task(&v[i], wall_ns(), c->json, &b);
	fputs(buf_str(&b), stdout);
}

static int by_use(const void *x, const void *y)
{
	const struct store_info *a = x, *b = y;

	return a->used_ns < b->used_ns ? -1 : a->used_ns > b->used_ns;
}

static int by_size(const void *x, const void *y)
{
	const struct store_info *a = x, *b = y;

	return a->bytes_on_disk > b->bytes_on_disk ? -1 : a->bytes_on_disk < b->bytes_on_disk;
}

static int by_uid(const void *x, const void *y)
{
	const struct store_info *a = x, *b = y;

	return a->uid < b->uid ? -1 : a->uid > b->uid;
}

static int open_dir(struct ctl *c)
{
	int rc = read_config(c);
	int fd;

	if (rc)
		return -1;
	fd = open(c->cfg.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		fprintf(stderr, "cachefilesctl: cannot open %s: %s\n", c->cfg.dir, strerror(errno));
	return fd;
}

/* Is there a store to ask? Named by its socket, there is. 0 or the exit status */
static int find_parts(struct ctl *c, bool *has_store, bool *has_kernel)
{
	int rc = c->socket ? 0 : read_config(c);

	*has_store = c->socket || c->cfg.store;
	*has_kernel = !c->socket && !c->cfg.nokernel;
	return rc;
}

static bool print_object(void *arg, uint64_t used_ns, uint64_t bytes, const char *label)
{
	struct ctl *c = arg;
	_cleanup_buf_ struct buf b = {0};
	struct culler_line line = {.used_ns = used_ns, .bytes = bytes, .source = "kernel"};

	snprintf(line.label, sizeof(line.label), "%s", label);
	control_lines(&line, 1, wall_ns(), c->json, &b);
	fputs(buf_str(&b), stdout);
	return true;
}

/* what the walk of the kernel's part said; a cache that was never bound has none */
static int walked(struct ctl *c, int rc)
{
	if (!rc || rc == -ENOENT)
		return EXIT_FINE;
	fprintf(stderr, "cachefilesctl: the kernel's part in %s cannot be read: %s%s\n", c->cfg.dir,
		strerror(-rc), rc == -EACCES || rc == -EPERM ? " (it needs root)" : "");
	return EXIT_FOUND;
}

static int ls_kernel(struct ctl *c)
{
	_cleanup_fd_ int fd = open_dir(c);

	return fd < 0 ? EXIT_FOUND : walked(c, kview_objects(fd, LS_OBJECTS, print_object, c));
}

static int ls_tasks(struct ctl *c)
{
	_cleanup_free_ struct store_info *v = NULL;
	size_t n;
	int rc = read_list(c, &v, &n);

	if (rc)
		return rc;
	if (n)
		qsort(v, n, sizeof(*v), by_use);
	print_tasks(c, v, n);
	return 0;
}

static int cmd_ls(struct ctl *c)
{
	bool has_store, has_kernel;
	int rc = find_parts(c, &has_store, &has_kernel);

	if (!rc && has_store)
		rc = ls_tasks(c);
	if (!rc && has_kernel)
		rc = ls_kernel(c);
	return rc;
}

static void print_users(struct ctl *c, struct store_info *v, size_t n)
{
	char a[NUM_TEXT], b[NUM_TEXT];

	if (n)
		qsort(v, n, sizeof(*v), by_uid);
	for (size_t i = 0, k; i < n; i = k) {
		uint64_t bytes = 0, pinned = 0;

		for (k = i; k < n && v[k].uid == v[i].uid; k++) {
			bytes += v[k].bytes_on_disk;
			pinned += v[k].pinned ? v[k].bytes_on_disk : 0;
		}
		if (c->json)
			printf("{\"uid\":%u,\"tasks\":%zu,\"bytes\":%" PRIu64
			       ",\"pinned_bytes\":%" PRIu64 "}\n",
				(unsigned)v[i].uid, k - i, bytes, pinned);
		else
			printf("uid %-8u %6zu tasks  %10s  pinned %10s\n", (unsigned)v[i].uid,
				k - i, num_format_size(bytes, a, sizeof(a)),
				num_format_size(pinned, b, sizeof(b)));
	}
}

static void print_volume(struct ctl *c, const struct kview_volume *v)
{
	char a[NUM_TEXT], b[NUM_TEXT];
	_cleanup_buf_ struct buf out = {0};
	uint64_t now = wall_ns(), age = now > v->used_ns ? now - v->used_ns : 0;

	if (c->json) {
		buf_adds(&out, "{\"volume\":");
		buf_json_string(&out, v->name);
		buf_addf(&out,
			",\"objects\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"used_ns\":%" PRIu64 "}\n",
			v->n_objects, v->bytes, v->used_ns);
	} else {
		buf_addf(&out, "kernel %7" PRIu64 " objects %10s  used %s ago  %s\n", v->n_objects,
			num_format_size(v->bytes, a, sizeof(a)),
			num_format_duration(age / SECOND * SECOND, b, sizeof(b)), v->name);
	}
	fputs(buf_str(&out), stdout);
}

static int top_kernel(struct ctl *c)
{
	_cleanup_fd_ int fd = open_dir(c);
	struct kview_volume *v;
	size_t n;
	int rc;

	if (fd < 0)
		return EXIT_FOUND;
	rc = kview_volumes(fd, &v, &n);
	for (size_t i = 0; !rc && i < n && i < TOP_TASKS; i++)
		print_volume(c, &v[i]);
	if (!rc)
		kview_free(v, n);
	return walked(c, rc);
}

static int top_tasks(struct ctl *c)
{
	_cleanup_free_ struct store_info *v = NULL;
	size_t n;
	int rc = read_list(c, &v, &n);

	if (rc)
		return rc;
	print_users(c, v, n);
	if (n)
		qsort(v, n, sizeof(*v), by_size);
	print_tasks(c, v, n < TOP_TASKS ? n : TOP_TASKS);
	return 0;
}

static int cmd_top(struct ctl *c)
{
	bool has_store, has_kernel;
	int rc = find_parts(c, &has_store, &has_kernel);

	if (!rc && has_store)
		rc = top_tasks(c);
	if (!rc && has_kernel)
		rc = top_kernel(c);
	return rc;
}

static void print_finding(struct ctl *c, const char *level, const char *what, const char *text)
{
	_cleanup_buf_ struct buf b = {0};

	if (!c->json) {
		printf("%-8s %s: %s\n", level, what, text);
		return;
	}
	buf_adds(&b, "{\"level\":");
	buf_json_string(&b, level);
	buf_adds(&b, ",\"what\":");
	buf_json_string(&b, what);
	buf_adds(&b, ",\"text\":");
	buf_json_string(&b, text);
	buf_adds(&b, "}");
	puts(buf_str(&b));
}

static void on_doctor(void *arg, enum doctor_level l, const char *what, const char *text)
{
	print_finding(arg, doctor_level_name(l), what, text);
}

static int cmd_doctor(struct ctl *c)
{
	int rc = read_config(c);

	if (rc)
		return rc;
	return doctor_run(&c->cfg, on_doctor, c) >= DOCTOR_WARNING ? EXIT_FOUND : EXIT_FINE;
}

struct scrubbing {
	struct ctl *ctl;
	bool tell; /* report damaged tasks to the daemon, which drops them */
};

static void on_fsck(void *arg, const struct fsck_finding *f)
{
	char what[STORE_ID_MAX + 80];

	snprintf(what, sizeof(what), "%s %.*s", f->kind, STORE_ID_MAX, f->name);
	print_finding(arg, f->is_mended ? "mended" : "problem", what, f->problem);
}

static void on_scrub(void *arg, const struct fsck_finding *f)
{
	struct scrubbing *s = arg;
	struct answer a = {.op.fn = on_answer, .fd = -1};
	char words[STORE_ID_MAX + 16];

	on_fsck(s->ctl, f);
	if (!s->tell)
		return;
	snprintf(words, sizeof(words), "damaged %.*s", STORE_ID_MAX, f->name);
	store_control(s->ctl->client, &a.op, words);
	wait_answer(s->ctl, &a);
	fd_close(a.fd);
}

static void print_result(struct ctl *c, const struct fsck_result *r)
{
	char a[NUM_TEXT];

	if (c->json)
		printf("{\"tasks\":%" PRIu64 ",\"partials\":%" PRIu64 ",\"problems\":%" PRIu64
		       ",\"mended\":%" PRIu64 ",\"bytes_read\":%" PRIu64 "}\n",
			r->n_tasks, r->n_partials, r->n_problems, r->n_mended, r->bytes_read);
	else
		printf("%" PRIu64 " tasks, %" PRIu64 " unfinished, %" PRIu64 " problems, %" PRIu64
		       " mended, %s read\n",
			r->n_tasks, r->n_partials, r->n_problems, r->n_mended,
			num_format_size(r->bytes_read, a, sizeof(a)));
}

static int cmd_fsck(struct ctl *c)
{
	_cleanup_fd_ int fd = open_dir(c);
	char reason[FSCK_REASON];
	struct fsck_result r;
	int rc;

	if (fd < 0)
		return EXIT_FOUND;
	rc = fsck_run(fd, c->repair, on_fsck, c, &r, reason);
	if (rc) {
		fprintf(stderr, "cachefilesctl: %s%s\n", reason,
			rc == -EBUSY ? ": stop it first; a start drops what does not verify, too"
				     : "");
		return EXIT_FOUND;
	}
	print_result(c, &r);
	return r.n_problems > r.n_mended ? EXIT_FOUND : EXIT_FINE;
}

static int cmd_scrub(struct ctl *c)
{
	_cleanup_fd_ int fd = open_dir(c);
	struct scrubbing s = {.ctl = c};
	char reason[FSCK_REASON];
	struct fsck_result r;
	int rc;

	if (fd < 0)
		return EXIT_FOUND;
	/* nobody should notice: lowest priority, and idle at the disk (class 3) */
	(void)!nice(19);
	syscall(SYS_ioprio_set, 1, 0, 3 << 13);
	s.tell = connect_daemon(c) == 0;
	rc = fsck_scrub(fd, c->id, c->rate, on_scrub, &s, &r, reason);
	if (rc) {
		fprintf(stderr, "cachefilesctl: %s\n", reason);
		return EXIT_FOUND;
	}
	print_result(c, &r);
	if (c->id && !r.n_tasks) {
		fprintf(stderr, "cachefilesctl: task %s is not in the store\n", c->id);
		return EXIT_FOUND;
	}
	return r.n_problems ? EXIT_FOUND : EXIT_FINE;
}

/* ---- the command line ------------------------------------------------------------------------ */

static const struct {
	const char *name, *arguments, *help;
	int (*run)(struct ctl *c);
} commands[] = {
	{"status", "", "limits and distances, what is here, what is wrong", cmd_status},
	{"top", "", "who takes the space: users, largest tasks, volumes", cmd_top},
	{"ls", "", "all tasks and objects, least recently used first", cmd_ls},
	{"cull", "--dry-run | --free SIZE", "show what would go, or make room now", cmd_cull},
	{"evictions", "", "what was removed lately, and why", cmd_evictions},
	{"doctor", "", "look for what is wrong or will be", cmd_doctor},
	{"fsck", "[--repair]", "check the records on disk", cmd_fsck},
	{"scrub", "[--rate SIZE] [ID]", "read data again and compare its checksums", cmd_scrub},
	{"metrics", "", "all figures in Prometheus text format", cmd_metrics},
};

static void usage(FILE *to)
{
	fprintf(to, "usage: cachefilesctl [--json] [-f FILE] [-S SOCKET] COMMAND\n");
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		fprintf(to, "  %-10s %-24s %s\n", commands[i].name, commands[i].arguments,
			commands[i].help);
	fprintf(to, "  -f, --config FILE    configuration of the daemon (default " OPTIONS_CONFIG
		    ")\n  -S, --socket SOCKET  its socket (default: as configured)\n"
		    "  -j, --json           JSON instead of text\n"
		    "  -h, --help           this text\n  -V, --version        the version\n");
}

static int size_option(const char *name, const char *text, uint64_t *out)
{
	char reason[NUM_REASON];

	if (!num_size(text, out, reason))
		return 0;
	fprintf(stderr, "cachefilesctl: --%s \"%s\": %s\n", name, text, reason);
	return EXIT_USAGE;
}

/* -1 = go on, else the exit status */
static int parse(struct ctl *c, int argc, char **argv)
{
	static const struct option options[] = {{"config", required_argument, NULL, 'f'},
		{"socket", required_argument, NULL, 'S'}, {"json", no_argument, NULL, 'j'},
		{"help", no_argument, NULL, 'h'}, {"version", no_argument, NULL, 'V'},
		{"dry-run", no_argument, NULL, 'n'}, {"free", required_argument, NULL, 'F'},
		{"repair", no_argument, NULL, 'r'}, {"rate", required_argument, NULL, 'R'},
		{NULL, 0, NULL, 0}};
	int o, rc = 0;

	while (!rc && (o = getopt_long(argc, argv, "f:S:jhV", options, NULL)) != -1) {
		switch (o) {
		case 'f':
			c->config = optarg;
			break;
		case 'S':
			c->socket = optarg;
			break;
		case 'j':
			c->json = true;
			break;
		case 'n':
			c->dry_run = true;
			break;
		case 'F':
			c->has_free = true;
			rc = size_option("free", optarg, &c->free_bytes);
			break;
		case 'r':
			c->repair = true;
			break;
		case 'R':
			rc = size_option("rate", optarg, &c->rate);
			break;
		case 'h':
			usage(stdout);
			return EXIT_FINE;
		case 'V':
			printf("cachefilesctl version %s\n", VERSION);
			return EXIT_FINE;
		default:
			rc = EXIT_USAGE;
		}
	}
	return rc ? rc : -1;
}

int main(int argc, char **argv)
{
	struct ctl c = {.config = OPTIONS_CONFIG, .rate = RATE_DEFAULT};
	int rc = parse(&c, argc, argv);

	if (rc >= 0) {
		if (rc == EXIT_USAGE)
			usage(stderr);
		return rc;
	}
	rc = EXIT_USAGE;
	log_set_level(LOG_WARNING);
	for (size_t i = 0; optind < argc && i < ARRAY_SIZE(commands); i++) {
		if (strcmp(argv[optind], commands[i].name) != 0)
			continue;
		if (argc - optind > 2 || (argc - optind == 2 && commands[i].run != cmd_scrub)) {
			fprintf(stderr, "cachefilesctl: %s: surplus argument \"%s\"\n",
				argv[optind], argv[argc - 1]);
			return EXIT_USAGE;
		}
		c.id = optind + 1 < argc ? argv[optind + 1] : NULL;
		rc = commands[i].run(&c);
		disconnect(&c);
		if (c.has_cfg)
			config_fini(&c.cfg);
		return rc;
	}
	if (optind < argc)
		fprintf(stderr, "cachefilesctl: unknown command \"%s\"\n", argv[optind]);
	usage(stderr);
	return rc;
}
