// SPDX-License-Identifier: GPL-2.0-or-later
/* preflight.c — what would make bind fail, or the cache useless, said before (see kcache.h). */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "cachefilesd/kcache.h"
#include "cachefilesd/objname.h"
#include "common/buf.h"
#include "common/cleanup.h"
#include "common/selinux.h"

/* Entries of cache/ that are looked at, to tell a cache from somebody's directory of that name. */
#define FOREIGN_SAMPLE 256

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

/* The kernel does not follow a link at the end of the path, and so do we. */
static int check_directory(const char *dir, int *fd, char *reason)
{
	struct stat st;

	if (lstat(dir, &st) < 0)
		return complain(reason, -errno, "dir %s: errno %d (%s)%s", dir, errno,
			strerror(errno),
			errno == ENOENT ? ": create the directory (mode 0700, owner root)" : "");
	if (S_ISLNK(st.st_mode))
		return complain(reason, -ENOTDIR,
			"dir %s: errno %d: it is a symbolic link, which the kernel does not follow: "
			"name the directory that it points to",
			dir, ENOTDIR);
	if (!S_ISDIR(st.st_mode))
		return complain(
			reason, -ENOTDIR, "dir %s: errno %d: it is not a directory", dir, ENOTDIR);
	*fd = open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (*fd < 0)
		return complain(
			reason, -errno, "dir %s: errno %d (%s)", dir, errno, strerror(errno));
	return 0;
}

