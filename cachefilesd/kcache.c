// SPDX-License-Identifier: GPL-2.0-or-later
#include "cachefilesd/kcache.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/path.h"

/* The kernel takes one page, less one byte for the NUL that it adds. */
#define COMMAND_MAX 4095
/* "Buffer too small" loses the release counters; the kernel's own buffer has 256 bytes. */
#define STATE_MAX 4096
#define PROBE     "Cprobe-of-cachefilesd"

void kcache_init(struct kcache *kc, int fd)
{
	*kc = (struct kcache){.fd = fd, .cache_fd = -1};
}

void kcache_fini(struct kcache *kc)
{
	kc->fd = fd_close(kc->fd);
	kc->cache_fd = fd_close(kc->cache_fd);
}

int kcache_set_dir(struct kcache *kc, int cache_fd)
{
	struct stat st;

	if (fstat(cache_fd, &st) < 0)
		return -errno;
	if (!S_ISDIR(st.st_mode))
		return -ENOTDIR;
	fd_close(kc->cache_fd);
	kc->cache_fd = cache_fd;
	kc->dev = st.st_dev;
	return 0;
}

static int send_bytes(struct kcache *kc, const char *text, size_t n)
{
	ssize_t r;

	do
		r = write(kc->fd, text, n);
	while (r < 0 && errno == EINTR);
	if (r < 0)
		return -errno;
	return (size_t)r == n ? 0 : -EIO;
}

int kcache_command(struct kcache *kc, const char *fmt, ...)
{
	char text[COMMAND_MAX + 1];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n > COMMAND_MAX)
		return -ENAMETOOLONG;
	return send_bytes(kc, text, (size_t)n);
}

int kcache_read_state(struct kcache *kc, struct kstate *out)
{
	char text[STATE_MAX];
	ssize_t n;

	do
		n = read(kc->fd, text, sizeof(text));
	while (n < 0 && errno == EINTR);
	if (n < 0) {
		*out = (struct kstate){0};
		return -errno;
	}
	return kstate_parse(text, (size_t)n, out);
}

/* What the kernel's isspace() takes for a blank (Latin-1, so 0xa0 too) */
static bool is_kernel_blank(unsigned char c)
{
	return (c >= 9 && c <= 13) || c == ' ' || c == 0xa0;
}

bool kcache_name_is_sendable(const char *name)
{
	return *name && !is_kernel_blank((unsigned char)*name) && !strpbrk(name, "/\n") &&
	       !path_is_dots(name) && strlen(name) <= NAME_MAX;
}

/* The guard: the kernel would delete or rename whatever @name is in our working directory, on any
 * file system (cachefiles.md §0 fact 2); something mounted there makes the whole cache fail
 * (§1.7). What is on the cache's device and no mount point lies in a directory of that device. */
static int guard(const struct kcache *kc, int dirfd, const char *name)
{
	struct statx sx;
	struct stat st;

	if (fstat(dirfd, &st) < 0)
		return -errno;
	if (kc->cache_fd < 0 || !S_ISDIR(st.st_mode) || st.st_dev != kc->dev ||
		!kcache_name_is_sendable(name))
		return KCACHE_REFUSED;
	if (statx(dirfd, name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_STATX_DONT_SYNC,
		    STATX_TYPE, &sx) < 0)
		return errno == ENOENT || errno == ESTALE ? KCACHE_GONE : -errno;
	if (makedev(sx.stx_dev_major, sx.stx_dev_minor) != kc->dev ||
		(sx.stx_attributes & STATX_ATTR_MOUNT_ROOT))
		return KCACHE_REFUSED;
	return KCACHE_DONE;
}

int kcache_cull_checked(struct kcache *kc, int dirfd, const char *name)
{
	static const char word[] = "cull ";
	char text[sizeof(word) + NAME_MAX];
	size_t len = strlen(name);
	int r;

	if (kc->cache_fd < 0 || !kcache_name_is_sendable(name))
		return KCACHE_REFUSED;
	if (fchdir(dirfd) < 0)
		return -errno;
	memcpy(text, word, sizeof(word) - 1);
	memcpy(text + sizeof(word) - 1, name, len);
	r = send_bytes(kc, text, sizeof(word) - 1 + len);
	switch (r) {
	case 0:
		return KCACHE_DONE;
	case -EBUSY:
		return KCACHE_BUSY;
	case -ENOENT: /* 6.1, 6.12 */
	case -ESTALE: /* 7.2, or it moved under the kernel's feet */
		return KCACHE_GONE;
	default:
		return r;
	}
}

