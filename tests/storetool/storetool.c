/* SPDX-License-Identifier: GPL-2.0-or-later */
/* storetool.c — a client of the piece store for tests: single requests, a random workload with a
 * journal of what was acknowledged, and the oracle that checks a store against that journal.
 *
 *   storetool SOCKET put ID SIZE [pin] [ttl=SECONDS] [wait=SECONDS] [piece=BYTES] [reserve=BYTES]
 *   storetool SOCKET get ID            verify the content against the piece table and the id
 *   storetool SOCKET stat|rm|touch|pin|unpin ID
 *   storetool SOCKET ttl ID SECONDS    from now
 *   storetool SOCKET hold ID           a read lease until standard input ends
 *   storetool SOCKET write ID SIZE     a write lease, nothing written, until standard input ends
 *   storetool SOCKET opens ID N [PID]  median and 99th percentile of open, microseconds, and how many: N, and
 *                                      on as long as the process PID is there
 *   storetool SOCKET commits N SIZE    microseconds from create to commit, median and 99th percentile
 *   storetool - bare DIR N SIZE        the floor for that: write, fdatasync, rename, fsync(dir)
 *   storetool - where FILE             the offset on its device of the file's first block
 *   storetool - fabricate DIR N [SECOND STEP]  N complete tasks of 64 pieces in a store that nobody uses;
 *                                      last used at SECOND + n * STEP, and a half
 *   storetool SOCKET work SEED N JOURNAL
 *   storetool SOCKET verify JOURNAL    is everything acknowledged there, and right?
 *
 * STORETOOL_MARK=NAME: each line of the journal becomes a mark of the dm-log-writes device NAME too, or, when
 * NAME is a path, is written there (recorddisk).
 * A journal that is a serial line is drained after each line.
 *
 * The content of a task follows from its id and length. Prints one line; exit status 0 when the
 * store said ok (put: also "exists, same content"), 1 otherwise, 3 when the daemon went away or did
 * not answer within STORETOOL_WAIT seconds (10).
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/dm-ioctl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "cachefilesd/api/record.h"
#include "cachefilesd/api/store.h"
#include "common/cleanup.h"
#include "common/digest.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/loop.h"

#define SECOND     1000000000ull
#define PIECE      4096u
#define MAX_PIECES 4096u

static struct loop *loop;
static struct store_client *client;
static bool is_ready, was_lost;

static void on_event(void *arg, enum store_event e)
{
	is_ready |= e == STORE_EVENT_READY;
	was_lost |= e == STORE_EVENT_LOST;
}

static uint64_t clock_now(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * SECOND + (uint64_t)ts.tv_nsec;
}

struct call {
	struct store_op op;
	bool done;
	struct store_reply r;
	char message[STORE_MESSAGE_MAX];
	struct store_info entries[64];
};

static void on_done(struct store_op *op, const struct store_reply *r)
{
	struct call *c = container_of(op, struct call, op);

	c->r = *r;
	snprintf(c->message, sizeof(c->message), "%s", r->message);
	if (r->n_entries)
		memcpy(c->entries, r->entries, r->n_entries * sizeof(*r->entries));
	c->done = true;
}

static enum store_status finish(struct call *c)
{
	while (!c->done)
		if (loop_step(loop, SECOND))
			exit(3);
	return c->r.status;
}

#define CALL(c, request, ...)                                                                      \
	({                                                                                         \
		memset((c), 0, sizeof(*(c)));                                                      \
		(c)->op.fn = on_done;                                                              \
		(request)(client, &(c)->op, ##__VA_ARGS__);                                        \
		finish(c);                                                                         \
	})

static void close_fds(struct call *c)
{
	c->r.data_fd = fd_close(c->r.data_fd);
	c->r.record_fd = fd_close(c->r.record_fd);
	c->r.read_fd = fd_close(c->r.read_fd);
}

static int report(const struct call *c)
{
	printf("%s%s%s\n", store_status_name(c->r.status), c->message[0] ? ": " : "", c->message);
	return c->r.status == STORE_OK                                     ? 0
	       : c->r.status == STORE_LOST || c->r.status == STORE_TIMEOUT ? 3
									   : 1;
}

/* ---- content --------------------------------------------------------------------------------- */

