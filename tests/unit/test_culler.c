// SPDX-License-Identifier: GPL-2.0-or-later
/* The culling thread on the fake device: it culls by itself, names its troubles within 5 s, gets
 * over them, brings a dead cache back, and answers the door thread. Time is real here. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "cachefilesd/culler.h"
#include "cachefilesd/kcache.h"
#include "common/buf.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "tests/lib/fakedev.h"

static struct fakedev fake;
static struct culler *culler;
static struct culler_config cfg;

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static int setup(void **state)
{
	if (!fakedev_start(&fake))
		fake.top[0] = '\0';
	culler = NULL;
	return 0;
}

static int teardown(void **state)
{
	culler = culler_stop(culler);
	fakedev_stop(&fake);
	return 0;
}

#define NEEDS_FAKE()                                                                               \
	do {                                                                                       \
		if (!*fake.top)                                                                    \
			skip();                                                                    \
	} while (0)

/* A pretended file system of @blocks and @files, @free of each free; bound with 10/7/3 percent */
static void start(unsigned total, unsigned free_n)
{
	const struct limits limits = {{10, 7, 3}, {10, 7, 3}};
	struct culler_fds fds;
	char reason[KCACHE_REASON], path[160];
	struct kcache kc;

	cfg = (struct culler_config)CULLER_CONFIG_DEFAULT;
	cfg.kernel.dir = fake.dir;
	cfg.kernel.limits = limits;
	cfg.device = fake.device;
	assert_int_equal(fakedev_control(&fake, "virtual %u %u", total, total), 0);
	kcache_init(&kc, kcache_open(fake.device, reason));
	assert_int_equal(kcache_bind(&kc, &cfg.kernel, false, reason), 0);
	assert_int_equal(fakedev_control(&fake, "free %u %u", total, free_n), 0);
	fds.device = kc.fd;
	fds.root = open(fake.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	snprintf(path, sizeof(path), "%s/cache", fake.dir);
	fds.cache = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	snprintf(path, sizeof(path), "%s/graveyard", fake.dir);
	fds.graveyard = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(culler_start(&culler, &cfg, fds, NULL, 0, NULL), 0);
}

/* Objects D<i>, used at second 1000 + i, over the fan-out of a volume */
static void populate(unsigned first, unsigned n)
{
	char path[200];
	const char *parts[] = {"cache", "cache/Iv"};

	for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
		snprintf(path, sizeof(path), "%s/%s", fake.dir, parts[i]);
		mkdir(path, 0700);
	}
	for (unsigned i = first; i < first + n; i++) {
		struct timespec t[2] = {{.tv_sec = 1000 + i}, {.tv_nsec = UTIME_OMIT}};
		int fd;

		snprintf(path, sizeof(path), "%s/cache/Iv/@%02x", fake.dir, i * 37 % 256);
		mkdir(path, 0700);
		snprintf(path, sizeof(path), "%s/cache/Iv/@%02x/D%u", fake.dir, i * 37 % 256, i);
		fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0);
		assert_true(fd >= 0);
		assert_int_equal(futimens(fd, t), 0);
		close(fd);
	}
}

static bool object_exists(unsigned i)
{
	char path[200];

	snprintf(path, sizeof(path), "%s/cache/Iv/@%02x/D%u", fake.dir, i * 37 % 256, i);
	return access(path, F_OK) == 0;
}

static bool condition(const struct culler_status *s, const char *what)
{
	if (!strcmp(what, "idle"))
		return s->phase == CULLER_IDLE && !s->culling_wanted && s->n_scans > 0;
	if (!strcmp(what, "over"))
		return s->n_cull_runs > 0 && !s->culling_wanted && s->phase == CULLER_IDLE;
	if (!strcmp(what, "bound-again"))
		return s->is_bound && s->n_rebinds > 0 && s->trouble == CULLER_TROUBLE_NONE;
	for (int t = 0; t < CULLER_N_TROUBLES; t++)
		if (!strcmp(what, culler_trouble_name((enum culler_trouble)t)))
			return s->trouble == (enum culler_trouble)t;
	fail_msg("no condition %s", what);
	return false;
}

