/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_store_faults.c — every write, sync and rename of the store fails once (EIO, ENOSPC, short),
 * and every allocation: no crash, no lie; what was acknowledged is there after a restart.
 */
#include "tests/unit/store_fixture.h"
#include "tests/lib/oom.h"

#include <sched.h>
#include <stdatomic.h>
#include <sys/syscall.h>

#include "cachefilesd/fsck.h"

/* ---- system calls that can be made to fail: these replace libc's in this program ------------- */

static atomic_uint calls;
static unsigned fail_at;
static int fail_with; /* errno; 0 = a short write */

static bool fails(void)
{
	return fail_at && atomic_fetch_add(&calls, 1) + 1 == fail_at;
}

#define FAULTY(type, name, number, parameters, ...)                                                \
	type name parameters;                                                                      \
	type name parameters                                                                       \
	{                                                                                          \
		if (fails() && fail_with) {                                                        \
			errno = fail_with;                                                         \
			return -1;                                                                 \
		}                                                                                  \
		return (type)syscall(number, __VA_ARGS__);                                         \
	}

FAULTY(int, fdatasync, SYS_fdatasync, (int fd), fd)
FAULTY(int, fsync, SYS_fsync, (int fd), fd)
FAULTY(int, ftruncate, SYS_ftruncate, (int fd, off_t n), fd, n)
FAULTY(int, fallocate, SYS_fallocate, (int fd, int mode, off_t at, off_t n), fd, mode, at, n)
FAULTY(int, mkdirat, SYS_mkdirat, (int d, const char *p, mode_t m), d, p, m)
FAULTY(int, fchmod, SYS_fchmod, (int fd, mode_t m), fd, m)
FAULTY(int, renameat, SYS_renameat, (int a, const char *f, int b, const char *t), a, f, b, t)

ssize_t pwrite(int fd, const void *p, size_t n, off_t at)
{
	if (fails()) {
		if (fail_with) {
			errno = fail_with;
			return -1;
		}
		n = n > 1 ? n / 2 : n;
	}
	return (ssize_t)syscall(SYS_pwrite64, fd, p, n, at);
}

FAULTY(int, unlinkat, SYS_unlinkat, (int d, const char *p, int flags), d, p, flags)

/* a disk that takes its time: writing a time of use waits until it is told to go on */
static atomic_bool stamps_wait, stamp_waits;

int utimensat(int dir, const char *path, const struct timespec ts[2], int flags)
{
	while (atomic_load(&stamps_wait)) {
		atomic_store(&stamp_waits, true);
		sched_yield();
	}
	return (int)syscall(SYS_utimensat, dir, path, ts, flags);
}

/* ---- what happens meanwhile ------------------------------------------------------------------ */

static void no_finding(void *arg, const struct fsck_finding *f)
{
	fail_msg("%s %s: %s", f->kind, f->name, f->problem);
}

struct outcome {
	enum store_status put, pin, del, put2, resume;
};

static enum store_status change(struct fixture *f, bool pin, const char *id)
{
	static struct call call, *const c = &call; /* no allocation of ours */
	enum store_status st;

	if (pin)
		CALL(f, c, store_pin, id, true);
	else
		CALL(f, c, store_delete, id);
	st = c->r.status;
	return st;
}

/* as put_task(), but whatever fails ends it */
static enum store_status try_put(struct fixture *f, const char *id)
{
	struct store_create cr = {.length = 10, .reserve_bytes = 10, .piece_length = 4096};
	struct store_piece p = {0, digest_crc32(0, "0123456789", 10)};
	uint8_t print[STORE_FPRINT_SIZE] = {1};
	static struct call call, *const c = &call;
	enum store_status st;
	uint32_t lease;

	cr.uid = getuid();
	CALL(f, c, store_create, &cr);
	st = c->r.status;
	lease = c->r.lease;
	if (!st) {
		assert_int_equal(syscall(SYS_pwrite64, c->r.data_fd, "0123456789", 10, 0), 10);
		call_close(c);
		CALL(f, c, store_pieces, lease, &p, 1);
		st = c->r.status;
	}
	if (!st) {
		CALL(f, c, store_commit, lease, id, print, NULL, 0);
		st = c->r.status;
	}
	return st;
}