static void fill(const char *id, uint64_t off, uint8_t *p, size_t n)
{
	uint32_t seed = digest_crc32(0, id, strlen(id));

	for (size_t i = 0; i < n; i++) {
		uint64_t at = off + i;

		p[i] = (uint8_t)((at * 2654435761u + seed) >> (at % 24));
	}
}

struct put {
	const char *id;
	uint64_t size, ttl_s, wait_s, reserve;
	uint32_t piece;
	bool pin, hold;
};

static void fingerprint_of(const char *id, uint64_t size, uint8_t out[STORE_FPRINT_SIZE])
{
	char text[128];
	struct digest_128 d;

	snprintf(text, sizeof(text), "%s %" PRIu64, id, size);
	d = digest_xxh3_128(text, strlen(text));
	memcpy(out, &d, STORE_FPRINT_SIZE);
}

static enum store_status begin(struct call *c, const struct put *p)
{
	struct store_create cr = {.id = p->id,
		.reserve_bytes = p->reserve,
		.length = p->size,
		.piece_length = p->piece,
		.expires_ns = p->ttl_s ? clock_now(CLOCK_REALTIME) + p->ttl_s * SECOND : 0,
		.pin = p->pin,
		.uid = getuid(),
		.wait_ns = p->wait_s * SECOND};

	return CALL(c, store_create, &cr);
}

/* data and pieces [from, to) of a write lease */
static enum store_status write_pieces(
	struct call *c, const struct put *p, int fd, uint32_t lease, uint32_t from, uint32_t to)
{
	static uint8_t buf[1 << 20];
	struct store_piece v[STORE_PIECES_BATCH];
	size_t n = 0;
	enum store_status st = STORE_OK;

	for (uint32_t i = from; i < to && !st; i++) {
		uint64_t off = (uint64_t)i * p->piece;
		uint32_t crc = 0;
		uint64_t end = off + p->piece < p->size ? off + p->piece : p->size;

		while (off < end) {
			size_t k = end - off < sizeof(buf) ? (size_t)(end - off) : sizeof(buf);

			fill(p->id, off, buf, k);
			if (fd_pwrite_full(fd, buf, k, off))
				return STORE_IO;
			crc = digest_crc32(crc, buf, k);
			off += k;
		}
		v[n++] = (struct store_piece){i, crc};
		if (n == STORE_PIECES_BATCH || i + 1 == to) {
			st = CALL(c, store_pieces, lease, v, n);
			n = 0;
		}
	}
	return st;
}

static uint32_t pieces_of(const struct put *p)
{
	return (uint32_t)((p->size + p->piece - 1) / p->piece);
}

static enum store_status put(struct call *c, const struct put *p)
{
	uint8_t print[STORE_FPRINT_SIZE];
	enum store_status st = begin(c, p);
	uint32_t lease = c->r.lease;
	int fd = -1;

	if (st)
		return st;
	fd = take_fd(&c->r.data_fd);
	close_fds(c);
	st = write_pieces(c, p, fd, lease, 0, pieces_of(p));
	if (!st && fdatasync(fd))
		st = STORE_IO;
	close(fd);
	if (st)
		return st;
	fingerprint_of(p->id, p->size, print);
	return CALL(c, store_commit, lease, p->id, print, NULL, 0);
}