/* Wait until the status is so; returns the milliseconds that it took, fails after @max_ms. */
static uint64_t wait_until(const char *what, uint64_t max_ms)
{
	const struct timespec pause = {.tv_nsec = 2000000};
	uint64_t started = now_ms();
	struct culler_status s;

	for (;;) {
		culler_get_status(culler, &s);
		if (condition(&s, what))
			return now_ms() - started;
		if (now_ms() - started > max_ms)
			fail_msg("not %s after %llu ms: phase %s trouble %s (%s) culled %llu", what,
				(unsigned long long)max_ms, culler_phase_name(s.phase),
				culler_trouble_name(s.trouble), s.sentence,
				(unsigned long long)s.n_culled);
		nanosleep(&pause, NULL);
	}
}

static void culls_exactly_until_the_flag_falls(void **state)
{
	struct culler_status s;

	NEEDS_FAKE();
	populate(0, 200);
	start(1000, 100);
	wait_until("idle", 5000);
	culler_get_status(culler, &s);
	assert_int_equal(s.n_culled, 0);
	assert_int_equal(s.n_objects, 200); /* it has looked around */
	assert_int_equal(s.n_candidates, 200);
	/* 69 of 1000 free: down to 100, so the 31 oldest go and no more */
	assert_int_equal(fakedev_control(&fake, "free 1000 69"), 0);
	wait_until("over", 5000);
	culler_get_status(culler, &s);
	assert_int_equal(s.n_culled, 31);
	assert_int_equal(s.n_scans, 1);
	for (unsigned i = 0; i < 200; i++)
		assert_int_equal(object_exists(i), i >= 31);
	assert_int_equal(fakedev_counter(&fake, "violations"), 0);
}

static void submit_and_wait(struct culler_request *rq);

static void all_busy_has_a_name_and_ends_on_release(void **state)
{
	struct culler_request impossible = {.kind = CULLER_REQ_FREE, .bytes = UINT64_MAX};
	struct culler_status s;
	struct rusage before, after;
	uint64_t ms, reads;
	struct timespec second = {.tv_sec = 2};

	NEEDS_FAKE();
	populate(0, 100);
	assert_int_equal(fakedev_control(&fake, "inuse-all"), 0);
	start(1000, 50);
	wait_until("all-busy", 5000);
	culler_get_status(culler, &s);
	assert_non_null(strstr(s.sentence, "all 100 objects that could go are in use"));
	/* who asks for more meanwhile is not kept waiting */
	submit_and_wait(&impossible);
	assert_int_equal(impossible.status, -ENOSPC);
	/* cheap while it waits */
	getrusage(RUSAGE_SELF, &before);
	reads = fakedev_counter(&fake, "reads");
	nanosleep(&second, NULL);
	getrusage(RUSAGE_SELF, &after);
	assert_true(fakedev_counter(&fake, "reads") - reads < 20);
	assert_true((after.ru_utime.tv_sec - before.ru_utime.tv_sec) * 1000000 +
			    after.ru_utime.tv_usec - before.ru_utime.tv_usec <
		    100000);
	assert_int_equal(fakedev_control(&fake, "release-all"), 0);
	ms = wait_until("none", 5000);
	assert_true(ms < 5000);
	wait_until("over", 5000);
	culler_get_status(culler, &s);
	assert_int_equal(s.n_culled, 50);
	assert_int_equal(s.trouble_count[CULLER_TROUBLE_ALL_BUSY], 1);
}

