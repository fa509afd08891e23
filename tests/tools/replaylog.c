/* SPDX-License-Identifier: GPL-2.0-or-later */
/* replaylog.c — what a power loss at any moment may leave of a disk whose writes dm-log-writes recorded.
 *
 *   replaylog LOG DISK SNAP MARKS POINTS SEED COMMAND [ARG...]
 *
 * LOG is the log device's content (Documentation/admin-guide/device-mapper/log-writes.rst; the structs
 * are in drivers/md/dm-log-writes.c). DISK, a file, starts empty and is written forward. POINTS moments
 * are spread over the log from the mark "begin" on. At each, SNAP is DISK with everything up to the last flush
 * before the moment, and of what was written since: at every third point all in order, else a random part
 * of it (a disk's cache keeps no order between flushes; FUA writes are always there). MARKS gets the
 * marks of before the moment, one a line. Then COMMAND runs; its exit status 0 = nothing wrong.
 *
 * REPLAYLOG_LIE=N: the disk lied, the last N flushes were none. That must be noticed: it tests the test.
 *
 * Prints one line for each failure and in the end "N points, V violations"; exit status 1 if V > 0.
 */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAGIC      0x6a736677736872ull
#define FLUSH      1u
#define FUA        2u
#define DISCARD    4u
#define MARK       8u
#define MARK_MAX   256
#define COPY_BYTES (1 << 20)

struct entry {
	uint64_t at; /* of its data in the log, bytes */
	uint64_t offset, length; /* on the disk, bytes */
	unsigned flags;
	char *mark;
};

static struct entry *entries;
static size_t n_entries;
static int log_fd;

static void die(const char *what)
{
	fprintf(stderr, "replaylog: %s: %s\n", what, strerror(errno));
	exit(2);
}

static void read_at(int fd, void *p, size_t n, uint64_t at)
{
	if (pread(fd, p, n, (off_t)at) != (ssize_t)n)
		die("the log is cut off");
}

static void read_log(void)
{
	struct {
		uint64_t magic, version, n;
		uint32_t sector;
	} __attribute__((packed)) super;
	uint64_t at;

	read_at(log_fd, &super, sizeof(super), 0);
	if (le64toh(super.magic) != MAGIC || le64toh(super.version) != 1) {
		errno = EINVAL;
		die("not a log of dm-log-writes");
	}
	n_entries = le64toh(super.n);
	entries = calloc(n_entries + 1, sizeof(*entries));
	if (!entries)
		die("memory");
	at = le32toh(super.sector);
	for (size_t i = 0; i < n_entries; i++) {
		struct entry *e = &entries[i];
		uint64_t v[4], sector = le32toh(super.sector);

		read_at(log_fd, v, sizeof(v), at);
		e->offset = le64toh(v[0]) * sector;
		e->length = le64toh(v[1]) * sector;
		e->flags = (unsigned)le64toh(v[2]);
		if (e->flags & MARK) {
			size_t n = le64toh(v[3]) < MARK_MAX ? (size_t)le64toh(v[3]) : MARK_MAX;

			e->mark = calloc(1, n + 1);
			if (!e->mark)
				die("memory");
			read_at(log_fd, e->mark, n, at + sizeof(v));
		}
		at += sector;
		e->at = at;
		if (!(e->flags & DISCARD))
			at += e->length;
	}
}

static void copy_range(int from, uint64_t from_at, int to, uint64_t to_at, uint64_t n)
{
	static char buf[COPY_BYTES];

	while (n) {
		size_t k = n < sizeof(buf) ? (size_t)n : sizeof(buf);

		read_at(from, buf, k, from_at);
		if (pwrite(to, buf, k, (off_t)to_at) != (ssize_t)k)
			die("write");
		from_at += k;
		to_at += k;
		n -= k;
	}
}

static void apply(int to, const struct entry *e)
{
	if (e->flags & DISCARD)
		fallocate(to, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)e->offset,
			(off_t)e->length);
	else if (e->length)
		copy_range(log_fd, e->at, to, e->offset, e->length);
}