/* NULL, or what is wrong with the content */
static const char *check(struct call *c, const char *id)
{
	static char why[200];
	static struct record r;
	static uint8_t buf[1 << 16], want[1 << 16];
	uint8_t print[STORE_FPRINT_SIZE];
	struct stat st;

	if (record_read(c->r.record_fd, &r))
		return "the record does not verify";
	if (strcmp(r.info.id, id) != 0 || r.info.state != STORE_COMPLETE)
		return "the record is of another task, or not complete";
	if (fstat(c->r.data_fd, &st) || (uint64_t)st.st_size != r.info.length)
		return "the data has another length";
	fingerprint_of(id, r.info.length, print);
	if (memcmp(print, r.info.fingerprint, sizeof(print)) != 0)
		return "another fingerprint";
	for (uint32_t i = 0; i < r.info.n_pieces; i++) {
		uint64_t off = (uint64_t)i * r.info.piece_length;
		uint64_t end = off + r.info.piece_length < r.info.length ? off + r.info.piece_length
									 : r.info.length;
		struct record_piece p;
		uint32_t crc = 0;

		if (record_read_pieces(c->r.record_fd, &r, i, 1, &p) || !p.present) {
			snprintf(why, sizeof(why), "piece %u is not in the table", i);
			return why;
		}
		while (off < end) {
			size_t k = end - off < sizeof(buf) ? (size_t)(end - off) : sizeof(buf);

			if (fd_pread_full(c->r.data_fd, buf, k, off) != (ssize_t)k)
				return "the data cannot be read";
			fill(id, off, want, k);
			if (memcmp(buf, want, k) != 0) {
				snprintf(why, sizeof(why), "wrong bytes in piece %u", i);
				return why;
			}
			crc = digest_crc32(crc, buf, k);
			off += k;
		}
		if (crc != p.crc32)
			return "the piece table has another crc32";
	}
	return NULL;
}

static int get(struct call *c, const char *id)
{
	const char *wrong;

	if (CALL(c, store_open, id))
		return report(c);
	wrong = check(c, id);
	close_fds(c);
	printf("%s\n", wrong ? wrong : "ok");
	return wrong ? 1 : 0;
}

/* ---- the workload and its oracle ------------------------------------------------------------- */

/* The journal has one line for each thing begun and each acknowledged, written before the next
 * request: "try ID", "have ID", "keep ID" (it was made with a pin), "loose ID" (the pin may be
 * taken off), "rm ID" (a deletion was asked for, or it expires), "gone ID" (the deletion was
 * acknowledged), "cull -" (everything without a pin may go).
 */
static FILE *journal;

/* a mark in the log of a dm-log-writes device, between what was flushed before and what comes */
static int mark(const char *device, const char *text)
{
	static union {
		struct dm_ioctl io;
		char room[1024];
	} u;
	static int control = -1;
	struct dm_target_msg *m = (void *)(u.room + sizeof(u.io));

	if (strchr(device, '/')) { /* the file of tests/recorddisk */
		if (control < 0)
			control = open(device, O_WRONLY | O_CLOEXEC);
		return fd_write_full(control, text, strlen(text));
	}
	if (control < 0)
		control = open("/dev/mapper/control", O_RDWR | O_CLOEXEC);
	memset(&u, 0, sizeof(u));
	u.io.version[0] = DM_VERSION_MAJOR;
	u.io.data_size = sizeof(u);
	u.io.data_start = sizeof(u.io);
	snprintf(u.io.name, sizeof(u.io.name), "%s", device);
	sprintf(m->message, "mark %.200s", text);
	return ioctl(control, DM_TARGET_MSG, &u);
}

static void note(const char *what, const char *id)
{
	static const char *device = "";
	char line[200];

	if (device && !*device)
		device = getenv("STORETOOL_MARK");
	snprintf(line, sizeof(line), "%s_%s", what, id);
	if (device && mark(device, line)) {
		perror("storetool: mark");
		exit(2);
	}
	fprintf(journal, "%s %s\n", what, id);
	fflush(journal);
	if (isatty(fileno(journal)))
		tcdrain(fileno(journal));
}

static uint64_t rng_state;

