// SPDX-License-Identifier: GPL-2.0-or-later
/* cull, kernel_source and scan on real directories, with a kernel made of unlinkat and renameat in
 * place of kcache.c: what goes, in which order, what is left alone, and when it rests. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "cachefilesd/cull.h"
#include "cachefilesd/kernel_source.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "common/path.h"

/* ---- the kernel ----------------------------------------------------------------------------- */

#define MAX_CULLED 20000

static struct {
	const char *in_use[64]; /* names */
	size_t n_in_use;
	char *culled[MAX_CULLED];
	size_t n_culled, n_asked;
	int graveyard_fd;
	bool all_in_use, all_eio, is_dead;
} kernel;

void kcache_init(struct kcache *kc, int fd)
{
	*kc = (struct kcache){.fd = fd, .cache_fd = -1};
}

void kcache_fini(struct kcache *kc)
{
	kc->cache_fd = fd_close(kc->cache_fd);
}

int kcache_set_dir(struct kcache *kc, int cache_fd)
{
	struct stat st;

	assert_int_equal(fstat(cache_fd, &st), 0);
	kc->cache_fd = cache_fd;
	kc->dev = st.st_dev;
	return 0;
}

bool kcache_name_is_sendable(const char *name)
{
	return *name != ' ' && !strchr(name, '\n');
}

void kcache_leave(void)
{
}

bool kcache_is_dead(struct kcache *kc)
{
	return kernel.is_dead;
}

int kcache_cull(struct kcache *kc, int dirfd, const char *name)
{
	struct stat st;
	char grave[32];

	kernel.n_asked++;
	assert_null(strchr(name, '/'));
	assert_false(path_is_dots(name));
	assert_int_equal(fstat(dirfd, &st), 0);
	assert_int_equal(st.st_dev, kc->dev);
	if (kernel.all_eio)
		return -EIO;
	if (kernel.all_in_use)
		return KCACHE_BUSY;
	for (size_t i = 0; i < kernel.n_in_use; i++)
		if (!strcmp(kernel.in_use[i], name))
			return KCACHE_BUSY;
	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return KCACHE_GONE;
	if (S_ISDIR(st.st_mode)) {
		snprintf(grave, sizeof(grave), "%016zx", kernel.n_asked);
		assert_int_equal(renameat(dirfd, name, kernel.graveyard_fd, grave), 0);
	} else {
		assert_int_equal(unlinkat(dirfd, name, 0), 0);
	}
	assert_true(kernel.n_culled < MAX_CULLED);
	kernel.culled[kernel.n_culled++] = strdup(name);
	return KCACHE_DONE;
}

int kcache_cull_checked(struct kcache *k, int dirfd, const char *name)
{
	return kcache_cull(k, dirfd, name);
}

/* ---- a cache -------------------------------------------------------------------------------- */

static char top[64];
static int topfd, cachefd;
static struct kcache kc;
static struct kernel_source ks;
static struct cull cull;
static uint64_t now;

static void start(unsigned culltable)
{
	struct cull_source *sources[] = {&ks.source};

	kcache_init(&kc, -1);
	assert_int_equal(kcache_set_dir(&kc, dup(cachefd)), 0);
	assert_int_equal(kernel_source_init(&ks, &kc, culltable), 0);
	cull_init(&cull, sources, 1);
	cull.resume_files = 5;
}

static void stop(void)
{
	kernel_source_fini(&ks);
	kcache_fini(&kc);
}