/* begun, left, taken up and committed; another one begun and given up */
static enum store_status try_resume(struct fixture *f, const char *id)
{
	struct store_create cr = {
		.length = 10, .reserve_bytes = 20, .piece_length = 4096, .generation = 7};
	struct store_piece p = {0, digest_crc32(0, "0123456789", 10)};
	uint8_t print[STORE_FPRINT_SIZE] = {2}, token[STORE_TOKEN_SIZE];
	static struct call call, *const c = &call;
	enum store_status st;
	uint32_t lease;

	cr.uid = getuid();
	cr.id = "given up";
	CALL(f, c, store_create, &cr);
	lease = c->r.lease;
	if (c->r.status == STORE_OK) {
		call_close(c);
		CALL(f, c, store_abort, lease);
	}
	cr.id = id;
	CALL(f, c, store_create, &cr);
	st = c->r.status;
	lease = c->r.lease;
	if (!st) {
		memcpy(token, c->r.token, sizeof(token));
		assert_int_equal(syscall(SYS_pwrite64, c->r.data_fd, "0123456789", 10, 0), 10);
		call_close(c);
		CALL(f, c, store_pieces, lease, &p, 1);
		st = c->r.status;
		CALL(f, c, store_release, lease);
	}
	if (!st) {
		CALL(f, c, store_attach, token);
		st = c->r.status;
		lease = c->r.lease;
		call_close(c);
	}
	if (!st) {
		assert_int_equal(c->r.info.n_present, 1);
		CALL(f, c, store_commit, lease, id, print, NULL, 0);
		st = c->r.status;
	}
	return st;
}

/* everything that a client can ask for; what fails, fails */
static void converse(struct fixture *f, struct outcome *o)
{
	static struct call call, *const c = &call;
	uint32_t lease;

	o->put = try_put(f, "a");
	o->pin = change(f, true, "a");
	o->resume = try_resume(f, "r");
	CALL(f, c, store_open, "a");
	if (c->r.status == STORE_OK) {
		lease = c->r.lease;
		call_close(c);
		CALL(f, c, store_release, lease);
	}
	CALL(f, c, store_set_attrs, "a", "xyz", 3);
	CALL(f, c, store_extend, "a", f->wall_ns + 1000 * SEC);
	CALL(f, c, store_touch, "a");
	CALL(f, c, store_list, 0);
	o->put2 = try_put(f, "b");
	o->del = change(f, false, "b");
}

static void run_and_check(struct fixture *f, bool *hit)
{
	struct fsck_result result;
	struct call *c = malloc(sizeof(*c));
	struct outcome o;
	char reason[FSCK_REASON];

	atomic_store(&calls, 0);
	converse(f, &o);
	*hit = atomic_load(&calls) >= fail_at;
	fail_at = 0;
	/* the same again must work: nothing was left in the way */
	if (o.put)
		assert_true(try_put(f, "a") <= STORE_EXISTS_SAME);
	if (o.put2 || o.del)
		assert_true(try_put(f, "b") <= STORE_EXISTS_SAME);
	fixture_stop(f);
	assert_int_equal(fsck_run(f->dirfd, false, no_finding, NULL, &result, reason), 0);
	assert_int_equal(result.n_problems, 0);
	fixture_start(f);
	fixture_connect(f);
	CALL(f, c, store_stat, "a");
	assert_int_equal(c->r.status, STORE_OK);
	assert_true(c->r.info.pinned || o.pin || o.put);
	CALL(f, c, store_stat, "b");
	assert_int_equal(c->r.status, o.put2 || o.del ? STORE_OK : STORE_NOT_FOUND);
	CALL(f, c, store_stat, "r");
	assert_true(o.resume || c->r.status == STORE_OK);
	free(c);
}

static void every_call_fails_once(void **state)
{
	static const int errors[] = {EIO, ENOSPC, 0};
	unsigned n_points = 0;

	for (size_t e = 0; e < ARRAY_SIZE(errors); e++) {
		bool hit = true;

		for (unsigned n = 1; hit; n++) {
			struct fixture *f = fixture_ready();

			fail_with = errors[e];
			fail_at = n;
			run_and_check(f, &hit);
			n_points += hit;
			fixture_free(f);
		}
	}
	print_message("# %u points\n", n_points);
	assert_true(n_points > 60);
}