static uint32_t rng(uint32_t n)
{
	rng_state = rng_state * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)((rng_state >> 33) % n);
}

/* one partial is left behind and taken up again */
static void resume(struct call *c, const struct put *p)
{
	uint8_t token[STORE_TOKEN_SIZE];
	uint32_t lease, half = pieces_of(p) / 2;
	int fd;

	if (begin(c, p))
		return;
	lease = c->r.lease;
	memcpy(token, c->r.token, sizeof(token));
	fd = take_fd(&c->r.data_fd);
	close_fds(c);
	if (write_pieces(c, p, fd, lease, 0, half) || CALL(c, store_release, lease))
		goto out;
	if (CALL(c, store_attach, token))
		goto out;
	lease = c->r.lease;
	if (c->r.info.n_present != half) {
		printf("a resumed task has %u of %u pieces\n", c->r.info.n_present, half);
		exit(1);
	}
	close_fds(c);
	if (write_pieces(c, p, fd, lease, half, pieces_of(p)) || fdatasync(fd))
		goto out;
	fd = fd_close(fd);
	{
		uint8_t print[STORE_FPRINT_SIZE];

		fingerprint_of(p->id, p->size, print);
		if (!CALL(c, store_commit, lease, p->id, print, NULL, 0))
			note("have", p->id);
	}
out:
	fd_close(fd);
}

static int work(struct call *c, uint64_t seed, unsigned n, const char *path)
{
	static const uint32_t sizes[] = {0, 1, 4095, 4096, 4097, 20000, 300000};
	char id[32], ids[64][32];
	unsigned n_ids = 0;

	rng_state = seed * 2862933555777941757ull + 3037000493ull;
	journal = fopen(path, "a");
	if (!journal)
		return 1;
	for (unsigned i = 0; i < n && !was_lost; i++) {
		struct put p = {.id = id, .piece = PIECE};
		uint32_t what = rng(20);
		const char *old = n_ids ? ids[rng(n_ids)] : NULL;

		snprintf(id, sizeof(id), "s%" PRIu64 "-%u", seed, i);
		p.size = sizes[rng(ARRAY_SIZE(sizes))];
		p.reserve = p.size;
		p.pin = rng(3) == 0;
		if (what < 8) {
			note("try", id);
			p.ttl_s = rng(10) ? 0 : 1;
			if (!put(c, &p)) {
				if (p.pin)
					note("keep", id);
				note(p.ttl_s ? "rm" : "have", id);
				if (n_ids < 64)
					strcpy(ids[n_ids++], id);
			}
		} else if (what < 10) {
			note("try", id);
			resume(c, &p);
		} else if (what < 11) {
			if (!begin(c, &p)) {
				uint32_t lease = c->r.lease;

				close_fds(c);
				CALL(c, store_abort, lease);
			}
		} else if (what < 14 && old) {
			note("rm", old);
			if (!CALL(c, store_delete, old))
				note("gone", old);
			memmove(ids + (old - ids[0]) / 32, ids[n_ids - 1], 32);
			n_ids--;
		} else if (what < 16 && old) {
			if (!CALL(c, store_open, old)) {
				const char *wrong = check(c, old);
				uint32_t lease = c->r.lease;

				close_fds(c);
				if (wrong) {
					printf("%s: %s\n", old, wrong);
					return 1;
				}
				CALL(c, store_release, lease);
			}
		} else if (what < 17 && old) {
			note("loose", old);
			CALL(c, store_pin, old, rng(2));
		} else if (what < 18 && old) {
			CALL(c, store_set_attrs, old, "attributes", rng(10));
		} else if (what < 19 && old) {
			CALL(c, store_extend, old, clock_now(CLOCK_REALTIME) + 9999 * SECOND);
		} else if (old && rng(2)) {
			CALL(c, store_touch, old);
		} else {
			note("cull", "-");
			CALL(c, store_cull, false, 1ull << 60);
			close_fds(c);
		}
	}
	fclose(journal);
	printf("%s\n", was_lost ? "lost" : "done");
	return was_lost ? 3 : 0;
}