static int setup(void **state)
{
	snprintf(top, sizeof(top), "/tmp/test_cull.XXXXXX");
	assert_non_null(mkdtemp(top));
	topfd = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(mkdirat(topfd, "cache", 0700), 0);
	assert_int_equal(mkdirat(topfd, "graveyard", 0700), 0);
	cachefd = openat(topfd, "cache", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	memset(&kernel, 0, sizeof(kernel));
	kernel.graveyard_fd = openat(topfd, "graveyard", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	now = 1000;
	return 0;
}

static int teardown(void **state)
{
	int tmp = open("/tmp", O_PATH | O_CLOEXEC);
	int r = path_remove_tree(tmp, top + strlen("/tmp/"), NULL);

	close(tmp);
	close(topfd);
	close(cachefd);
	close(kernel.graveyard_fd);
	for (size_t i = 0; i < kernel.n_culled; i++)
		free(kernel.culled[i]);
	return r;
}

static void use_at(const char *path, long s, long ns)
{
	struct timespec t[2] = {{.tv_sec = s, .tv_nsec = ns}, {.tv_nsec = UTIME_OMIT}};

	assert_int_equal(utimensat(cachefd, path, t, AT_SYMLINK_NOFOLLOW), 0);
}

static void make_dirs(const char *path)
{
	char part[PATH_MAX];

	for (const char *p = strchr(path, '/'); p; p = strchr(p + 1, '/')) {
		snprintf(part, sizeof(part), "%.*s", (int)(p - path), path);
		mkdirat(cachefd, part, 0700);
	}
}

static void make_object(const char *path, long s, long ns)
{
	int fd;

	make_dirs(path);
	fd = openat(cachefd, path, O_WRONLY | O_CREAT | O_CLOEXEC, 0);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "x", 1), 1);
	close(fd);
	use_at(path, s, ns);
}

