// SPDX-License-Identifier: GPL-2.0-or-later
/* scan_bench — how long one scan takes that fills and orders the cull table, against a bare walk.
 *
 * usage: scan_bench DIRECTORY N [CULLTABLE [ROUNDS [SMALLER]]]
 * Makes N objects with times of use in random order below DIRECTORY/cache (unless they are there), then
 * lets a bare getdents + statx walk and the daemon's scan with a table of 2^CULLTABLE entries (default
 * 20) go through them side by side, in turns of 2000 objects: so what else
 * the machine does meanwhile, and who pays for a cold inode, is the same for both. Prints times, ratio and
 * peak memory, and checks with a walk of its own that no survivor is older than a victim. Exit 1 if it is
 * not so, if the scans took more than 1.15 times the processor time of the walks (both are bound by it),
 * or more than 64 MiB. With SMALLER: as many victims once more with a table of 2^SMALLER, which must be the
 * same in the same order, found in more passes.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cachefilesd/kernel_source.h"

#define N_VOLUMES 4
#define MAX_RATIO 1.15
#define MAX_KIB   (64 * 1024)

/* What a phase tells its parent. */
static struct result {
	double walk_s, scan_s, user, sys; /* processor time */
	long peak_kib;
	uint64_t n_seen, n_victims, oldest_victim_ns, newest_victim_ns, n_older, n_scans, n_windows;
	uint64_t order; /* all times of victims in their order, hashed */
	bool is_ordered;
} * result;

static double thread_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void die(const char *what)
{
	perror(what);
	exit(1);
}

/* a bijection on [0, n): cycle-walking a Feistel network, so no table of 10 million is needed */
static uint64_t permute(uint64_t i, uint64_t n)
{
	unsigned bits = 2;

	while ((uint64_t)1 << bits < n)
		bits += 2;
	do {
		uint64_t half = bits / 2, mask = ((uint64_t)1 << half) - 1, l = i >> half,
			 r = i & mask;

		for (unsigned k = 0; k < 4; k++) {
			uint64_t f = (r * 0x9e3779b97f4a7c15u + k * 0xbf58476d1ce4e5b9u) >> 29 &
				     mask,
				 t = r;

			r = l ^ f;
			l = t;
		}
		i = l << half | r;
	} while (i >= n);
	return i;
}

