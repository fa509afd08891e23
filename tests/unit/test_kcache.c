// SPDX-License-Identifier: GPL-2.0-or-later
/* kcache against the fake device, and the fake device against the replies recorded from the real
 * module (kernels 6.1 and 6.12). Where the two disagree, the fake is wrong. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "cachefilesd/kcache.h"
#include "common/buf.h"
#include "common/cleanup.h"
#include "tests/lib/fakedev.h"

static struct fakedev fake;

static int setup(void **state)
{
	if (!fakedev_start(&fake))
		fake.top[0] = '\0'; /* every test skips */
	return 0;
}

static int teardown(void **state)
{
	fakedev_stop(&fake);
	return 0;
}

#define NEEDS_FAKE()                                                                               \
	do {                                                                                       \
		if (!*fake.top)                                                                    \
			skip();                                                                    \
	} while (0)

static int open_device(void)
{
	char reason[KCACHE_REASON];
	int fd = kcache_open(fake.device, reason);

	assert_true(fd >= 0);
	return fd;
}

/* What is said and what the module answers, in one open. %D is the directory of the cache. */
static void replies_as_recorded(void **state)
{
	static const struct {
		const char *text;
		int err;
	} rows[] = {
		{"nonsense", EOPNOTSUPP},
		{"BRUN 10%", EOPNOTSUPP},
		{" brun 10%", EOPNOTSUPP},
		{"nocull", EOPNOTSUPP},
		{"culltable 12", EOPNOTSUPP},
		{"\nbrun 10%", EINVAL},
		{"brun", EINVAL},
		{"brun 10", EINVAL},
		{"brun abc%", EINVAL},
		{"brun -1%", EINVAL},
		{"brun 0x10%", EINVAL},
		{"brun 10%x", EINVAL},
		{"brun 10% ", EINVAL},
		{"brun 5%", EINVAL}, /* cull is 5 */
		{"bcull 50%", EINVAL}, /* run is 7 */
		{"bcull 7%", EINVAL},
		{"brun 100%", EINVAL},
		{"bstop 5%", EINVAL},
		{"brun 10%", 0},
		{"brun   11%", 0},
		{"bcull 7%\nignored", 0},
		{"cull x", EIO}, /* before bind */
		{"inuse x", EIO},
		{"debug 7", 0},
		{"debug", 0},
		{"debug x", EINVAL},
		{"debug -1", EINVAL},
		{"secctx", EINVAL},
		{"secctx system_u:system_r:cachefiles_kernel_t:s0", ENOENT}, /* AppArmor */
		{"bind", EINVAL}, /* no dir */
		{"dir", EINVAL},
		{"tag", EINVAL},
		{"copen 1,2", EOPNOTSUPP},
		{"restore", EOPNOTSUPP},
		{"dir %D", 0},
		{"dir %D", EEXIST},
		{"tag one two", 0},
		{"tag again", EEXIST},
		{"bind x", EINVAL},
		{"bind ondemand", EINVAL},
		{"bind", 0},
		{"bind", EBUSY},
		{"brun 50%", 0}, /* accepted, changes nothing */
		{"cull", EIO},
		{"cull a/b", EINVAL},
		{"cull .", EIO},
		{"cull ..", EIO},
	};
	char text[256], big[4097];
	struct kcache kc;

	NEEDS_FAKE();
	kcache_init(&kc, open_device());
	assert_int_equal(read(kc.fd, text, sizeof(text)), 0); /* before bind */
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const char *p = strstr(rows[i].text, "%D");
		int r;

		snprintf(text, sizeof(text), "%.*s%s", p ? (int)(p - rows[i].text) : 255,
			rows[i].text, p ? fake.dir : "");
		r = kcache_command(&kc, "%s", text);
		if (r != -rows[i].err)
			fail_msg("'%s': %d, recorded %d", text, -r, rows[i].err);
	}
	memset(big, 'x', sizeof(big));
	assert_true(write(kc.fd, big, 4096) < 0 && errno == EOPNOTSUPP);
	assert_true(write(kc.fd, "tag\0x", 5) < 0 && errno == EINVAL);
	assert_true(open(fake.device, O_RDONLY | O_CLOEXEC) < 0 && errno == EBUSY);
	assert_int_equal(lseek(kc.fd, 0, SEEK_SET), 0);
	assert_true(read(kc.fd, text, 10) < 0 && errno == EMSGSIZE);
	assert_true(read(kc.fd, text, sizeof(text)) > 80);
	kcache_fini(&kc);
}