static uint64_t atime_of(struct fixture *f, const char *id)
{
	char path[200];
	struct stat st;

	snprintf(path, sizeof(path), "%s/pieces/tasks/%02x/%s/data", f->dir,
		digest_crc32(0, id, strlen(id)) & 0xff, id);
	assert_int_equal(stat(path, &st), 0);
	return (uint64_t)st.st_atim.tv_sec * SEC + (uint64_t)st.st_atim.tv_nsec;
}

/* making the store: it says what failed, and the next start finds nothing in its way */
static void every_call_of_a_start_fails_once(void **state)
{
	static const int errors[] = {EIO, ENOSPC, 0};

	for (size_t e = 0; e < ARRAY_SIZE(errors); e++) {
		bool hit = true;

		for (unsigned n = 1; hit; n++) {
			struct fixture *f = fixture_new();
			char reason[256] = "";
			struct depot *d;
			int rc;

			fail_with = errors[e];
			atomic_store(&calls, 0);
			fail_at = n;
			rc = depot_new(&d, f->dirfd, &f->set, NULL, reason);
			hit = atomic_load(&calls) >= n;
			fail_at = 0;
			if (!rc)
				depot_free(d);
			else
				assert_true(reason[0] && strstr(reason, "pieces"));
			assert_true(rc == 0 || (hit && rc == -errors[e]));
			assert_int_equal(depot_new(&d, f->dirfd, &f->set, NULL, reason), 0);
			depot_free(d);
			fixture_free(f);
		}
	}
}

/* a cull: what could not be moved is here still, what could not be deleted is gone all the same */
static void every_call_of_a_removal_fails_once(void **state)
{
	bool hit = true;

	for (unsigned n = 1; hit; n++) {
		struct fixture *f = fixture_ready();
		struct cull_source *s = &f->depot->source;
		uint64_t used, freed, bytes;
		enum cull_outcome o;
		struct store_info info;
		char label[200];

		assert_int_equal(try_put(f, "a"), STORE_OK);
		bytes = f->depot->task_bytes;
		s->ops->begin(s);
		assert_int_equal(s->ops->oldest(s, &used), CULL_OFFER_READY);
		assert_int_equal(s->ops->recheck(s), CULL_FREED);
		fail_with = EIO;
		atomic_store(&calls, 0);
		fail_at = n;
		o = s->ops->remove(s, &freed, label, sizeof(label));
		hit = atomic_load(&calls) >= n;
		fail_at = 0;
		assert_int_equal(o, hit ? CULL_FAILED : CULL_FREED);
		assert_true(hit ? freed == 0 : freed >= bytes);
		if (depot_info(f->depot, "a", &info)) {
			assert_true(hit);
			assert_int_equal(f->depot->task_bytes, bytes);
			assert_int_equal(s->ops->oldest(s, &used), CULL_OFFER_NONE);
			s->ops->begin(s); /* the next run tries again */
			assert_int_equal(s->ops->oldest(s, &used), CULL_OFFER_READY);
		} else {
			assert_int_equal(f->depot->task_bytes + f->depot->n_tasks, 0);
			assert_int_equal(try_put(f, "a"), STORE_OK);
		}
		s->ops->end(s);
		fixture_free(f);
		assert_true(n < 20);
	}
}

static void opens_do_not_wait_for_times_of_use(void **state)
{
	struct fixture *f = fixture_ready();
	struct call *c = malloc(sizeof(*c));
	uint32_t lease;
	uint64_t until;

	assert_int_equal(try_put(f, "a"), STORE_OK);
	assert_int_equal(try_put(f, "b"), STORE_OK);
	atomic_store(&stamps_wait, true);
	f->wall_ns += 5 * SEC;
	CALL(f, c, store_touch, "a");
	while (!atomic_load(&stamp_waits))
		assert_int_equal(loop_step(f->loop, SEC / 100), 0);
	/* others are served, and the time when it would be written again comes and goes */
	f->wall_ns += 5 * SEC;
	until = loop_now(f->loop) + SEC / 3;
	while (loop_now(f->loop) < until) {
		CALL(f, c, store_open, "b");
		assert_int_equal(c->r.status, STORE_OK);
		call_close(c);
		lease = c->r.lease;
		CALL(f, c, store_release, lease);
	}
	atomic_store(&stamps_wait, false);
	while (atime_of(f, "b") != f->wall_ns)
		assert_int_equal(loop_step(f->loop, SEC / 100), 0);
	assert_int_equal(atime_of(f, "a"), f->wall_ns - 5 * SEC);
	/* what was not written yet is when we stop */
	f->wall_ns += SEC;
	CALL(f, c, store_touch, "a");
	fixture_stop(f);
	assert_int_equal(atime_of(f, "a"), f->wall_ns);
	free(c);
	fixture_free(f);
}