static void populate(int top, uint64_t n)
{
	char name[128];
	struct stat st;

	if (fstatat(top, "populated", &st, 0) == 0 && (uint64_t)st.st_size == n)
		return;
	printf("making %llu objects\n", (unsigned long long)n);
	fflush(stdout);
	if (mkdirat(top, "cache", 0700) < 0)
		die("cache (is it there with another number of objects?)");
	for (unsigned v = 0; v < N_VOLUMES; v++) {
		snprintf(name, sizeof(name), "cache/Infs,4.2,2,%u", v);
		if (mkdirat(top, name, 0700) < 0)
			die(name);
		for (unsigned d = 0; d < 256; d++) {
			int dir;

			snprintf(name, sizeof(name), "cache/Infs,4.2,2,%u/@%02x", v, d);
			if (mkdirat(top, name, 0700) < 0)
				die(name);
			dir = openat(top, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
			for (uint64_t i = v * 256 + d; i < n; i += N_VOLUMES * 256) {
				uint64_t used = permute(i, n);
				struct timespec t[2] = {
					{.tv_sec = (time_t)(1000000000 + used / 1000),
						.tv_nsec = (long)(used % 1000) * 1000000},
					{.tv_nsec = UTIME_OMIT}};
				int fd;

				snprintf(name, sizeof(name), "T1010001,,%llx,%llx,",
					(unsigned long long)(i * 2654435761u % 4294967296u),
					(unsigned long long)(i % 251));
				fd = openat(dir, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
				if (fd < 0 || futimens(fd, t) < 0)
					die(name);
				close(fd);
			}
			close(dir);
		}
	}
	int mark = openat(top, "populated", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	if (mark < 0 || ftruncate(mark, (off_t)n) < 0)
		die("populated");
	close(mark);
	sync();
}

/* ---- turns ----------------------------------------------------------------------------------- */

enum { WALK, SCAN };

static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	int turn;
	uint64_t seen[2]; /* objects */
	bool is_over[2], is_used;
} turns = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

#define LEAD 1000 /* objects */

/* Called now and then with the number of objects seen: who is ahead far enough lets the other go on until
 * that one is. So each is as often the first to come to an inode. */
static void turn_taken(int me, uint64_t seen)
{
	if (!turns.is_used)
		return;
	pthread_mutex_lock(&turns.lock);
	turns.seen[me] = seen;
	if (seen >= turns.seen[!me] + LEAD) {
		turns.turn = !me;
		pthread_cond_broadcast(&turns.changed);
	}
	while (turns.turn != me && !turns.is_over[!me])
		pthread_cond_wait(&turns.changed, &turns.lock);
	pthread_mutex_unlock(&turns.lock);
}

static void turns_over(int me)
{
	pthread_mutex_lock(&turns.lock);
	turns.is_over[me] = true;
	turns.turn = !me;
	pthread_cond_broadcast(&turns.changed);
	pthread_mutex_unlock(&turns.lock);
}

static void wait_for_turn(int me)
{
	pthread_mutex_lock(&turns.lock);
	while (turns.turn != me)
		pthread_cond_wait(&turns.changed, &turns.lock);
	pthread_mutex_unlock(&turns.lock);
}

/* ---- the bare walk, and the oracle in the same loop ------------------------------------------ */

static void walk(int dirfd, const char *name, uint64_t older_than_ns)
{
	_Alignas(struct dirent64) char block[32768];
	int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		die(name);
	while ((n = getdents64(fd, block, sizeof(block))) > 0) {
		for (ssize_t pos = 0; pos < n;) {
			const struct dirent64 *e = (const void *)(block + pos);
			struct statx sx;

			pos += e->d_reclen;
			if (e->d_name[0] == '.')
				continue;
			if (e->d_type == DT_DIR) {
				walk(fd, e->d_name, older_than_ns);
				continue;
			}
			if (statx(fd, e->d_name, AT_SYMLINK_NOFOLLOW | AT_STATX_DONT_SYNC,
				    STATX_ATIME, &sx) < 0)
				die(e->d_name);
			result->n_seen++;
			if ((uint64_t)sx.stx_atime.tv_sec * 1000000000u + sx.stx_atime.tv_nsec <
				older_than_ns)
				result->n_older++;
		}
		turn_taken(WALK, result->n_seen);
	}
	close(fd);
}

static void phase_oracle(int top, unsigned culltable)
{
	walk(top, "cache", result->newest_victim_ns + 1);
}

/* ---- the daemon's scan ----------------------------------------------------------------------- */

static struct kernel_source ks;

static void init_source(int top, unsigned culltable, struct kcache *kc)
{
	kcache_init(kc, -1);
	if (kcache_set_dir(kc, openat(top, "cache", O_PATH | O_DIRECTORY | O_CLOEXEC)) < 0 ||
		kernel_source_init(&ks, kc, culltable) < 0)
		die("kernel_source_init");
}

/* What is in the table, in its order, but no more than is missing to @max victims in all. */
static void take_victims(uint64_t max)
{
	while (result->n_victims < max) {
		uint64_t used;
		uint32_t dir;
		const char *name = lru_peek(&ks.lru, &used, &dir);

		if (dir == LRU_NO_DIR)
			return;
		if (!name)
			result->n_windows++;
		result->is_ordered &= used >= result->newest_victim_ns;
		result->newest_victim_ns = used;
		result->order = (result->order ^ used) * 0x9e3779b97f4a7c15u;
		result->n_victims++;
		lru_pop(&ks.lru);
	}
}

static void fill_table(uint64_t *used)
{
	while (ks.source.ops->oldest(&ks.source, used) == CULL_OFFER_WORKING)
		;
}

static void *run_walk(void *arg)
{
	double started = thread_s();

	walk(*(const int *)arg, "cache", 0);
	result->walk_s = thread_s() - started;
	turns_over(WALK);
	return NULL;
}

static void phase_pair(int top, unsigned culltable)
{
	struct kcache kc;
	pthread_t walker;
	double started;

	turns.is_used = true;
	turns.turn = WALK;
	if (pthread_create(&walker, NULL, run_walk, &top))
		die("pthread_create");
	wait_for_turn(SCAN);
	started = thread_s();
	init_source(top, culltable, &kc);
	while (ks.source.ops->oldest(&ks.source, &result->oldest_victim_ns) == CULL_OFFER_WORKING)
		turn_taken(SCAN, ks.scan.n_objects);
	/* chosen and ordered; what follows is checking */
	result->scan_s = thread_s() - started;
	turns_over(SCAN);
	pthread_join(walker, NULL);
	take_victims(UINT64_MAX);
	result->n_scans = ks.stats.n_scans;
}

static uint64_t wanted_in_passes;

static void phase_passes(int top, unsigned culltable)
{
	struct kcache kc;
	uint64_t used, before;

	init_source(top, culltable, &kc);
	do {
		before = result->n_victims;
		fill_table(&used);
		take_victims(wanted_in_passes);
	} while (result->n_victims < wanted_in_passes && result->n_victims > before);
	result->n_scans = ks.stats.n_scans;
}

static void run(void (*phase)(int top, unsigned culltable), int top, unsigned culltable)
{
	struct rusage ru;
	int status;
	pid_t pid;

	result->n_seen = result->n_older = 0;
	if (phase != phase_oracle) {
		result->n_victims = result->n_windows = result->newest_victim_ns = 0;
		result->order = 0;
		result->is_ordered = true;
	}
	pid = fork();
	if (pid < 0)
		die("fork");
	if (pid == 0) {
		phase(top, culltable);
		_exit(0);
	}
	if (wait4(pid, &status, 0, &ru) < 0 || !WIFEXITED(status) || WEXITSTATUS(status))
		exit(1);
	result->peak_kib = ru.ru_maxrss;
	result->user = (double)ru.ru_utime.tv_sec + (double)ru.ru_utime.tv_usec / 1e6;
	result->sys = (double)ru.ru_stime.tv_sec + (double)ru.ru_stime.tv_usec / 1e6;
}

/* The same victims with a smaller table */
static bool compare_passes(int top, unsigned smaller, uint64_t want, long peak)
{
	const struct result one = *result;
	bool is_good;

	wanted_in_passes = want;
	run(phase_passes, top, smaller);
	is_good = result->n_victims == want && result->order == one.order && result->is_ordered &&
		  result->n_scans > one.n_scans && result->peak_kib <= peak;
	printf("culltable %u: %llu victims in %llu passes, the same in the same order: %s; processor "
	       "%.3f s, peak %ld KiB\n",
		smaller, (unsigned long long)result->n_victims, (unsigned long long)result->n_scans,
		is_good ? "yes" : "NO", result->user + result->sys, result->peak_kib);
	*result = one;
	return is_good;
}

int main(int argc, char **argv)
{
	unsigned culltable = argc > 3 ? (unsigned)atoi(argv[3]) : 20;
	unsigned rounds = argc > 4 ? (unsigned)atoi(argv[4]) : 3;
	unsigned smaller = argc > 5 ? (unsigned)atoi(argv[5]) : 0;
	uint64_t n = argc > 2 ? strtoull(argv[2], NULL, 10) : 0, want;
	double walks = 0, scans = 0;
	long peak = 0;
	bool is_good = true;
	int top;

	if (!n || culltable < 4 || culltable > 24 || !rounds || rounds > 16 ||
		smaller >= culltable) {
		fprintf(stderr, "usage: scan_bench DIRECTORY N [CULLTABLE [ROUNDS [SMALLER]]]\n");
		return 2;
	}
	result = mmap(
		NULL, sizeof(*result), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (result == MAP_FAILED)
		die("mmap");
	top = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (top < 0)
		die(argv[1]);
	populate(top, n);
	for (unsigned i = 0; i < rounds; i++) {
		run(phase_pair, top, culltable);
		walks += result->walk_s;
		scans += result->scan_s;
		peak = result->peak_kib > peak ? result->peak_kib : peak;
		is_good &= result->is_ordered && result->n_scans == 1;
		printf("side by side: walk %.3f s, scan %.3f s of processor time, ratio %.3f\n",
			result->walk_s, result->scan_s, result->scan_s / result->walk_s);
		fflush(stdout);
	}
	want = n < (uint64_t)1 << culltable ? n : (uint64_t)1 << culltable;
	is_good &= result->n_victims == want;
	printf("objects %llu, victims %llu, in %llu scan, ordered %s, names to learn again %llu\n",
		(unsigned long long)n, (unsigned long long)result->n_victims,
		(unsigned long long)result->n_scans, result->is_ordered ? "yes" : "NO",
		(unsigned long long)result->n_windows);
	if (smaller)
		is_good &= compare_passes(top, smaller, want, peak);
	run(phase_oracle, top, culltable);
	/* every object up to the newest victim's time is a victim: all times differ */
	is_good &= result->n_older == want;
	printf("oracle: objects not newer than the newest victim %llu\n",
		(unsigned long long)result->n_older);
	is_good &= scans <= walks * MAX_RATIO && peak <= MAX_KIB;
	printf("all: walk %.3f s, scan %.3f s, ratio %.3f (at most %.2f); peak %ld KiB (at most %d): %s\n",
		walks, scans, scans / walks, MAX_RATIO, peak, MAX_KIB,
		is_good ? "good" : "NOT GOOD");
	return !is_good;
}