int kcache_cull(struct kcache *kc, int dirfd, const char *name)
{
	int r = guard(kc, dirfd, name);

	return r == KCACHE_DONE ? kcache_cull_checked(kc, dirfd, name) : r;
}

void kcache_leave(void)
{
	if (chdir("/") < 0)
		return; /* then the directory stays busy, nothing worse */
}

bool kcache_is_dead(struct kcache *kc)
{
	int r;

	/* a dead cache answers EIO to everything; a living one does not know this name */
	if (kc->cache_fd < 0 || fchdir(kc->cache_fd) < 0)
		return false;
	r = kcache_command(kc, "inuse " PROBE);
	kcache_leave();
	return r == -EIO;
}

/* ---- binding -------------------------------------------------------------------------------- */

static const char *bind_advice(int err)
{
	static const struct {
		int err;
		const char *text;
	} rows[] = {
		{ENOENT, "the directory does not exist: create it"},
		{ENOTDIR,
			"'dir' is not a directory, or a symbolic link: name the directory itself"},
		{EROFS, "the file system is mounted read-only"},
		{EOPNOTSUPP,
			"this file system cannot hold a cache (it needs extended attributes and "
			"unnamed temporary files: ext4, xfs, btrfs can, tmpfs and NFS cannot)"},
		{ENOBUFS,
			"the file system is fuller than a stop limit allows: free some space or lower "
			"bstop and fstop"},
		{ENOSPC, "the file system is full"},
		{EACCES, "permission denied by the security module: see 'secctx' in "
			 "cachefilesd.conf(5), the label of 'dir' (restorecon) and the audit log"},
		{EBUSY, "another cache of this tag is registered, or its directory is in use by the "
			"kernel"},
		{ERANGE, "the limits are not consistent"},
		{EINVAL, "no 'dir', or it lies on an idmapped mount"},
		{EIO, "'cache' or 'graveyard' in it is not a directory"},
		{EPERM, "it needs root (CAP_SYS_ADMIN)"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		if (rows[i].err == err)
			return rows[i].text;
	return "see the kernel's log";
}

static int complain(char *reason, int err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static int complain(char *reason, int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(reason, KCACHE_REASON, fmt, ap);
	va_end(ap);
	return err;
}

int kcache_bind(struct kcache *kc, const struct kcache_config *cfg, bool use_secctx, char *reason)
{
	char commands[LIMITS_N_COMMANDS][LIMITS_COMMAND_MAX];
	int r;

	limits_commands(&cfg->limits, commands);
	for (size_t i = 0; i < LIMITS_N_COMMANDS; i++) {
		r = kcache_command(kc, "%s", commands[i]);
		if (r < 0)
			return complain(reason, r, "the kernel refuses '%s': errno %d (%s)",
				commands[i], -r, strerror(-r));
	}
	for (size_t i = 0; i < cfg->n_raw; i++) {
		r = kcache_command(kc, "%s", cfg->raw[i]);
		if (r < 0)
			return complain(reason, r, "the kernel refuses '%s': errno %d (%s)",
				cfg->raw[i], -r, strerror(-r));
	}
	r = kcache_command(kc, "dir %s", cfg->dir);
	if (r == 0 && cfg->tag)
		r = kcache_command(kc, "tag %s", cfg->tag);
	if (r < 0)
		return complain(reason, r, "the kernel refuses dir or tag: errno %d (%s)", -r,
			strerror(-r));
	if (use_secctx && cfg->secctx) {
		r = kcache_command(kc, "secctx %s", cfg->secctx);
		if (r < 0)
			return complain(reason, r,
				"the kernel refuses secctx %s: errno %d (%s): the loaded policy "
				"does not know this context",
				cfg->secctx, -r, strerror(-r));
	}
	r = kcache_command(kc, "bind");
	if (r < 0)
		return complain(reason, r, "CacheFiles bind failed: errno %d (%s): dir %s: %s", -r,
			strerror(-r), cfg->dir, bind_advice(-r));
	return 0;
}