static struct kcache_config config(void)
{
	return (struct kcache_config){
		.dir = fake.dir, .tag = "mycache", .limits = {{10, 7, 3}, {11, 8, 4}}};
}

static void bind_it(struct kcache *kc)
{
	struct kcache_config cfg = config();
	char reason[KCACHE_REASON], path[128];
	struct buf warnings = {0};
	bool use_secctx;

	assert_int_equal(kcache_preflight(&cfg, &use_secctx, reason, &warnings), 0);
	buf_fini(&warnings);
	kcache_init(kc, open_device());
	assert_int_equal(kcache_bind(kc, &cfg, use_secctx, reason), 0);
	snprintf(path, sizeof(path), "%s/cache", fake.dir);
	assert_int_equal(kcache_set_dir(kc, open(path, O_PATH | O_DIRECTORY | O_CLOEXEC)), 0);
}

static void state_and_poll(void **state)
{
	struct kcache kc;
	struct kstate s;
	struct pollfd p;

	NEEDS_FAKE();
	bind_it(&kc);
	assert_int_equal(fakedev_control(&fake, "virtual 1000 1000"), 0);
	kcache_fini(&kc);
	bind_it(&kc);
	assert_int_equal(kcache_read_state(&kc, &s), 0);
	assert_true(s.is_bound && !s.cull && s.has_released);
	assert_int_equal(s.thresholds.blocks.run, 100);
	assert_int_equal(s.thresholds.blocks.stop, 30);
	assert_int_equal(s.thresholds.files.cull, 80);
	p = (struct pollfd){.fd = kc.fd, .events = POLLIN | POLLOUT};
	assert_int_equal(poll(&p, 1, 0), 0);
	/* culling begins: IN until read, OUT as long as it is wanted */
	assert_int_equal(fakedev_control(&fake, "free 69 1000"), 0);
	assert_int_equal(poll(&p, 1, 5000), 1);
	assert_int_equal(p.revents, POLLIN | POLLOUT);
	assert_int_equal(kcache_read_state(&kc, &s), 0);
	assert_true(s.cull);
	assert_int_equal(poll(&p, 1, 5000), 1);
	assert_int_equal(p.revents, POLLOUT);
	/* hysteresis: above cull is not enough */
	assert_int_equal(fakedev_control(&fake, "free 99 1000"), 0);
	assert_int_equal(kcache_read_state(&kc, &s), 0);
	assert_true(s.cull);
	assert_int_equal(fakedev_control(&fake, "free 100 1000"), 0);
	assert_int_equal(kcache_read_state(&kc, &s), 0);
	assert_false(s.cull);
	assert_int_equal(fakedev_control(&fake, "real"), 0);
	kcache_fini(&kc);
}

static void make_file(const char *name)
{
	char path[400];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", fake.dir, name);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	close(fd);
}

