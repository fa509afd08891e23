/* SPDX-License-Identifier: GPL-2.0-or-later */
/* kcache.h — the kernel's cache behind /dev/cachefiles: state in, commands out.
 *
 * The only file that reads or writes the device and the only one that changes the working
 * directory: the kernel resolves `cull NAME` in the calling thread's current directory and does not
 * check that this lies in the cache (cachefiles.md §0 fact 2). So kcache_cull() proves it first.
 * The thread that culls must have its own working directory (unshare(CLONE_FS), done by culler.c).
 * Not thread-safe; commands block. The descriptor comes from outside: kcache_open() gets one,
 * the holder keeps one across restarts, a test gives a fake.
 */
#ifndef CACHEFILESD_KCACHE_H
#define CACHEFILESD_KCACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "cachefilesd/kstate.h"
#include "cachefilesd/limits.h"

struct buf;

#define KCACHE_DEVICE "/dev/cachefiles"
#define KCACHE_REASON 512

/* What `bind` is made of. Strings are borrowed. */
struct kcache_config {
	const char *dir; /* absolute */
	const char *tag; /* NULL = the kernel's default, CacheFiles */
	const char *secctx; /* NULL = none */
	struct limits limits;
	const char *const *raw; /* other lines for the kernel ("debug 7"), in order; may be NULL */
	size_t n_raw;
	bool allow_foreign; /* bind although cache/ holds mostly names that no kernel made */
};

struct kcache {
	int fd; /* owned */
	int cache_fd; /* owned; <dir>/cache, O_PATH; -1 until kcache_set_dir() */
	dev_t dev; /* of cache_fd */
};

/* kcache_open - the device, loading the module when the node is absent (modprobe; @path NULL =
 * KCACHE_DEVICE). Returns a descriptor or -errno, then @reason (KCACHE_REASON bytes) is a sentence
 * with advice; for -EBUSY it names the process that holds the device. Needs CAP_SYS_ADMIN. */
int kcache_open(const char *path, char *reason);
/* kcache_find_holder - who has @path open: "name (pid N)" into @out; 0, or -ENOENT */
int kcache_find_holder(const char *path, char *out, size_t cap);

/* kcache_init - takes @fd */
void kcache_init(struct kcache *kc, int fd);
void kcache_fini(struct kcache *kc);
/* kcache_set_dir - after bind (or adoption): takes @cache_fd, against whose device every cull is
 * checked; 0 or -errno */
int kcache_set_dir(struct kcache *kc, int cache_fd);

/* kcache_preflight - what would make bind fail, found before asking: missing directory, symbolic
 * link, read-only, unsupported file system, too full to make cache/, foreign content, secctx.
 * 0, or -errno and a sentence with advice in @reason. Warnings (relatime, noatime, secctx skipped
 * because SELinux is not active) are appended as lines to @warnings. *@use_secctx tells whether
 * secctx is to be sent. */
int kcache_preflight(
	const struct kcache_config *cfg, bool *use_secctx, char *reason, struct buf *warnings);
/* kcache_bind - send the whole configuration and bind; 0, or -errno and a sentence in @reason.
 * After a failure the descriptor must be closed (dir, tag and secctx cannot be set twice). */
int kcache_bind(struct kcache *kc, const struct kcache_config *cfg, bool use_secctx, char *reason);
/* kcache_format_bound - what is bound, as text for the holder, since the kernel cannot tell it.
 * kcache_compare_bound - @bound (NUL ended) against @cfg: the number of keywords that differ, each
 * appended to @differences as a line; they take effect when the daemon is stopped and started. */
void kcache_format_bound(const struct kcache_config *cfg, bool use_secctx, struct buf *out);
size_t kcache_compare_bound(const char *bound, const struct kcache_config *cfg, bool use_secctx,
	struct buf *differences);
/* kcache_has_limits - was it bound with these limits? */
bool kcache_has_limits(const char *bound, const struct limits *l);
/* kcache_command - one write; 0 or -errno */
int kcache_command(struct kcache *kc, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* kcache_read_state - makes the kernel look at the free space, and reports. 0 or -errno
 * (-EIO: the cache is dead). The released counters are reset by it. */
int kcache_read_state(struct kcache *kc, struct kstate *out);

enum kcache_outcome {
	KCACHE_DONE = 0,
	KCACHE_BUSY, /* in use by the kernel */
	KCACHE_GONE, /* not there (any more) */
	KCACHE_REFUSED, /* our own guard: another device, a mount point, a name that the kernel
			   would read differently; nothing was asked */
};

/* kcache_cull - @name in @dirfd, which must have been opened beneath the cache directory
 * (dirnode_open). Regular files are unlinked by the kernel, directories go to the graveyard.
 * Returns an outcome or -errno; -EIO may mean this object, or that the cache is dead:
 * kcache_is_dead() tells. Changes the working directory of the thread. */
int kcache_cull(struct kcache *kc, int dirfd, const char *name);
/* kcache_cull_checked - the same for a caller who looked at @name in @dirfd a moment ago with
 * scan_stat(): it is on the cache's device (so @dirfd is, too) and nothing is mounted on it */
int kcache_cull_checked(struct kcache *kc, int dirfd, const char *name);
/* kcache_name_is_sendable - does the kernel read exactly @name from `cull NAME`? (no '/', no
 * newline, no leading blank, not "." or "..") */
bool kcache_name_is_sendable(const char *name);
/* kcache_leave - back to "/", so that nothing is pinned while idle */
void kcache_leave(void);
/* kcache_is_dead - asks the device (a harmless command): has the kernel given the cache up? */
bool kcache_is_dead(struct kcache *kc);

#endif