static void every_allocation_fails_once(void **state)
{
	struct fixture *f = fixture_ready();
	char reason[256], id[8];

	for (int i = 0; i < 5; i++) {
		snprintf(id, sizeof(id), "t%d", i);
		assert_int_equal(try_put(f, id), STORE_OK);
	}
	fixture_stop(f);
	/* reading the store */
	OOM_FOR_EACH(n)
	{
		struct depot *d;
		int rc = depot_new(&d, f->dirfd, &f->set, &f->world, reason);

		oom_stop();
		assert_true(rc == 0 || rc == -ENOMEM);
		if (!rc) {
			assert_int_equal(d->n_tasks, 5);
			depot_free(d);
		}
	}
	/* using it */
	fixture_start(f);
	OOM_FOR_EACH(n)
	{
		uint8_t print[STORE_FPRINT_SIZE] = {3};
		struct record r = {.info = {.state = STORE_PARTIAL, .uid = n}};
		struct store_info info;
		struct partial *p = NULL;
		struct task *k = NULL;
		int rc = depot_add_partial(f->depot, &r, 10, &p);
		enum store_status st =
			rc ? STORE_IO : depot_commit_begin(f->depot, "new", print, &k, &info);

		oom_stop();
		assert_true(rc == 0 || rc == -ENOMEM);
		if (!rc && !st)
			depot_commit_end(f->depot, k, p, NULL, 0);
		if (!rc)
			assert_int_equal(depot_drop_partial(f->depot, p), 0);
		assert_int_equal(f->depot->n_tasks, 5);
		assert_int_equal(f->depot->partial_bytes, 0);
		assert_false(depot_info(f->depot, "new", &info));
	}
	fixture_free(f);
}

/* in the server, its workers and the client: all in this process */
static void every_allocation_of_a_conversation_fails_once(void **state)
{
	struct fixture *f = fixture_ready();
	unsigned n_points = 0;

	oom_everywhere(true);
	OOM_FOR_EACH(n)
	{
		static struct call call, *const c = &call;
		struct outcome o = {0};

		converse(f, &o);
		oom_stop();
		n_points += oom_hit();
		/* whoever was dropped comes back */
		do {
			CALL(f, c, store_list, 0);
		} while (c->r.status != STORE_OK);
		if (!o.put || o.put == STORE_EXISTS_SAME) {
			CALL(f, c, store_stat, "a");
			assert_int_equal(c->r.status, STORE_OK);
			assert_true(c->r.info.pinned || o.pin);
		}
		CALL(f, c, store_stat, "b");
		assert_true(o.del || c->r.status == STORE_NOT_FOUND);
		CALL(f, c, store_stat, "r");
		assert_true(o.resume || c->r.status == STORE_OK);
		assert_int_equal(f->depot->promised_bytes, 0);
		/* the next round begins from nothing, so nothing is in the way */
		assert_true(change(f, false, "a") <= STORE_NOT_FOUND);
		assert_true(change(f, false, "b") <= STORE_NOT_FOUND);
		assert_true(change(f, false, "r") <= STORE_NOT_FOUND);
	}
	oom_everywhere(false);
	print_message("# %u allocations\n", n_points);
	assert_true(n_points > 40 || !oom_works());
	fixture_free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_call_fails_once),
		cmocka_unit_test(opens_do_not_wait_for_times_of_use),
		cmocka_unit_test(every_call_of_a_start_fails_once),
		cmocka_unit_test(every_call_of_a_removal_fails_once),
		cmocka_unit_test(every_allocation_fails_once),
		cmocka_unit_test(every_allocation_of_a_conversation_fails_once),
	};
	fixture_in_memory();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