/* a new file at @path that is as @disk, holes stay holes. A new one each time: a loop device that the kernel has not
 * yet let go would be found again by its file, with what it remembers of it. */
static int snapshot(int disk, const char *path)
{
	int snap = unlink(path) && errno != ENOENT
			   ? -1
			   : open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	struct stat st;
	off_t data = 0, hole;

	if (snap < 0 || fstat(disk, &st) || ftruncate(snap, st.st_size))
		die("snapshot");
	while ((data = lseek(disk, data, SEEK_DATA)) >= 0) {
		hole = lseek(disk, data, SEEK_HOLE);
		copy_range(disk, (uint64_t)data, snap, (uint64_t)data, (uint64_t)(hole - data));
		data = hole;
	}
	return snap;
}

static uint64_t rng_state;

static uint32_t rng(uint32_t n)
{
	rng_state = rng_state * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(rng_state >> 33) % n;
}

static void write_marks(const char *path, size_t upto)
{
	FILE *f = fopen(path, "w");

	if (!f)
		die(path);
	for (size_t i = 0; i < upto; i++) {
		char *gap = entries[i].mark ? strchr(entries[i].mark, '_') : NULL;

		/* dm messages have no blanks within a word */
		if (gap)
			fprintf(f, "%.*s %s\n", (int)(gap - entries[i].mark), entries[i].mark,
				gap + 1);
	}
	if (fclose(f))
		die(path);
}

static bool check(char **argv)
{
	pid_t pid = fork();
	int status = 0;

	if (!pid) {
		execvp(argv[0], argv);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		die("fork");
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

int main(int argc, char **argv)
{
	size_t first = 0, done = 0, points, flush, lost_epochs = 0;
	unsigned violations = 0, lie = 0, lies;
	const char *lie_text = getenv("REPLAYLOG_LIE");
	int disk, snap;

	if (argc < 8) {
		fprintf(stderr, "replaylog LOG DISK SNAP MARKS POINTS SEED COMMAND [ARG...]\n");
		return 2;
	}
	log_fd = open(argv[1], O_RDONLY | O_CLOEXEC);
	disk = open(argv[2], O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (log_fd < 0 || disk < 0)
		die("open");
	points = strtoul(argv[5], NULL, 10);
	if (lie_text)
		lie = (unsigned)strtoul(lie_text, NULL, 10);
	rng_state = strtoul(argv[6], NULL, 10) * 2862933555777941757ull + 1;
	read_log();
	while (first < n_entries && !(entries[first].mark && !strcmp(entries[first].mark, "begin")))
		first++;
	if (first == n_entries || !points) {
		errno = EINVAL;
		die("no mark \"begin\" in the log");
	}
	for (size_t p = 0; p < points; p++) {
		size_t span = n_entries - first;
		/* each point somewhere in a stretch of its own */
		size_t lo = first + span * p / points, hi = first + span * (p + 1) / points;
		size_t at = lo + (hi > lo ? rng((uint32_t)(hi - lo)) : 0) + 1;

		lies = lie;
		for (flush = at; flush > done; flush--)
			if (entries[flush - 1].flags & FLUSH && !lies--)
				break;
		/* a flush makes durable what came before it, not what it carries itself */
		for (; done + 1 < flush; done++)
			apply(disk, &entries[done]);
		snap = snapshot(disk, argv[3]);
		for (size_t i = done; i < at; i++)
			if (p % 3 == 0 || entries[i].flags & FUA || rng(2))
				apply(snap, &entries[i]);
			else
				lost_epochs++;
		close(snap);
		write_marks(argv[4], at);
		if (!check(argv + 7)) {
			printf("point %zu of %zu (entry %zu of %zu): violation\n", p, points, at,
				n_entries);
			fflush(stdout);
			violations++;
		}
	}
	printf("%zu entries, %zu points, %zu writes lost on purpose, %u violations\n", n_entries,
		points, lost_epochs, violations);
	return violations > 0;
}
