// SPDX-License-Identifier: GPL-2.0-or-later
#include "cachefilesd/kernel_source.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "cachefilesd/objname.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "common/path.h"

/* A table stays good until it is drained, since what was used meanwhile is found out; but objects
 * come into sight late (their kernel time is up to 20 s older than their name), so it is made anew
 * after this long, or 50 times as long as the scan took, whichever is longer. */
#define TABLE_GOOD_NS 600000000000u

static uint64_t now_ns(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static struct kernel_source *of(struct cull_source *s)
{
	return container_of(s, struct kernel_source, source);
}

/* ---- directories kept open ------------------------------------------------------------------ */

static void close_dirs(struct kernel_source *ks)
{
	kcache_leave();
	for (size_t i = 0; i < KERNEL_SOURCE_DIRS; i++) {
		ks->open_dirs[i].fd = fd_close(ks->open_dirs[i].fd);
		ks->open_dirs[i].dir = DIRNODE_NONE;
	}
}

/* A descriptor of @dir, owned by the table of open ones; or -errno */
static int open_dir(struct kernel_source *ks, uint32_t dir)
{
	size_t i = dir % KERNEL_SOURCE_DIRS;

	if (ks->open_dirs[i].dir == dir && ks->open_dirs[i].fd >= 0)
		return ks->open_dirs[i].fd;
	fd_close(ks->open_dirs[i].fd);
	ks->open_dirs[i].fd = dirnode_open(&ks->nodes, dir, ks->kc->cache_fd, 0);
	ks->open_dirs[i].dir = dir;
	return ks->open_dirs[i].fd;
}

/* The number of a directory may be given to another one: drop what was kept open under it. */
static void put_dir(struct kernel_source *ks, uint32_t dir)
{
	size_t i = dir % KERNEL_SOURCE_DIRS;

	if (dir == LRU_NO_DIR)
		return;
	if (ks->nodes.v[dir].n_refs == 1 && ks->open_dirs[i].dir == dir) {
		ks->open_dirs[i].fd = fd_close(ks->open_dirs[i].fd);
		ks->open_dirs[i].dir = DIRNODE_NONE;
	}
	dirnode_put(&ks->nodes, dir);
}

/* ---- what the scan finds -------------------------------------------------------------------- */

static void on_candidate(
	void *arg, uint64_t used_ns, uint64_t bytes, uint32_t dir, const char *name)
{
	struct kernel_source *ks = arg;
	uint32_t released;

	if (used_ns < ks->floor_ns)
		return;
	if (lru_offer(&ks->lru, used_ns, dir, name, &released) == LRU_KEPT)
		dirnode_get(&ks->nodes, dir);
	put_dir(ks, released);
}

/* What the kernel cannot be asked about, because `cull NAME` would mean another name, is certainly
 * no object of the kernel: then, and only then, we remove it ourselves. */
static int remove_unsendable(struct kernel_source *ks, int dirfd, const char *name)
{
	struct scan_facts facts;
	int r = scan_stat(dirfd, name, ks->kc->dev, false, &facts);

	if (r < 0)
		return r;
	return path_remove_tree(dirfd, name, NULL);
}

static int cull_entry(struct kernel_source *ks, int dirfd, const char *name, bool is_checked)
{
	int r = is_checked ? kcache_cull_checked(ks->kc, dirfd, name)
			   : kcache_cull(ks->kc, dirfd, name);

	if (r == -EIO)
		ks->is_dead = kcache_is_dead(ks->kc);
	return r;
}

static bool on_alien(void *arg, int dirfd, uint32_t dir, const char *name, bool is_dir)
{
	struct kernel_source *ks = arg;
	char path[PATH_MAX];
	int r;

	if (ks->is_dead)
		return false;
	if (kcache_name_is_sendable(name))
		r = cull_entry(ks, dirfd, name, false);
	else
		r = remove_unsendable(ks, dirfd, name);
	ks->stats.n_aliens += r == 0;
	LOG_LIMITED(r < 0 ? LOG_WARNING : LOG_INFO,
		"scan: %s in the cache directory, which no kernel put there, %s dir=%s name=%s%s%s",
		is_dir ? "a directory" : "something",
		r == 0                ? "was removed"
		: r == KCACHE_BUSY    ? "is in use"
		: r == KCACHE_REFUSED ? "is a mount point, left alone"
		: r == KCACHE_GONE    ? "went away"
				      : "cannot be removed",
		dirnode_path(&ks->nodes, dir, path, sizeof(path)), name, r < 0 ? " err=" : "",
		r < 0 ? strerror(-r) : "");
	return r == 0;
}

static bool on_empty(void *arg, int dirfd, uint32_t dir, const char *name, bool is_index)
{
	struct kernel_source *ks = arg;
	bool is_gone;

	if (ks->is_dead)
		return false;
	if (is_index) /* BUSY while its volume is live */
		is_gone = cull_entry(ks, dirfd, name, false) == KCACHE_DONE;
	else
		is_gone = unlinkat(dirfd, name, AT_REMOVEDIR) == 0;
	ks->stats.n_empty_dirs += is_gone;
	return is_gone;
}

static void on_skipped(void *arg, uint32_t dir, const char *name, int err)
{
	struct kernel_source *ks = arg;
	char path[PATH_MAX];

	ks->stats.n_skipped++;
	LOG_LIMITED(LOG_WARNING, "scan: left alone: %s dir=%s name=%s",
		err == -EXDEV ? "something is mounted there" : strerror(-err),
		dirnode_path(&ks->nodes, dir, path, sizeof(path)), name);
}

static const struct scan_sink sink = {
	.candidate = on_candidate, .alien = on_alien, .empty = on_empty, .skipped = on_skipped};

/* ---- passes --------------------------------------------------------------------------------- */

static void close_window(struct kernel_source *ks)
{
	ks->window_fd = fd_close(ks->window_fd);
	ks->window_dir = LRU_NO_DIR;
}

static void drop_table(struct kernel_source *ks)
{
	close_window(ks);
	scan_stop(&ks->scan);
	for (size_t i = 0; i < ks->lru.n; i++)
		dirnode_put(&ks->nodes, ks->lru.entries[ks->lru.head + i].dir);
	close_dirs(ks);
	lru_reset(&ks->lru);
	ks->in_pass = false;
}

/* Access times that the mount does not keep are worthless. */
static bool mount_is_noatime(int fd)
{
	struct statvfs v;

	return fstatvfs(fd, &v) == 0 && v.f_flag & ST_NOATIME;
}

static int start_pass(struct kernel_source *ks, uint64_t floor_ns)
{
	int r;

	drop_table(ks);
	ks->floor_ns = floor_ns;
	ks->n_freed_in_pass = 0;
	ks->use_mtime = mount_is_noatime(ks->kc->cache_fd);
	ks->pass_started_ns = now_ns(CLOCK_MONOTONIC);
	r = scan_start(&ks->scan, ks->kc->cache_fd, ks->use_mtime);
	if (r < 0) {
		LOG_LIMITED(LOG_ERR, "scan: the cache directory cannot be read: %s", strerror(-r));
		return r;
	}
	ks->in_pass = true;
	ks->stats.n_scans++;
	return 0;
}

static void end_scan(struct kernel_source *ks)
{
	lru_seal(&ks->lru);
	ks->pass_ended_ns = now_ns(CLOCK_MONOTONIC);
	ks->stats.scan_ns = ks->pass_ended_ns - ks->pass_started_ns;
	ks->stats.scanned_at_ns = now_ns(CLOCK_REALTIME);
	ks->stats.n_objects = ks->scan.n_objects;
	ks->stats.object_bytes = ks->scan.n_bytes;
	log_debug("scan: complete objects=%llu bytes=%llu candidates=%zu ms=%llu",
		(unsigned long long)ks->scan.n_objects, (unsigned long long)ks->scan.n_bytes,
		ks->lru.n, (unsigned long long)(ks->stats.scan_ns / 1000000));
}

static bool table_is_old(const struct kernel_source *ks)
{
	uint64_t age = now_ns(CLOCK_MONOTONIC) - ks->pass_ended_ns;

	return age > TABLE_GOOD_NS && age > 50 * ks->stats.scan_ns;
}

/* ---- names that did not fit into the table -------------------------------------------------- */

/* One block of directory entries towards knowing the names of a window. 1 more to do, 0 done */
static int window_step(struct kernel_source *ks)
{
	_Alignas(struct dirent64) char block[32768];
	ssize_t n = 0;

	if (ks->window_fd >= 0)
		n = getdents64(ks->window_fd, block, sizeof(block));
	if (n <= 0) {
		ks->window_fd = fd_close(ks->window_fd);
		ks->window_dir = lru_window_next_dir(&ks->lru, ks->window_dir);
		if (ks->window_dir == LRU_NO_DIR) {
			lru_window_end(&ks->lru);
			return 0;
		}
		ks->window_fd = dirnode_open(
			&ks->nodes, ks->window_dir, ks->kc->cache_fd, O_RDONLY | O_DIRECTORY);
		return 1;
	}
	for (ssize_t pos = 0; pos < n;) {
		const struct dirent64 *e = (const void *)(block + pos);

		pos += e->d_reclen;
		lru_window_name(&ks->lru, ks->window_dir, e->d_name);
	}
	return 1;
}

static bool window_is_open(const struct kernel_source *ks)
{
	return ks->lru.window != NULL;
}

/* ---- cull_source ---------------------------------------------------------------------------- */

static void pop(struct kernel_source *ks)
{
	put_dir(ks, lru_pop(&ks->lru));
}

static enum cull_offer next_pass(struct kernel_source *ks)
{
	uint64_t floor_ns = ks->lru.cutoff_ns;

	if (floor_ns == UINT64_MAX && ks->pass_started_ns < ks->begun_ns) {
		/* all was in a table made before this run: what came into sight since is not */
		ks->is_exhausted = start_pass(ks, 0) < 0;
		return ks->is_exhausted ? CULL_OFFER_NONE : CULL_OFFER_WORKING;
	}
	if (floor_ns == UINT64_MAX) { /* all was in the table */
		ks->is_exhausted = true;
		drop_table(ks);
		return CULL_OFFER_NONE;
	}
	/* more objects of one instant than the table holds, and none of them went: look beyond */
	if (floor_ns <= ks->floor_ns && !ks->n_freed_in_pass)
		floor_ns = ks->floor_ns + 1;
	if (start_pass(ks, floor_ns) < 0)
		ks->is_exhausted = true;
	return ks->is_exhausted ? CULL_OFFER_NONE : CULL_OFFER_WORKING;
}

static enum cull_offer op_oldest(struct cull_source *s, uint64_t *used_ns)
{
	struct kernel_source *ks = of(s);
	const char *name;
	uint32_t dir;

	if (ks->is_dead || ks->is_exhausted || ks->kc->cache_fd < 0)
		return CULL_OFFER_NONE;
	if (!ks->in_pass && start_pass(ks, 0) < 0) {
		ks->is_exhausted = true;
		return CULL_OFFER_NONE;
	}
	if (scan_is_running(&ks->scan)) {
		if (!scan_step(&ks->scan))
			end_scan(ks);
		return CULL_OFFER_WORKING;
	}
	if (window_is_open(ks)) {
		window_step(ks);
		return CULL_OFFER_WORKING;
	}
	for (;;) {
		name = lru_peek(&ks->lru, used_ns, &dir);
		if (dir == LRU_NO_DIR)
			return next_pass(ks);
		if (name && !*name) { /* it vanished before its name was learnt */
			pop(ks);
			continue;
		}
		if (name)
			return CULL_OFFER_READY;
		ks->stats.n_windows++;
		if (lru_window_begin(&ks->lru) < 0)
			return CULL_OFFER_NONE;
		return CULL_OFFER_WORKING;
	}
}

static enum cull_outcome outcome_of_errno(int r)
{
	return r == -ENOENT || r == -ESTALE || r == -ENOTDIR ? CULL_GONE : CULL_FAILED;
}

static enum cull_outcome op_recheck(struct cull_source *s)
{
	struct kernel_source *ks = of(s);
	char name[LRU_NAME_MAX + 1];
	struct scan_facts facts;
	uint64_t used_ns;
	uint32_t dir;
	const char *peeked = lru_peek(&ks->lru, &used_ns, &dir);
	int fd, r;

	if (!peeked)
		return CULL_GONE;
	strncpy(name, peeked, sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	fd = open_dir(ks, dir);
	r = fd < 0 ? fd : scan_stat(fd, name, ks->kc->dev, ks->use_mtime, &facts);
	if (r < 0) {
		if (outcome_of_errno(r) == CULL_FAILED)
			LOG_LIMITED(LOG_WARNING,
				"cull: an object cannot be looked at name=%s err=%s", name,
				r == -EXDEV ? "something is mounted there" : strerror(-r));
		pop(ks);
		return outcome_of_errno(r);
	}
	if (facts.used_ns == used_ns) {
		ks->candidate_bytes = facts.bytes;
		return CULL_FREED;
	}
	dirnode_get(&ks->nodes, dir);
	pop(ks);
	if (lru_reoffer(&ks->lru, facts.used_ns, dir, name) != LRU_KEPT)
		put_dir(ks, dir);
	return CULL_NEWER;
}

static void make_label(
	struct kernel_source *ks, uint32_t dir, const char *name, char *label, size_t cap)
{
	size_t len = strlen(dirnode_path(&ks->nodes, dir, label, cap / 2)), n = strlen(name);

	if (n > cap - len - 2)
		n = cap - len - 2;
	label[len++] = '/';
	memcpy(label + len, name, n);
	label[len + n] = '\0';
}

static enum cull_outcome op_remove(
	struct cull_source *s, uint64_t *freed_bytes, char *label, size_t label_cap)
{
	struct kernel_source *ks = of(s);
	enum cull_outcome outcome;
	uint64_t used_ns;
	uint32_t dir;
	const char *name = lru_peek(&ks->lru, &used_ns, &dir);
	int fd, r;

	*freed_bytes = 0;
	*label = '\0';
	if (!name)
		return CULL_GONE;
	make_label(ks, dir, name, label, label_cap);
	fd = open_dir(ks, dir);
	r = fd < 0 ? fd : cull_entry(ks, fd, name, true); /* recheck() came just before */
	switch (r) {
	case KCACHE_DONE:
		*freed_bytes = ks->candidate_bytes;
		ks->n_freed_in_pass++;
		ks->stats.n_objects -= ks->stats.n_objects > 0;
		ks->stats.object_bytes -= ks->candidate_bytes < ks->stats.object_bytes
						  ? ks->candidate_bytes
						  : ks->stats.object_bytes;
		outcome = CULL_FREED;
		break;
	case KCACHE_BUSY:
		outcome = CULL_BUSY;
		break;
	case KCACHE_GONE:
		outcome = CULL_GONE;
		break;
	case KCACHE_REFUSED:
		LOG_LIMITED(LOG_WARNING,
			"cull: not asked: another device, a mount point or a name that the kernel "
			"would misread object=%s",
			label);
		outcome = CULL_FAILED;
		break;
	default:
		outcome = outcome_of_errno(r);
		if (outcome == CULL_FAILED)
			LOG_LIMITED(LOG_WARNING, "cull: the kernel refuses object=%s err=%s", label,
				strerror(-r));
	}
	pop(ks);
	return outcome;
}

static void op_begin(struct cull_source *s)
{
	struct kernel_source *ks = of(s);

	ks->is_exhausted = false;
	ks->begun_ns = now_ns(CLOCK_MONOTONIC);
	if (ks->in_pass && ks->lru.is_sealed && table_is_old(ks))
		drop_table(ks);
}

static void op_end(struct cull_source *s)
{
	struct kernel_source *ks = of(s);

	close_dirs(ks);
}

static int op_list(struct cull_source *s,
	bool (*emit)(void *arg, uint64_t used_ns, uint64_t bytes, const char *label), void *arg)
{
	return kernel_source_list(of(s)->kc->cache_fd, 1u << 16, NULL, emit, arg);
}

static const struct cull_source_ops ops = {
	.name = "kernel",
	.oldest = op_oldest,
	.recheck = op_recheck,
	.remove = op_remove,
	.begin = op_begin,
	.end = op_end,
	.list = op_list,
};

int kernel_source_init(struct kernel_source *ks, struct kcache *kc, unsigned culltable)
{
	int r;

	*ks = (struct kernel_source){
		.source = {.ops = &ops}, .kc = kc, .window_fd = -1, .window_dir = LRU_NO_DIR};
	for (size_t i = 0; i < KERNEL_SOURCE_DIRS; i++) {
		ks->open_dirs[i].dir = DIRNODE_NONE;
		ks->open_dirs[i].fd = -1;
	}
	r = dirnode_init(&ks->nodes);
	if (r < 0)
		return r;
	r = lru_init(&ks->lru, (size_t)1 << culltable, 0);
	if (r < 0) {
		dirnode_fini(&ks->nodes);
		return r;
	}
	scan_init(&ks->scan, &ks->nodes, &sink, ks);
	return 0;
}

void kernel_source_fini(struct kernel_source *ks)
{
	drop_table(ks);
	scan_fini(&ks->scan);
	lru_fini(&ks->lru);
	dirnode_fini(&ks->nodes);
}

void kernel_source_rebound(struct kernel_source *ks)
{
	drop_table(ks);
	ks->is_dead = ks->is_exhausted = false;
}

void kernel_source_refresh(struct kernel_source *ks)
{
	drop_table(ks);
	ks->is_exhausted = false;
}

/* ---- dry run -------------------------------------------------------------------------------- */

struct listing {
	struct dirnodes nodes;
	struct lru lru;
	struct scan scan;
	int cache_fd;
};

static void list_candidate(
	void *arg, uint64_t used_ns, uint64_t bytes, uint32_t dir, const char *name)
{
	struct listing *l = arg;
	uint32_t released;

	if (lru_offer(&l->lru, used_ns, dir, name, &released) == LRU_KEPT)
		dirnode_get(&l->nodes, dir);
	if (released != LRU_NO_DIR)
		dirnode_put(&l->nodes, released);
}

static bool list_nothing(void *arg, int dirfd, uint32_t dir, const char *name, bool is_dir)
{
	return false;
}

static void list_skipped(void *arg, uint32_t dir, const char *name, int err)
{
}

static int list_emit(struct listing *l, const atomic_bool *stop,
	bool (*emit)(void *arg, uint64_t used_ns, uint64_t bytes, const char *label), void *arg)
{
	char path[PATH_MAX], label[256];
	uint64_t used_ns;
	uint32_t dir;

	for (;; lru_pop(&l->lru)) { /* references are dropped with the whole table */
		const char *name = lru_peek(&l->lru, &used_ns, &dir);
		_cleanup_fd_ int fd = -1;
		struct scan_facts facts;

		if (dir == LRU_NO_DIR)
			return 0;
		if (stop && atomic_load(stop))
			return -ECANCELED;
		if (!name || !*name)
			continue;
		fd = dirnode_open(&l->nodes, dir, l->cache_fd, 0);
		if (fd < 0 || scan_stat(fd, name, l->scan.dev, l->scan.use_mtime, &facts) < 0)
			continue;
		snprintf(label, sizeof(label), "%s/%s",
			dirnode_path(&l->nodes, dir, path, sizeof(path)), name);
		if (!emit(arg, used_ns, facts.bytes, label))
			return 0;
	}
}

int kernel_source_list(int cache_fd, size_t max, const atomic_bool *stop,
	bool (*emit)(void *arg, uint64_t used_ns, uint64_t bytes, const char *label), void *arg)
{
	static const struct scan_sink list_sink = {.candidate = list_candidate,
		.alien = list_nothing,
		.empty = list_nothing,
		.skipped = list_skipped};
	struct listing l = {.cache_fd = cache_fd};
	int r;

	if (!max || max > KERNEL_SOURCE_LIST_MAX)
		max = KERNEL_SOURCE_LIST_MAX;
	r = dirnode_init(&l.nodes);
	if (r < 0)
		return r;
	/* long enough for any name, so that no window is needed; pages come with use */
	r = lru_init(&l.lru, max, LRU_NAME_MAX + 9);
	if (r < 0)
		goto out_nodes;
	scan_init(&l.scan, &l.nodes, &list_sink, &l);
	r = scan_start(&l.scan, cache_fd, mount_is_noatime(cache_fd));
	while (r >= 0 && scan_step(&l.scan))
		if (stop && atomic_load(stop))
			r = -ECANCELED;
	if (r >= 0) {
		lru_seal(&l.lru);
		r = list_emit(&l, stop, emit, arg);
	}
	scan_fini(&l.scan);
	lru_fini(&l.lru);
out_nodes:
	dirnode_fini(&l.nodes);
	return r;
}