static void culling(void **state)
{
	struct kcache kc;
	struct kstate s;
	char path[400], cwd[128];
	int vol, out;

	NEEDS_FAKE();
	bind_it(&kc);
	snprintf(path, sizeof(path), "%s/cache/Iv", fake.dir);
	assert_int_equal(mkdir(path, 0700), 0);
	vol = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	make_file("cache/Iv/D1");
	make_file("cache/Iv/D2");
	make_file("cache/Iv/Dnew\nline");
	make_file("cache/Iv/ blank");
	make_file("outside");
	assert_int_equal(fakedev_control(&fake, "inuse Iv/D2"), 0);
	assert_int_equal(kcache_cull(&kc, vol, "D1"), KCACHE_DONE);
	assert_int_equal(kcache_cull(&kc, vol, "D1"), KCACHE_GONE);
	assert_int_equal(kcache_cull(&kc, vol, "D2"), KCACHE_BUSY);
	/* what the kernel would read as another name is never sent */
	assert_int_equal(kcache_cull(&kc, vol, "Dnew\nline"), KCACHE_REFUSED);
	assert_int_equal(kcache_cull(&kc, vol, " blank"), KCACHE_REFUSED);
	assert_int_equal(kcache_cull(&kc, vol, "a/b"), KCACHE_REFUSED);
	assert_int_equal(kcache_cull(&kc, vol, ".."), KCACHE_REFUSED);
	assert_int_equal(kcache_cull(&kc, vol, ""), KCACHE_REFUSED);
	assert_false(kcache_name_is_sendable("\xa0x"));
	assert_true(kcache_name_is_sendable("T1010001,,461e6463,b,"));
	/* another file system */
	out = open("/proc/self", O_PATH | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(kcache_cull(&kc, out, "stat"), KCACHE_REFUSED);
	close(out);
	/* release is counted once */
	assert_int_equal(fakedev_control(&fake, "release Iv/D2"), 0);
	assert_int_equal(kcache_read_state(&kc, &s), 0);
	assert_int_equal(s.n_released, 1);
	assert_int_equal(kcache_read_state(&kc, &s), 0);
	assert_int_equal(s.n_released, 0);
	/* a directory goes to the graveyard, with what is in it */
	assert_int_equal(kcache_cull(&kc, kc.cache_fd, "Iv"), KCACHE_DONE);
	assert_int_equal(access(path, F_OK), -1);
	close(vol);
	kcache_leave();
	assert_non_null(getcwd(cwd, sizeof(cwd)));
	assert_string_equal(cwd, "/");
	assert_int_equal(fakedev_counter(&fake, "culled"), 2);
	assert_int_equal(fakedev_counter(&fake, "violations"), 0);
	kcache_fini(&kc);
}

static void death_shows(void **state)
{
	struct kcache kc;

	NEEDS_FAKE();
	bind_it(&kc);
	assert_false(kcache_is_dead(&kc));
	make_file("cache/Deio");
	assert_int_equal(fakedev_control(&fake, "eio 1"), 0);
	assert_int_equal(kcache_cull(&kc, kc.cache_fd, "Deio"), -EIO);
	assert_false(kcache_is_dead(&kc)); /* this object alone */
	assert_int_equal(kcache_cull(&kc, kc.cache_fd, "Deio"), KCACHE_DONE);
	assert_int_equal(fakedev_control(&fake, "die"), 0);
	assert_true(kcache_is_dead(&kc));
	assert_int_equal(kcache_command(&kc, "debug 0"), -EIO);
	kcache_fini(&kc);
	bind_it(&kc); /* opened again it lives */
	assert_false(kcache_is_dead(&kc));
	kcache_fini(&kc);
}

static void the_holder_is_named(void **state)
{
	char reason[KCACHE_REASON], mine[32];
	int fd;

	NEEDS_FAKE();
	fd = open_device();
	assert_int_equal(kcache_open(fake.device, reason), -EBUSY);
	snprintf(mine, sizeof(mine), "(pid %d)", (int)getpid());
	assert_non_null(strstr(reason, mine));
	assert_non_null(strstr(reason, "errno 16"));
	close(fd);
	assert_int_equal(kcache_open("/nonexistent/cachefiles", reason), -ENOENT);
	assert_non_null(strstr(reason, "errno 2"));
}

static void preflight_expect(const char *dir, int err, const char *text)
{
	struct kcache_config cfg = {.dir = dir, .limits = LIMITS_DEFAULT};
	struct buf warnings = {0};
	char reason[KCACHE_REASON] = "";
	bool use_secctx;

	assert_int_equal(kcache_preflight(&cfg, &use_secctx, reason, &warnings), -err);
	if (!strstr(reason, text))
		fail_msg("'%s' does not contain '%s'", reason, text);
	buf_fini(&warnings);
}

static void preflight_says_what_to_do(void **state)
{
	struct kcache_config cfg = {.limits = LIMITS_DEFAULT, .secctx = "x:y:z:s0"};
	char dir[] = "/tmp/preflight.XXXXXX", path[160], reason[KCACHE_REASON];
	struct buf warnings = {0};
	bool use_secctx;
	int fd;

	assert_non_null(mkdtemp(dir));
	preflight_expect("/nonexistent-dir", ENOENT, "errno 2");
	preflight_expect("/nonexistent-dir", ENOENT, "create the directory");
	preflight_expect("/etc/passwd", ENOTDIR, "not a directory");
	preflight_expect("/proc", EOPNOTSUPP, "proc");
	preflight_expect("", EINVAL, "no dir");
	snprintf(path, sizeof(path), "%s/link", dir);
	assert_int_equal(symlink(dir, path), 0);
	preflight_expect(path, ENOTDIR, "symbolic link");
	if (access("/dev/shm", W_OK) == 0)
		preflight_expect("/dev/shm", EOPNOTSUPP, "tmpfs");
	/* nobody's SELinux: a warning, and the cache is bound without it */
	cfg.dir = dir;
	assert_int_equal(kcache_preflight(&cfg, &use_secctx, reason, &warnings), 0);
	if (access("/sys/fs/selinux/enforce", F_OK) < 0) {
		assert_false(use_secctx);
		assert_non_null(strstr(buf_str(&warnings), "secctx is skipped"));
	}
	buf_fini(&warnings);
	/* somebody's own directory that happens to be called cache */
	snprintf(path, sizeof(path), "%s/cache", dir);
	assert_int_equal(mkdir(path, 0700), 0);
	for (int i = 0; i < 5; i++) {
		snprintf(path, sizeof(path), "%s/cache/letter-%d.txt", dir, i);
		fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
		assert_true(fd >= 0);
		close(fd);
	}
	preflight_expect(dir, ENOTEMPTY, "is this the right directory");
	cfg.allow_foreign = true;
	assert_int_equal(kcache_preflight(&cfg, &use_secctx, reason, &warnings), 0);
	buf_fini(&warnings);
	for (int i = 0; i < 5; i++) {
		snprintf(path, sizeof(path), "%s/cache/letter-%d.txt", dir, i);
		unlink(path);
	}
	snprintf(path, sizeof(path), "%s/cache", dir);
	rmdir(path);
	snprintf(path, sizeof(path), "%s/link", dir);
	unlink(path);
	rmdir(dir);
}

static void a_failed_bind_is_explained(void **state)
{
	struct kcache_config cfg = config();
	char reason[KCACHE_REASON];
	struct kcache kc;

	NEEDS_FAKE();
	cfg.dir = "/nonexistent-dir";
	kcache_init(&kc, open_device());
	assert_int_equal(kcache_bind(&kc, &cfg, false, reason), -ENOENT);
	assert_non_null(strstr(reason, "errno 2"));
	assert_non_null(strstr(reason, "create it"));
	kcache_fini(&kc);
}

static void what_is_bound_is_compared(void **state)
{
	struct kcache_config a = {.dir = "/x", .tag = "t", .limits = LIMITS_DEFAULT}, b = a;
	struct buf bound = {0}, differences = {0};

	kcache_format_bound(&a, false, &bound);
	assert_true(kcache_has_limits(buf_str(&bound), &a.limits));
	assert_false(kcache_has_limits("", &a.limits));
	assert_int_equal(kcache_compare_bound(buf_str(&bound), &b, false, &differences), 0);
	b.secctx = "c"; /* skipped here, so no difference */
	assert_int_equal(kcache_compare_bound(buf_str(&bound), &b, false, &differences), 0);
	assert_int_equal(kcache_compare_bound(buf_str(&bound), &b, true, &differences), 1);
	b.dir = "/xy";
	b.limits.files.run = 9;
	assert_int_equal(kcache_compare_bound(buf_str(&bound), &b, false, &differences), 2);
	assert_non_null(strstr(buf_str(&differences), "dir: bound is '/x', configured is '/xy'"));
	assert_non_null(strstr(buf_str(&differences), "frun: bound is '7%'"));
	assert_true(kcache_compare_bound("", &b, false, &differences) >= 8);
	buf_fini(&bound);
	buf_fini(&differences);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(replies_as_recorded),
		cmocka_unit_test(state_and_poll),
		cmocka_unit_test(culling),
		cmocka_unit_test(death_shows),
		cmocka_unit_test(the_holder_is_named),
		cmocka_unit_test(preflight_says_what_to_do),
		cmocka_unit_test(a_failed_bind_is_explained),
		cmocka_unit_test(what_is_bound_is_compared),
	};

	return cmocka_run_group_tests_name("kcache", tests, setup, teardown);
}