static const char *unsuitable_fs(unsigned long magic)
{
	static const struct {
		unsigned long magic;
		const char *name;
	} rows[] = {
		{0x01021994, "tmpfs"},
		{0x858458f6, "ramfs"},
		{0x9fa0, "proc"},
		{0x62656572, "sysfs"},
		{0x6969, "NFS"},
		{0x65735546, "FUSE"},
		{0xff534d42, "CIFS"},
		{0xfe534d42, "SMB"},
		{0x4d44, "FAT"},
		{0x73717368, "squashfs"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		if (rows[i].magic == magic)
			return rows[i].name;
	return NULL;
}

static int check_xattr(int fd, const char *dir, char *reason)
{
	char value;

	if (fgetxattr(fd, "user.CacheFiles.cache", &value, 1) >= 0 || errno == ENODATA ||
		errno == ERANGE)
		return 0;
	if (errno == EOPNOTSUPP)
		return complain(reason, -EOPNOTSUPP,
			"dir %s: the file system has no user extended attributes (mount it with "
			"user_xattr, or use ext4, xfs or btrfs)",
			dir);
	return 0; /* the kernel will say what it thinks of it */
}

/* Is the mount of @fd idmapped? mountinfo says so since there are such mounts (5.12); not known = no. */
static bool is_idmapped(int fd)
{
	_cleanup_file_ FILE *f = fopen("/proc/self/mountinfo", "re");
	_cleanup_free_ char *line = NULL;
	struct statx sx;
	size_t cap = 0;

	if (!f || statx(fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &sx) < 0 ||
		!(sx.stx_mask & STATX_MNT_ID))
		return false;
	while (getline(&line, &cap, f) > 0) {
		unsigned long long id;
		char options[256];

		if (sscanf(line, "%llu %*s %*s %*s %*s %255s", &id, options) == 2 &&
			id == sx.stx_mnt_id)
			return strstr(options, "idmapped") != NULL;
	}
	return false;
}

static int check_space(int fd, const struct kcache_config *cfg, char *reason)
{
	struct limits_thresholds t;
	struct statvfs v;

	if (fstatvfs(fd, &v) < 0)
		return 0;
	if (v.f_flag & ST_RDONLY)
		return complain(reason, -EROFS, "dir %s: errno %d: it is mounted read-only",
			cfg->dir, EROFS);
	t = limits_compute(&cfg->limits, v.f_blocks, v.f_files);
	if (faccessat(fd, "cache", F_OK, AT_SYMLINK_NOFOLLOW) == 0 &&
		faccessat(fd, "graveyard", F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		return 0;
	if (v.f_bavail < t.blocks.stop)
		return complain(reason, -ENOBUFS,
			"dir %s: errno %d: %u%% of the blocks must stay free (bstop) before the "
			"cache can be created, and only %llu%% are: free some space or lower bstop",
			cfg->dir, ENOBUFS, cfg->limits.blocks.stop,
			(unsigned long long)(v.f_bavail * 100 / (v.f_blocks ? v.f_blocks : 1)));
	if (v.f_ffree < t.files.stop)
		return complain(reason, -ENOBUFS,
			"dir %s: errno %d: %u%% of the inodes must stay free (fstop) before the "
			"cache can be created, and only %llu%% are: free some or lower fstop",
			cfg->dir, ENOBUFS, cfg->limits.files.stop,
			(unsigned long long)(v.f_ffree * 100 / (v.f_files ? v.f_files : 1)));
	return 0;
}

/* A daemon that erases what it does not recognise must not be let loose on somebody's files. Where
 * there is a graveyard, a cache was bound before, and what is odd in it is rubbish. */
static int check_foreign(int fd, const struct kcache_config *cfg, char *reason)
{
	_cleanup_dir_ DIR *d = NULL;
	unsigned n = 0, n_foreign = 0;
	char example[64] = "";
	struct dirent *e;
	struct stat st;
	int cache;

	if (fstatat(fd, "cache", &st, AT_SYMLINK_NOFOLLOW) < 0 ||
		faccessat(fd, "graveyard", F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		return 0;
	if (!S_ISDIR(st.st_mode))
		return complain(
			reason, -ENOTDIR, "dir %s: 'cache' in it is not a directory", cfg->dir);
	cache = openat(fd, "cache", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (cache < 0)
		return 0;
	d = fdopendir(cache);
	if (!d) {
		fd_close(cache);
		return 0;
	}
	while (n < FOREIGN_SAMPLE && (e = readdir(d))) {
		enum objname_type type = e->d_type == DT_REG   ? OBJNAME_REG
					 : e->d_type == DT_DIR ? OBJNAME_DIR
							       : OBJNAME_OTHER;

		switch (objname_classify(e->d_name, type)) {
		case OBJNAME_SKIP:
			continue;
		case OBJNAME_ALIEN:
			n_foreign++;
			snprintf(example, sizeof(example), "%.60s", e->d_name);
			break;
		default:
			break;
		}
		n++;
	}
	if (n_foreign < 3 || n_foreign * 2 <= n || cfg->allow_foreign)
		return 0;
	return complain(reason, -ENOTEMPTY,
		"dir %s: 'cache' in it holds mostly files that no kernel put there (%u of %u, for "
		"example '%s'), and a cache daemon deletes those: is this the right directory? "
		"(then move them away, or say allow_foreign)",
		cfg->dir, n_foreign, n, example);
}

static void check_atime(int fd, const char *dir, struct buf *warnings)
{
	struct statvfs v;

	if (fstatvfs(fd, &v) < 0)
		return;
	if (v.f_flag & ST_NOATIME)
		buf_addf(warnings,
			"dir %s is mounted noatime: the kernel does not record when an object was "
			"used, so the last write counts; mount it with lazytime,strictatime\n",
			dir);
	else if (v.f_flag & ST_RELATIME)
		buf_addf(warnings,
			"dir %s is mounted relatime: times of use may be a day old, and so the order "
			"of culling; lazytime,strictatime makes it exact at little cost\n",
			dir);
}

static int check_secctx(
	const struct kcache_config *cfg, bool *use, char *reason, struct buf *warnings)
{
	char why[SELINUX_REASON];
	int r;

	*use = false;
	if (!cfg->secctx)
		return 0;
	if (!selinux_is_active()) {
		buf_addf(warnings,
			"secctx is skipped: SELinux is not the active security module of this "
			"kernel\n");
		return 0;
	}
	r = selinux_check_context(cfg->secctx, why);
	if (r < 0)
		return complain(reason, r, "secctx %s: %s", cfg->secctx, why);
	*use = true;
	return 0;
}

int kcache_preflight(
	const struct kcache_config *cfg, bool *use_secctx, char *reason, struct buf *warnings)
{
	_cleanup_fd_ int fd = -1;
	const char *fs_name;
	struct statfs fs;
	int r;

	*use_secctx = false;
	if (!cfg->dir || !*cfg->dir)
		return complain(reason, -EINVAL, "no dir is configured: errno %d", EINVAL);
	r = limits_check(&cfg->limits, reason);
	if (r < 0)
		return r;
	r = check_directory(cfg->dir, &fd, reason);
	if (r < 0)
		return r;
	if (fstatfs(fd, &fs) == 0) {
		fs_name = unsuitable_fs((unsigned long)fs.f_type & 0xffffffffu);
		if (fs_name)
			return complain(reason, -EOPNOTSUPP,
				"dir %s: errno %d: it lies on %s, which cannot hold a cache: use "
				"ext4, xfs or btrfs",
				cfg->dir, EOPNOTSUPP, fs_name);
		if (fs.f_blocks == (fsblkcnt_t)-1)
			return complain(reason, -EOPNOTSUPP,
				"dir %s: the file system does not say how large it is", cfg->dir);
	}
	if (is_idmapped(fd))
		return complain(reason, -EINVAL,
			"dir %s: errno %d: it lies on an idmapped mount, where the kernel keeps no "
			"cache: name the directory on the mount that this one was made from",
			cfg->dir, EINVAL);
	r = check_xattr(fd, cfg->dir, reason);
	if (r == 0)
		r = check_space(fd, cfg, reason);
	if (r == 0)
		r = check_foreign(fd, cfg, reason);
	if (r == 0)
		r = check_secctx(cfg, use_secctx, reason, warnings);
	if (r == 0)
		check_atime(fd, cfg->dir, warnings);
	return r;
}