static bool is_there(const char *path)
{
	return faccessat(cachefd, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

/* Run while culling is wanted, until @n objects went or it rests. */
static enum cull_verdict run_until(size_t n)
{
	struct cull_need need = {.is_wanted = true, .deficit_files = 1};
	uint64_t wait;

	for (unsigned i = 0; i < 1000000; i++) {
		enum cull_verdict v = cull_step(&cull, &need, now, now, &wait);

		now++;

		if (v == CULL_WAIT || kernel.n_culled >= n)
			return v;
	}
	fail_msg("it runs for ever");
	return CULL_WAIT;
}

static void run_until_rest(void)
{
	assert_int_equal(run_until(MAX_CULLED), CULL_WAIT);
	assert_int_equal(cull.phase, CULLER_RESTING);
}

/* ---- tests ---------------------------------------------------------------------------------- */

static uint64_t seed = 1;

static unsigned rnd(unsigned below)
{
	seed = seed * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)(seed >> 33) % below;
}

/* n objects over a volume's fan-out, each used at its own instant; nanoseconds count */
static void populate(unsigned n)
{
	unsigned *order = calloc(n, sizeof(*order));

	for (unsigned i = 0; i < n; i++)
		order[i] = i;
	for (unsigned i = n; i > 1; i--) {
		unsigned j = rnd(i), t = order[i - 1];

		order[i - 1] = order[j];
		order[j] = t;
	}
	for (unsigned i = 0; i < n; i++) {
		char path[128];

		snprintf(path, sizeof(path), "Infs,4.2,2,108/@%02x/D%06u", rnd(256), order[i]);
		make_object(path, 1000 + order[i] / 100, order[i] % 100);
	}
	free(order);
}

static void expect_oldest_first(size_t n)
{
	assert_int_equal(kernel.n_culled, n);
	for (size_t i = 0; i < n; i++) {
		char name[32];

		snprintf(name, sizeof(name), "D%06zu", i);
		assert_string_equal(kernel.culled[i], name);
	}
}

static void oldest_first_in_one_scan(void **state)
{
	populate(3000);
	start(12);
	run_until(1000);
	expect_oldest_first(1000);
	assert_int_equal(ks.stats.n_scans, 1);
	assert_int_equal(ks.stats.n_windows, 0);
	/* the table is still good for another run */
	run_until(1500);
	expect_oldest_first(1500);
	assert_int_equal(ks.stats.n_scans, 1);
	stop();
}

static void a_small_table_takes_more_passes_in_the_same_order(void **state)
{
	populate(3000);
	start(8); /* the configuration begins at 12, the code does not care */
	run_until(2900);
	expect_oldest_first(2900);
	assert_true(ks.stats.n_scans >= 12 && ks.stats.n_scans <= 14);
	assert_true(ks.nodes.n_live <= 257);
	stop();
}

static void long_names_go_in_order_too(void **state)
{
	char path[400];

	for (unsigned i = 0; i < 600; i++) {
		int n = snprintf(path, sizeof(path), "Ivol/@%02x/D%06u", i % 7, i);

		memset(path + n, 'y', 200);
		path[n + 200] = '\0';
		make_object(path, 1000 + i, 0);
	}
	start(10);
	run_until(550);
	assert_true(ks.stats.n_windows > 0);
	assert_int_equal(ks.stats.n_scans, 1);
	for (unsigned i = 0; i < 550; i++)
		assert_int_equal(atoi(kernel.culled[i] + 1), i);
	stop();
}

static void what_is_used_after_the_scan_is_kept(void **state)
{
	populate(100);
	start(12);
	run_until(10);
	for (unsigned d = 0; d < 256; d++) {
		char path[128];

		snprintf(path, sizeof(path), "Infs,4.2,2,108/@%02x/D000010", d);
		if (is_there(path))
			use_at(path, 5000, 0);
		snprintf(path, sizeof(path), "Infs,4.2,2,108/@%02x/D000011", d);
		if (is_there(path))
			assert_int_equal(unlinkat(cachefd, path, 0), 0);
	}
	run_until(99);
	/* 11 was gone, 10 goes as the youngest of all */
	assert_int_equal(cull.total.n_gone, 1);
	assert_int_equal(cull.total.n_newer, 1);
	assert_string_equal(kernel.culled[10], "D000012");
	assert_string_equal(kernel.culled[98], "D000010");
	stop();
}

static void busy_objects_are_passed_over(void **state)
{
	populate(50);
	kernel.in_use[kernel.n_in_use++] = "D000000";
	kernel.in_use[kernel.n_in_use++] = "D000002";
	start(12);
	run_until(3);
	assert_string_equal(kernel.culled[0], "D000001");
	assert_string_equal(kernel.culled[1], "D000003");
	assert_string_equal(kernel.culled[2], "D000004");
	run_until_rest();
	assert_int_equal(kernel.n_culled, 48);
	assert_int_equal(cull_trouble(&cull), CULLER_TROUBLE_NONE); /* it did bring something */
	stop();
}

/* more objects in use than the table holds, all older than the free ones */
static void beyond_a_table_full_of_busy_ones(void **state)
{
	char *names[64];

	populate(200);
	for (unsigned i = 0; i < 60; i++) {
		assert_true(asprintf(&names[i], "D%06u", i) > 0);
		kernel.in_use[kernel.n_in_use++] = names[i];
	}
	start(4);
	run_until(100);
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(atoi(kernel.culled[i] + 1), 60 + i);
	stop();
	for (unsigned i = 0; i < 60; i++)
		free(names[i]);
}

static void equal_times_do_not_make_it_run_for_ever(void **state)
{
	char path[64];

	for (unsigned i = 0; i < 100; i++) {
		snprintf(path, sizeof(path), "Iv/@00/D%u", i);
		make_object(path, 1000, 0);
	}
	kernel.all_in_use = true;
	start(4);
	run_until_rest();
	assert_int_equal(cull_trouble(&cull), CULLER_TROUBLE_ALL_BUSY);
	kernel.all_in_use = false;
	now += 700000000000u;
	run_until(100);
	assert_int_equal(kernel.n_culled, 100);
	stop();
}

static void all_busy_rests_and_notices_one_release(void **state)
{
	struct cull_need need = {.is_wanted = true, .deficit_files = 1};
	uint64_t wait, scans, asked;

	populate(20);
	kernel.all_in_use = true;
	start(12);
	run_until_rest();
	assert_int_equal(cull_trouble(&cull), CULLER_TROUBLE_ALL_BUSY);
	/* left alone it tries after a second, then two, four, … a minute */
	for (uint64_t expect = 2; expect < 100; expect *= 2) {
		assert_int_equal(cull_step(&cull, &need, now, now, &wait), CULL_WAIT);
		assert_in_range(wait, 1, 61000000000);
		now += wait;
		run_until_rest();
	}
	assert_int_equal(cull_step(&cull, &need, now, now, &wait), CULL_WAIT);
	assert_true(wait > 50000000000);
	scans = ks.stats.n_scans;
	asked = kernel.n_asked;
	assert_true(scans < 12);
	/* one object is released: within 5 s */
	kernel.all_in_use = false;
	need.n_released = 1;
	assert_int_equal(cull_step(&cull, &need, now, now, &wait), CULL_WAIT);
	assert_true(wait <= 4000000000);
	need.n_released = 0;
	now += wait - 1;
	assert_int_equal(cull_step(&cull, &need, now, now, &wait), CULL_WAIT);
	assert_int_equal(kernel.n_asked, asked);
	now += 1;
	run_until(1);
	assert_int_equal(kernel.n_culled, 1);
	/* enough of them: sooner */
	kernel.all_in_use = true;
	run_until_rest();
	need.n_released = 5;
	assert_int_equal(cull_step(&cull, &need, now, now, &wait), CULL_WAIT);
	assert_true(wait <= 200000000);
	stop();
}

static void nothing_there(void **state)
{
	start(12);
	run_until_rest();
	assert_int_equal(cull_trouble(&cull), CULLER_TROUBLE_NOTHING_CULLABLE);
	stop();
}

static void errors_of_the_kernel(void **state)
{
	populate(20);
	kernel.all_eio = true;
	start(12);
	run_until_rest();
	assert_int_equal(cull_trouble(&cull), CULLER_TROUBLE_REFUSED);
	assert_int_equal(cull.total.n_failed, 20);
	assert_false(ks.is_dead);
	/* the same answer to everything: the cache is dead, and no more is asked */
	kernel.is_dead = true;
	now += 700000000000u;
	run_until_rest();
	assert_true(ks.is_dead);
	assert_int_equal(kernel.n_asked, 21);
	stop();
}

static void it_ends_when_it_is_enough(void **state)
{
	struct cull_need need = {.is_wanted = true, .deficit_files = 7, .deficit_bytes = 1};
	uint64_t wait;

	populate(400);
	start(12);
	while (cull_step(&cull, &need, now, now, &wait) != CULL_BATCH)
		;
	assert_int_equal(kernel.n_culled, 7); /* not one more than what was missing */
	need.deficit_files = 0;
	need.deficit_bytes = 3 * 4096;
	assert_int_equal(cull_step(&cull, &need, now, now, &wait), CULL_BATCH);
	assert_int_equal(kernel.n_culled, 10);
	need.deficit_bytes = 1u << 30; /* but never more than a batch without looking */
	assert_int_equal(cull_step(&cull, &need, now, now, &wait), CULL_BATCH);
	assert_int_equal(kernel.n_culled, 266);
	need.is_wanted = false;
	assert_int_equal(cull_step(&cull, &need, now, now, &wait), CULL_WAIT);
	assert_int_equal(cull.phase, CULLER_IDLE);
	assert_int_equal(kernel.n_culled, 266);
	assert_int_equal(cull.n_records, 266);
	/* the record is a ring: number 256 took the place of number 0 */
	assert_string_equal(cull.records[0].source, "kernel");
	assert_non_null(strstr(cull.records[0].label, "/D000256"));
	assert_non_null(strstr(cull.records[255].label, "/D000255"));
	stop();
}

static void no_older_than(void **state)
{
	struct cull_need need = {.is_wanted = true,
		.deficit_bytes = UINT64_MAX,
		.reason = "max-age",
		.older_than_ns = 1000500000000};
	uint64_t wait;

	for (int i = 0; i < 9; i++) {
		char path[64];

		snprintf(path, sizeof(path), "Iv/@00/D%d", i);
		make_object(path, 1000, i * 100000000);
	}
	start(12);
	while (cull_step(&cull, &need, now, now, &wait) != CULL_WAIT)
		;
	assert_int_equal(kernel.n_culled, 5);
	assert_string_equal(cull.records[4].reason, "max-age");
	stop();
}

static void aliens_and_empty_directories(void **state)
{
	make_object("Ilive/@00/D1", 1000, 0);
	make_dirs("Ilive/@01/x");
	make_dirs("Idead/@00/x");
	make_dirs("Idead/@ff/x");
	make_object("Inot-a-volume", 1, 0);
	make_dirs("alien/deep/x");
	make_object("alien/deep/file", 1, 0);
	make_object("Ilive/@00/data", 1, 0);
	assert_int_equal(mkfifoat(cachefd, "Dfifo", 0600), 0);
	assert_int_equal(symlinkat("../graveyard", cachefd, "Ilink"), 0);
	assert_int_equal(symlinkat("/", cachefd, "Ilive/@00/Tlink"), 0);
	assert_int_equal(mkdirat(cachefd, " blank", 0700), 0);
	assert_int_equal(mkdirat(cachefd, " blank/sub", 0700), 0);
	make_object("new\nline", 1, 0);
	/* the old format: indices in intermediate directories, an empty chain, an object directory */
	make_object("@4a/I03nfs/@12/J0123/@55/Eabc/data", 1500, 0);
	make_object("@4a/I03nfs/@12/J0123/@55/Dold", 900, 0);
	make_dirs("@4b/+longkey/x");
	start(12);
	run_until_rest();
	assert_int_equal(ks.stats.n_skipped, 0);
	assert_true(is_there("Ilive/@01")); /* the kernel keeps those with the volume */
	assert_false(is_there("Idead"));
	assert_false(is_there("Inot-a-volume"));
	assert_false(is_there("alien"));
	assert_false(is_there("Ilive/@00/data"));
	assert_false(is_there("Dfifo"));
	assert_false(is_there("Ilink"));
	assert_false(is_there("Ilive/@00/Tlink"));
	assert_false(is_there(" blank"));
	assert_false(is_there("new\nline"));
	assert_false(is_there("Ilive/@00/D1"));
	assert_false(is_there("@4a/I03nfs/@12/J0123/@55/Eabc"));
	assert_false(is_there("@4a/I03nfs/@12/J0123/@55/Dold"));
	assert_false(is_there("@4b/+longkey"));
	/* what became empty goes in later passes */
	for (int i = 0; i < 8; i++) {
		now += 700000000000u;
		run_until_rest();
	}
	assert_false(is_there("@4b"));
	assert_false(is_there("@4a"));
	assert_false(is_there("Ilive"));
	stop();
}

static void a_busy_volume_without_objects_stays(void **state)
{
	make_dirs("Ivolume/@00/x");
	kernel.in_use[kernel.n_in_use++] = "Ivolume";
	start(12);
	run_until_rest();
	assert_true(is_there("Ivolume/@00"));
	assert_int_equal(ks.stats.n_empty_dirs, 0);
	stop();
}

static void without_a_run_no_object_is_removed(void **state)
{
	uint64_t used;

	make_object("alien", 1, 0);
	make_object("Iv/@00/D1", 1000, 0);
	make_dirs("Idead/@00/x");
	start(12);
	while (ks.source.ops->oldest(&ks.source, &used) == CULL_OFFER_WORKING)
		;
	assert_int_equal(kernel.n_asked, 2);
	assert_true(is_there("Iv/@00/D1"));
	assert_int_equal(kernel_source_count(&ks), 1);
	assert_int_equal(ks.stats.n_objects, 1);
	assert_true(ks.stats.object_bytes > 0);
	assert_int_equal(ks.stats.n_aliens, 1);
	assert_int_equal(ks.stats.n_empty_dirs, 1);
	stop();
}

struct listed {
	unsigned n, max;
	uint64_t last;
};

static bool take_line(void *arg, uint64_t used_ns, uint64_t bytes, const char *label)
{
	struct listed *l = arg;
	const char *name = strrchr(label, '/');

	assert_non_null(name);
	assert_int_equal(atoi(name + 2), l->n);
	assert_true(used_ns > l->last);
	l->last = used_ns;
	return ++l->n < l->max;
}

static void dry_run_removes_nothing(void **state)
{
	struct listed l = {.max = 150};

	populate(200);
	make_object("alien", 1, 0);
	assert_int_equal(kernel_source_list(cachefd, 1000, NULL, take_line, &l), 0);
	assert_int_equal(l.n, 150);
	l = (struct listed){.max = 1000};
	assert_int_equal(kernel_source_list(cachefd, 20, NULL, take_line, &l), 0);
	assert_int_equal(l.n, 20);
	assert_int_equal(kernel.n_asked, 0);
	assert_true(is_there("alien"));
}

/* mounts need a mount namespace of their own: in a child, so that nothing is left behind */
static void child_with_mounts(void)
{
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		_exit(77);
	/* by path: a descriptor from before belongs to the namespace of before */
	if (chdir(top) < 0 || mount("other", "cache/Imounted", NULL, MS_BIND, NULL) < 0 ||
		mount("tmpfs", "cache/Iv/@01", "tmpfs", 0, NULL) < 0 ||
		mount("other/Dfile", "cache/Iv/@00/Dbound", NULL, MS_BIND, NULL) < 0)
		_exit(77);
	close(cachefd);
	cachefd = open("cache", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	make_object("Iv/@01/Dthere", 1, 0);
	start(12);
	run_until_rest();
	if (kernel.n_culled != 1 || strcmp(kernel.culled[0], "D1"))
		_exit(1);
	if (!is_there("Imounted/@00/Dforeign") || !is_there("Iv/@01/Dthere") ||
		!is_there("Iv/@00/Dbound") || ks.stats.n_skipped != 3)
		_exit(2);
	_exit(0);
}

static void mounts_are_left_alone(void **state)
{
	int status;
	pid_t pid;

	make_dirs("../other/@00/x");
	make_dirs("Imounted/x");
	make_object("../other/@00/Dforeign", 1, 0);
	make_object("../other/Dfile", 1, 0);
	make_object("Iv/@00/D1", 1000, 0);
	make_object("Iv/@00/Dbound", 1, 0);
	make_dirs("Iv/@01/x");
	pid = fork();
	if (!pid)
		child_with_mounts();
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		skip();
	assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(oldest_first_in_one_scan),
		T(a_small_table_takes_more_passes_in_the_same_order),
		T(long_names_go_in_order_too),
		T(what_is_used_after_the_scan_is_kept),
		T(busy_objects_are_passed_over),
		T(beyond_a_table_full_of_busy_ones),
		T(equal_times_do_not_make_it_run_for_ever),
		T(all_busy_rests_and_notices_one_release),
		T(nothing_there),
		T(errors_of_the_kernel),
		T(it_ends_when_it_is_enough),
		T(no_older_than),
		T(aliens_and_empty_directories),
		T(a_busy_volume_without_objects_stays),
		T(without_a_run_no_object_is_removed),
		T(dry_run_removes_nothing),
		T(mounts_are_left_alone),
	};

	log_set_level(LOG_ERR);
	return cmocka_run_group_tests_name("cull", tests, NULL, NULL);
}