/* the old daemon waited for five of them, and a full cache releases none (row 1 of the complaints) */
static void one_released_object_is_culled_within_5_s(void **state)
{
	const struct timespec pause = {.tv_nsec = 10000000};
	uint64_t started;

	NEEDS_FAKE();
	populate(0, 20);
	start(1000, 1000);
	wait_until("idle", 5000);
	for (unsigned i = 0; i < 20; i++)
		assert_int_equal(fakedev_control(&fake, "inuse Iv/@%02x/D%u", i * 37 % 256, i), 0);
	assert_int_equal(fakedev_control(&fake, "free 1000 20"), 0);
	wait_until("all-busy", 5000);
	started = now_ms();
	assert_int_equal(fakedev_control(&fake, "release Iv/@%02x/D%u", 7 * 37 % 256, 7), 0);
	while (object_exists(7) && now_ms() - started < 6000)
		nanosleep(&pause, NULL);
	assert_true(now_ms() - started < 5000);
	assert_true(object_exists(6) && object_exists(8));
}

static void nothing_to_cull_has_another_name(void **state)
{
	struct culler_status s;

	NEEDS_FAKE();
	start(1000, 20);
	wait_until("nothing-cullable", 5000);
	culler_get_status(culler, &s);
	assert_non_null(strstr(s.sentence, "held by the kernel"));
	populate(0, 100); /* what was unnamed comes into sight, without any release being counted */
	culler_wake(culler);
	wait_until("over", 10000);
}

static void a_dead_cache_is_brought_back(void **state)
{
	struct culler_status s;

	NEEDS_FAKE();
	populate(0, 100);
	start(1000, 1000);
	wait_until("idle", 5000);
	assert_int_equal(fakedev_control(&fake, "die"), 0);
	wait_until("bound-again", 5000);
	culler_get_status(culler, &s);
	assert_int_equal(s.trouble_count[CULLER_TROUBLE_CACHE_DEAD], 1);
	assert_int_equal(fakedev_counter(&fake, "binds"), 2);
	assert_int_equal(fakedev_counter(&fake, "bound"), 1);
	/* and it works as before */
	assert_int_equal(fakedev_control(&fake, "free 1000 60"), 0);
	wait_until("over", 5000);
	assert_false(object_exists(0));
	assert_true(object_exists(40));
}

static void one_bad_object_is_skipped(void **state)
{
	struct culler_status s;

	NEEDS_FAKE();
	populate(0, 100);
	assert_int_equal(fakedev_control(&fake, "eio 3"), 0);
	start(1000, 60);
	wait_until("over", 5000);
	culler_get_status(culler, &s);
	assert_int_equal(s.n_culled, 40);
	assert_int_equal(s.n_failed, 3);
	assert_int_equal(s.n_rebinds, 0);
	assert_true(object_exists(0) && object_exists(2) && !object_exists(3));
}

static unsigned n_done;

static void on_done(struct culler_request *rq)
{
	n_done++;
}

static void submit_and_wait(struct culler_request *rq)
{
	struct pollfd p = {.fd = culler_event_fd(culler), .events = POLLIN};
	unsigned before = n_done;
	uint64_t started = now_ms();

	rq->done = on_done;
	culler_submit(culler, rq);
	while (n_done == before) {
		assert_true(now_ms() - started < 10000);
		poll(&p, 1, 1000);
		culler_dispatch(culler);
	}
}

static void requests_are_answered(void **state)
{
	struct culler_request dry = {.kind = CULLER_REQ_DRY_RUN, .max_lines = 10},
			      evictions = {.kind = CULLER_REQ_EVICTIONS},
			      impossible = {.kind = CULLER_REQ_FREE, .bytes = UINT64_MAX};
	struct culler_status s;

	NEEDS_FAKE();
	populate(0, 100);
	start(1000, 1000);
	wait_until("idle", 5000);
	submit_and_wait(&dry);
	assert_int_equal(dry.status, 0);
	assert_int_equal(dry.n_lines, 10);
	for (unsigned i = 0; i < 10; i++) {
		char label[40];

		snprintf(label, sizeof(label), "Iv/@%02x/D%u", i * 37 % 256, i);
		assert_string_equal(dry.lines[i].label, label);
		assert_string_equal(dry.lines[i].source, "kernel");
	}
	free(dry.lines);
	assert_int_equal(fakedev_counter(&fake, "culled"), 0);
	/* more than there is: everything goes, and the answer says that it was not enough */
	submit_and_wait(&impossible);
	assert_int_equal(impossible.status, -ENOSPC);
	assert_int_equal(impossible.n_objects, 100);
	submit_and_wait(&evictions);
	assert_int_equal(evictions.n_lines, 100);
	assert_string_equal(evictions.lines[0].reason, "asked");
	assert_string_equal(evictions.lines[99].label, "Iv/@00/D0");
	free(evictions.lines);
	wait_until("idle", 5000);
	culler_get_status(culler, &s);
	assert_false(s.culling_wanted);
}