struct fate {
	char id[64];
	bool had, keep, removing, gone, seen;
};

static struct fate *fate_of(struct fate **v, size_t *n, const char *id)
{
	for (size_t i = *n; i-- > 0;)
		if (strcmp((*v)[i].id, id) == 0)
			return &(*v)[i];
	*v = realloc(*v, (*n + 1) * sizeof(**v));
	memset(&(*v)[*n], 0, sizeof(**v));
	snprintf((*v)[*n].id, sizeof((*v)[*n].id), "%s", id);
	return &(*v)[(*n)++];
}

/* an unfinished task: the pieces that it is said to have are right. It is given back. */
static const char *check_partial(struct call *c, const char *id)
{
	static char why[200];
	static uint8_t buf[1 << 16], want[1 << 16];
	static struct record r;
	uint8_t token[STORE_TOKEN_SIZE];
	const char *wrong = NULL;
	uint32_t lease;

	if (CALL(c, store_stat, id) || c->r.info.state != STORE_PARTIAL)
		return NULL;
	memcpy(token, c->r.token, sizeof(token));
	if (CALL(c, store_attach, token))
		return c->r.status == STORE_BUSY ? NULL : "an unfinished task cannot be attached";
	lease = c->r.lease;
	if (record_read(c->r.record_fd, &r))
		wrong = "the record of an unfinished task does not verify";
	for (uint32_t i = 0; !wrong && i < r.info.n_pieces; i++) {
		uint64_t off = (uint64_t)i * r.info.piece_length;
		uint64_t left = r.info.length - off;
		size_t n = left < r.info.piece_length ? (size_t)left : r.info.piece_length;
		struct record_piece p;

		if (n > sizeof(buf) || record_read_pieces(c->r.record_fd, &r, i, 1, &p) ||
			!p.present)
			continue;
		fill(id, off, want, n);
		if (fd_pread_full(c->r.data_fd, buf, n, off) != (ssize_t)n ||
			memcmp(buf, want, n) != 0) {
			snprintf(why, sizeof(why), "wrong bytes in piece %u of a partial", i);
			wrong = why;
		}
	}
	close_fds(c);
	CALL(c, store_release, lease);
	return wrong;
}

static int verify(struct call *c, const char *path)
{
	FILE *f = fopen(path, "r");
	struct fate *v = NULL;
	size_t n = 0, known, n_here = 0, n_partial = 0;
	char what[16], id[64];
	uint64_t cursor = 0;
	int bad = 0;

	while (f && fscanf(f, "%15s %63s", what, id) == 2) {
		struct fate *t;

		if (strcmp(what, "cull") == 0) {
			for (size_t i = 0; i < n; i++)
				v[i].removing |= !v[i].keep;
			continue;
		}
		t = fate_of(&v, &n, id);
		t->keep |= strcmp(what, "keep") == 0;
		t->keep &= strcmp(what, "loose") != 0;
		t->had |= strcmp(what, "have") == 0;
		t->removing |= strcmp(what, "rm") == 0;
		t->gone |= strcmp(what, "gone") == 0;
	}
	if (f)
		fclose(f);
	known = n;
	do {
		struct call page;

		if (CALL(&page, store_list, cursor))
			return report(&page);
		for (size_t i = 0; i < page.r.n_entries; i++) {
			const struct store_info *e = &page.entries[i];
			struct fate *t;
			const char *wrong;
			int st;

			if (e->state != STORE_COMPLETE) {
				wrong = e->id[0] ? check_partial(c, e->id) : NULL;
				if (wrong)
					printf("%s: %s\n", e->id, wrong);
				bad += !!wrong;
				n_partial++;
				continue;
			}
			n_here++;
			t = fate_of(&v, &n, e->id);
			t->seen = true;
			if (n > known) {
				printf("%s: invented\n", e->id);
				bad++;
				known = n;
				continue;
			}
			st = CALL(c, store_open, e->id);
			/* it expired, and went between the list and this */
			if (st == STORE_NOT_FOUND && t->removing)
				continue;
			if (st) {
				printf("%s: cannot be opened: %s\n", e->id, c->message);
				bad++;
				continue;
			}
			wrong = check(c, e->id);
			close_fds(c);
			CALL(c, store_release, c->r.lease);
			if (wrong || t->gone) {
				printf("%s: %s\n", e->id, wrong ? wrong : "came back");
				bad++;
			}
		}
		cursor = page.r.cursor;
	} while (cursor);
	for (size_t i = 0; i < n; i++) {
		if (v[i].had && !v[i].removing && !v[i].seen) {
			printf("%s: an acknowledged commit is lost\n", v[i].id);
			bad++;
		}
	}
	printf("%zu tasks and %zu unfinished here, %d violations\n", n_here, n_partial, bad);
	free(v);
	return bad ? 1 : 0;
}

/* ---- how fast -------------------------------------------------------------------------------- */

static int by_value(const void *a, const void *b)
{
	const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static int opens(struct call *c, const char *id, unsigned at_least, pid_t pid)
{
	uint64_t *v = NULL;
	unsigned n = 0;

	for (; n < at_least || (pid && !kill(pid, 0)); n++) {
		uint64_t t = clock_now(CLOCK_MONOTONIC);
		uint32_t lease;

		if (n % 65536 == 0)
			v = realloc(v, (n + 65536) * sizeof(*v));
		if (CALL(c, store_open, id))
			return report(c);
		v[n] = clock_now(CLOCK_MONOTONIC) - t;
		lease = c->r.lease;
		close_fds(c);
		CALL(c, store_release, lease);
	}
	qsort(v, n, sizeof(*v), by_value);
	printf("%.1f %.1f %u\n", (double)v[n / 2] / 1e3, (double)v[n * 99 / 100] / 1e3, n);
	free(v);
	return 0;
}

static int commits(struct call *c, unsigned n, uint64_t size)
{
	uint64_t *v = calloc(n, sizeof(*v));
	char id[32];

	for (unsigned i = 0; i < n; i++) {
		struct put p = {.id = id, .size = size, .reserve = size, .piece = 65536};
		uint64_t t = clock_now(CLOCK_MONOTONIC);

		/* all of it: create, write, fdatasync of the data, pieces, commit */
		snprintf(id, sizeof(id), "c%u", i);
		if (put(c, &p))
			return report(c);
		v[i] = clock_now(CLOCK_MONOTONIC) - t;
	}
	qsort(v, n, sizeof(*v), by_value);
	printf("%.1f %.1f\n", (double)v[n / 2] / 1e3, (double)v[n * 99 / 100] / 1e3);
	free(v);
	return 0;
}

static int bare(const char *dir, unsigned n, size_t size)
{
	uint64_t *v = calloc(n, sizeof(*v));
	uint8_t *data = calloc(1, size + 1);
	int d = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char from[32], to[32];

	if (d < 0)
		return 1;
	for (unsigned i = 0; i < n; i++) {
		uint64_t t = clock_now(CLOCK_MONOTONIC);
		int fd;

		snprintf(from, sizeof(from), "bare.%u.new", i);
		snprintf(to, sizeof(to), "bare.%u", i);
		fd = openat(d, from, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		if (fd < 0 || fd_write_full(fd, data, size) || fdatasync(fd) || close(fd) ||
			renameat(d, from, d, to) || fsync(d))
			return 1;
		v[i] = clock_now(CLOCK_MONOTONIC) - t;
	}
	for (unsigned i = 0; i < n; i++) {
		snprintf(to, sizeof(to), "bare.%u", i);
		unlinkat(d, to, 0);
	}
	close(d);
	qsort(v, n, sizeof(*v), by_value);
	printf("%.1f %.1f\n", (double)v[n / 2] / 1e3, (double)v[n * 99 / 100] / 1e3);
	free(data);
	free(v);
	return 0;
}

static int fabricate_one(int tasks, unsigned i, uint64_t used_ns)
{
	static struct record r;
	struct store_piece p[64];
	const struct timespec times[2] = {
		{.tv_sec = (time_t)(used_ns / SECOND), .tv_nsec = (long)(used_ns % SECOND)},
		{.tv_nsec = UTIME_OMIT}};
	char path[96];
	int fd;

	r = (struct record){.info = {.state = STORE_COMPLETE,
				    .length = 64 * 4096,
				    .piece_length = 4096,
				    .n_pieces = 64,
				    .created_ns = used_ns,
				    .uid = getuid(),
				    .generation = i}};
	snprintf(r.info.id, sizeof(r.info.id), "%u", 3000000000u + i);
	memcpy(r.token, &i, sizeof(i));
	for (uint32_t k = 0; k < 64; k++)
		p[k] = (struct store_piece){k, k};
	snprintf(path, sizeof(path), "%02x", digest_crc32(0, r.info.id, strlen(r.info.id)) & 0xff);
	mkdirat(tasks, path, 0700);
	snprintf(path + 2, sizeof(path) - 2, "/%s", r.info.id);
	mkdirat(tasks, path, 0700);
	strcat(path, "/data");
	fd = openat(tasks, path, O_RDWR | O_CREAT | O_CLOEXEC, 0400);
	if (fd < 0 || ftruncate(fd, 64 * 4096) || futimens(fd, times))
		return 1;
	close(fd);
	memcpy(strrchr(path, '/'), "/meta", 6);
	fd = openat(tasks, path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || record_write(fd, &r) || record_write_pieces(fd, &r, p, 64, 0))
		return 1;
	close(fd);
	return 0;
}

static int fabricate(const char *dir, unsigned n, uint64_t second, uint64_t step)
{
	char path[4096];
	int tasks, rc = 0;

	snprintf(path, sizeof(path), "%s/pieces/tasks", dir);
	tasks = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (tasks < 0)
		return 1;
	for (unsigned i = 0; i < n && !rc; i++)
		rc = fabricate_one(tasks, i,
			second ? (second + i * step) * SECOND + SECOND / 2
			       : clock_now(CLOCK_REALTIME));
	close(tasks);
	return rc;
}

static int where(const char *path)
{
	static union {
		struct fiemap map;
		char room[sizeof(struct fiemap) + sizeof(struct fiemap_extent)];
	} u;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	u.map.fm_length = FIEMAP_MAX_OFFSET;
	u.map.fm_flags = FIEMAP_FLAG_SYNC;
	u.map.fm_extent_count = 1;
	if (fd < 0 || ioctl(fd, FS_IOC_FIEMAP, &u.map) || !u.map.fm_mapped_extents)
		return 1;
	close(fd);
	printf("%llu\n", (unsigned long long)u.map.fm_extents[0].fe_physical);
	return 0;
}

/* ---- the command line ------------------------------------------------------------------------ */

static int run(int argc, char **argv)
{
	static struct call call, *c = &call;
	const char *cmd = argv[2], *id = argc > 3 ? argv[3] : "";
	const char *third = argc > 4 ? argv[4] : "0";
	int rc;

	if (strcmp(cmd, "put") == 0 || strcmp(cmd, "write") == 0) {
		struct put p = {.id = id, .size = strtoull(third, NULL, 0), .piece = PIECE};

		p.reserve = p.size;
		for (int i = 5; i < argc; i++) {
			if (strcmp(argv[i], "pin") == 0)
				p.pin = true;
			sscanf(argv[i], "ttl=%" SCNu64, &p.ttl_s);
			sscanf(argv[i], "wait=%" SCNu64, &p.wait_s);
			sscanf(argv[i], "piece=%u", &p.piece);
			sscanf(argv[i], "reserve=%" SCNu64, &p.reserve);
		}
		if (p.size / p.piece > MAX_PIECES)
			p.piece = (uint32_t)(p.size / MAX_PIECES / 4096 + 1) * 4096;
		if (cmd[0] == 'p')
			put(c, &p);
		else
			begin(c, &p);
		rc = report(c);
		fflush(stdout);
		if (cmd[0] == 'w' && !rc)
			while (getchar() != EOF)
				;
		return c->r.status == STORE_EXISTS_SAME ? 0 : rc;
	}
	if (strcmp(cmd, "get") == 0)
		return get(c, id);
	if (strcmp(cmd, "opens") == 0)
		return opens(c, id, (unsigned)atoi(third), argc > 5 ? atoi(argv[5]) : 0);
	if (strcmp(cmd, "commits") == 0)
		return commits(c, (unsigned)atoi(id), strtoull(third, NULL, 0));
	if (strcmp(cmd, "work") == 0 && argc > 5)
		return work(c, strtoull(id, NULL, 0), (unsigned)atoi(third), argv[5]);
	if (strcmp(cmd, "verify") == 0)
		return verify(c, id);
	if (strcmp(cmd, "hold") == 0) {
		if (CALL(c, store_open, id))
			return report(c);
		rc = report(c);
		fflush(stdout);
		while (getchar() != EOF)
			;
		return rc;
	}
	if (strcmp(cmd, "stat") == 0)
		CALL(c, store_stat, id);
	else if (strcmp(cmd, "rm") == 0)
		CALL(c, store_delete, id);
	else if (strcmp(cmd, "touch") == 0)
		CALL(c, store_touch, id);
	else if (strcmp(cmd, "pin") == 0 || strcmp(cmd, "unpin") == 0)
		CALL(c, store_pin, id, cmd[0] == 'p');
	else if (strcmp(cmd, "ttl") == 0)
		CALL(c, store_extend, id,
			clock_now(CLOCK_REALTIME) + strtoull(third, NULL, 0) * SECOND);
	else
		return 2;
	rc = report(c);
	if (!rc && cmd[0] == 's')
		printf("state=%d pinned=%d leased=%d length=%" PRIu64 " bytes=%" PRIu64 "\n",
			c->r.info.state, c->r.info.pinned, c->r.info.leased, c->r.info.length,
			c->r.info.bytes_on_disk);
	return rc;
}

int main(int argc, char **argv)
{
	uint64_t until;
	int rc;

	if (argc < 4)
		return 2;
	log_set_level(LOG_CRIT);
	if (strcmp(argv[2], "bare") == 0 && argc > 5)
		return bare(argv[3], (unsigned)atoi(argv[4]), strtoull(argv[5], NULL, 0));
	if (strcmp(argv[2], "where") == 0)
		return where(argv[3]);
	if (strcmp(argv[2], "fabricate") == 0 && argc > 4)
		return fabricate(argv[3], (unsigned)atoi(argv[4]),
			argc > 6 ? strtoull(argv[5], NULL, 0) : 0,
			argc > 6 ? strtoull(argv[6], NULL, 0) : 0);
	if (loop_new(&loop, &loop_backend_epoll, 0) ||
		store_client_new(&client, loop, argv[1], on_event, NULL))
		return 2;
	until = loop_now(loop) +
		(getenv("STORETOOL_WAIT") ? (uint64_t)atoi(getenv("STORETOOL_WAIT")) : 10) * SECOND;
	while (!is_ready && loop_now(loop) < until)
		loop_step(loop, SECOND / 10);
	if (!is_ready) {
		printf("no daemon\n");
		return 3;
	}
	rc = run(argc, argv);
	client = store_client_free(client);
	while (loop_get_stats(loop).n_inflight)
		loop_step(loop, SECOND);
	loop_free(loop);
	return rc;
}