static void reload_applies_what_it_can(void **state)
{
	struct culler_config changed;
	struct buf needs = {0};
	struct culler_status s;

	NEEDS_FAKE();
	populate(0, 100);
	start(1000, 60);
	changed = cfg;
	changed.no_cull = true;
	/* may already have begun; what matters is that nocull stops it for good */
	assert_int_equal(culler_reload(culler, &changed, &needs), 0);
	wait_until("idle", 5000);
	assert_int_equal(fakedev_control(&fake, "free 1000 20"), 0);
	culler_get_status(culler, &s);
	changed.culltable = 13;
	changed.kernel.tag = "other";
	assert_int_equal(culler_reload(culler, &changed, &needs), 2);
	assert_string_equal(buf_str(&needs), "tag\nculltable\n");
	buf_fini(&needs);
	changed = cfg;
	assert_int_equal(culler_reload(culler, &changed, &needs), 0);
	wait_until("over", 5000);
	buf_fini(&needs);
}

static void ours_for_size_and_age(void **state)
{
	struct culler_config changed;
	struct buf needs = {0};
	uint64_t started;
	struct timespec pause = {.tv_nsec = 10000000};

	NEEDS_FAKE();
	populate(0, 100);
	start(1000, 1000);
	wait_until("idle", 5000);
	changed = cfg;
	/* older than the object number 50 */
	changed.kernel_max_age_ns = (uint64_t)(time(NULL) - 1050) * 1000000000u + 500000000u;
	assert_int_equal(culler_reload(culler, &changed, &needs), 0);
	started = now_ms();
	while (object_exists(49) && now_ms() - started < 8000)
		nanosleep(&pause, NULL);
	assert_false(object_exists(49));
	wait_until("idle", 5000);
	assert_true(object_exists(52));
	buf_fini(&needs);
}

static void without_a_kernel(void **state)
{
	struct culler_fds fds = {-1, -1, -1, -1};
	struct culler_status s;
	struct statvfs v;
	char dir[] = "/tmp/test_culler.XXXXXX";

	assert_non_null(mkdtemp(dir));
	cfg = (struct culler_config)CULLER_CONFIG_DEFAULT;
	cfg.kernel.dir = dir;
	cfg.no_kernel = true;
	fds.root = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(fstatvfs(fds.root, &v), 0);
	/* limits that are surely broken: nothing can be culled, and that is said */
	cfg.kernel.limits = (struct limits){{99, 98, 0}, {7, 5, 1}};
	assert_int_equal(culler_start(&culler, &cfg, fds, NULL, 0, NULL), 0);
	if (v.f_bavail < v.f_blocks / 100 * 98) {
		wait_until("nothing-cullable", 5000);
		culler_get_status(culler, &s);
		assert_true(s.culling_wanted && !s.has_kernel && !s.is_bound);
		assert_int_equal(s.thresholds.blocks.run, v.f_blocks / 100 * 99);
	}
	culler = culler_stop(culler);
	rmdir(dir);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(culls_exactly_until_the_flag_falls),
		T(all_busy_has_a_name_and_ends_on_release),
		T(one_released_object_is_culled_within_5_s),
		T(nothing_to_cull_has_another_name),
		T(a_dead_cache_is_brought_back),
		T(one_bad_object_is_skipped),
		T(requests_are_answered),
		T(reload_applies_what_it_can),
		T(ours_for_size_and_age),
		T(without_a_kernel),
	};

	log_set_level(LOG_ERR);
	return cmocka_run_group_tests_name("culler", tests, NULL, NULL);
}
