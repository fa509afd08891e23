/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "common/regfile.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "common/cleanup.h"

#define MAX_SYMLINKS 40 /* as the kernel */
#define TEMP_TRIES   16

static int kind_error(mode_t mode)
{
	if (S_ISREG(mode))
		return 0;
	return S_ISDIR(mode) ? -EISDIR : -EMEDIUMTYPE;
}

int regfile_open(int dirfd, const char *path)
{
	_cleanup_fd_ int fd = -1;
	struct stat st;
	int r, flags;

	/* look before opening: an open of a device may act, one of a fifo may wait */
	if (fstatat(dirfd, path, &st, 0) < 0)
		return -errno;
	r = kind_error(st.st_mode);
	if (r < 0)
		return r;
	/* it may have been exchanged since: do not wait for a fifo, and look again */
	fd = openat(dirfd, path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENXIO ? -EMEDIUMTYPE : -errno;
	if (fstat(fd, &st) < 0)
		return -errno;
	r = kind_error(st.st_mode);
	if (r < 0)
		return r;
	flags = fcntl(fd, F_GETFL);
	if (flags < 0 || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) < 0)
		return -errno;
	return take_fd(&fd);
}

/* split_path - open the directory of @path below @dirfd and copy the last component */
static int split_path(int dirfd, const char *path, int *out_dirfd, char name[NAME_MAX + 1])
{
	const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
	_cleanup_free_ char *dir = NULL;
	_cleanup_fd_ int fd = -1;

	if (!*path)
		return -ENOENT;
	if (!*base || !strcmp(base, ".") || !strcmp(base, ".."))
		return -EISDIR;
	if (strlen(base) > NAME_MAX)
		return -ENAMETOOLONG;
	if (!slash)
		dir = strdup(".");
	else
		dir = slash == path ? strdup("/") : strndup(path, (size_t)(slash - path));
	if (!dir)
		return -ENOMEM;
	fd = openat(dirfd, dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	strcpy(name, base);
	*out_dirfd = take_fd(&fd);
	return 0;
}

/* resolve - the directory and name that open(2) would reach: last component's links followed */
static int resolve(int dirfd, const char *path, int *out_dirfd, char name[NAME_MAX + 1])
{
	_cleanup_fd_ int fd = -1;
	char target[PATH_MAX];
	int r = split_path(dirfd, path, &fd, name);

	for (int i = 0; r == 0; i++) {
		int next = -1;
		ssize_t n = readlinkat(fd, name, target, sizeof(target) - 1);

		if (n < 0) /* EINVAL: no link; ENOENT: nothing there yet; others show at use */
			break;
		if (i == MAX_SYMLINKS)
			return -ELOOP;
		target[n] = '\0';
		r = split_path(fd, target, &next, name);
		fd_close(fd);
		fd = next;
	}
	if (r < 0)
		return r;
	*out_dirfd = take_fd(&fd);
	return 0;
}

/* look - what is at the name now: 0 nothing, 1 a regular file, or the error for the rest */
static int look(int dirfd, const char *name, struct stat *st)
{
	if (fstatat(dirfd, name, st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno;
	return kind_error(st->st_mode) ?: 1;
}

/* may_make - the outcome of look() as an answer to "may we make this name?" */
static int may_make(int looked, bool overwrite)
{
	if (looked == 0 || (looked == 1 && overwrite))
		return 0;
	if (looked == 1 || (!overwrite && (looked == -EISDIR || looked == -EMEDIUMTYPE)))
		return -EEXIST;
	return looked;
}

static int temp_name(const char *name, char out[NAME_MAX + 1])
{
	uint64_t v;

	if (getrandom(&v, sizeof(v), 0) != (ssize_t)sizeof(v))
		return -EIO;
	/* room for the dots and 12 digits, whatever the length of the name */
	snprintf(out, NAME_MAX + 1, ".%.*s.%012llx", NAME_MAX - 16, name,
		(unsigned long long)(v & 0xffffffffffffULL));
	return 0;
}

static int link_fd(int fd, int dirfd, const char *name, void (*raise)(bool))
{
	char self[32];
	int r;

	snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	if (raise)
		raise(true);
	r = linkat(AT_FDCWD, self, dirfd, name, AT_SYMLINK_FOLLOW) < 0 ? -errno : 0;
	if (raise)
		raise(false);
	return r;
}

/* link_over - @fd becomes @name, whatever regular file is there, in one step */
static int link_over(int fd, int dirfd, const char *name, void (*raise)(bool))
{
	char temp[NAME_MAX + 1];
	int r = -EEXIST;

	for (int i = 0; i < TEMP_TRIES && r == -EEXIST; i++) {
		r = temp_name(name, temp);
		if (r == 0)
			r = link_fd(fd, dirfd, temp, raise);
	}
	if (r < 0)
		return r;
	if (renameat(dirfd, temp, dirfd, name) < 0)
		r = -errno;
	/* also after success: a rename between two links of one inode leaves both */
	unlinkat(dirfd, temp, 0);
	return r;
}

static int link_to(int fd, int dirfd, const char *name, bool overwrite, void (*raise)(bool))
{
	struct stat st;
	int r = link_fd(fd, dirfd, name, raise);

	if (r != -EEXIST || !overwrite)
		return r;
	r = look(dirfd, name, &st);
	return r < 0 ? r : link_over(fd, dirfd, name, raise);
}

static int create_named(struct regfile_new *f, mode_t mode)
{
	char temp[NAME_MAX + 1];

	for (int i = 0; i < TEMP_TRIES; i++) {
		int r = temp_name(f->name, temp);

		if (r < 0)
			return r;
		f->fd = openat(
			f->dirfd, temp, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
		if (f->fd >= 0) {
			f->temp = strdup(temp);
			if (f->temp)
				return 0;
			unlinkat(f->dirfd, temp, 0);
			f->fd = fd_close(f->fd);
			return -ENOMEM;
		}
		if (errno != EEXIST)
			return -errno;
	}
	return -EEXIST;
}

int regfile_create(struct regfile_new *f, int dirfd, const char *path, mode_t mode, bool overwrite)
{
	struct regfile_new n = REGFILE_NEW_NULL;
	char name[NAME_MAX + 1];
	struct stat st;
	int r;

	n.overwrite = overwrite;
	r = resolve(dirfd, path, &n.dirfd, name);
	if (r == 0)
		r = may_make(look(n.dirfd, name, &st), overwrite);
	if (r == 0) {
		n.name = strdup(name);
		r = n.name ? 0 : -ENOMEM;
	}
	if (r == 0) {
		/* without /proc an unnamed file could never get a name */
		if (access("/proc/self/fd", X_OK) == 0)
			n.fd = openat(n.dirfd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, mode);
		else
			errno = EOPNOTSUPP;
		/* EISDIR and ENOENT are how an old kernel or file system says "not known" */
		if (n.fd < 0)
			r = errno == EOPNOTSUPP || errno == EISDIR || errno == ENOENT ||
					    errno == EINVAL
				    ? create_named(&n, mode)
				    : -errno;
	}
	if (r < 0) {
		regfile_fini(&n);
		return r;
	}
	*f = n;
	return 0;
}

static int place_named(struct regfile_new *f)
{
	struct stat st;
	int r;

	if (f->overwrite) {
		r = look(f->dirfd, f->name, &st);
		if (r < 0)
			return r;
		return renameat(f->dirfd, f->temp, f->dirfd, f->name) < 0 ? -errno : 0;
	}
	if (renameat2(f->dirfd, f->temp, f->dirfd, f->name, RENAME_NOREPLACE) == 0)
		return 0;
	if (errno != EINVAL && errno != ENOSYS)
		return -errno;
	/* a file system without the flag (NFS): a link never replaces */
	if (linkat(f->dirfd, f->temp, f->dirfd, f->name, 0) < 0)
		return -errno;
	unlinkat(f->dirfd, f->temp, 0);
	return 0;
}

int regfile_place(struct regfile_new *f)
{
	int r;

	if (f->temp) {
		r = place_named(f);
		if (r == 0) {
			free(f->temp);
			f->temp = NULL;
		}
		return r;
	}
	return link_to(f->fd, f->dirfd, f->name, f->overwrite, NULL);
}

void regfile_fini(struct regfile_new *f)
{
	if (f->temp)
		unlinkat(f->dirfd, f->temp, 0);
	free(f->temp);
	free(f->name);
	f->temp = f->name = NULL;
	f->fd = fd_close(f->fd);
	f->dirfd = fd_close(f->dirfd);
}

int regfile_link(int fd, int dirfd, const char *path, bool overwrite, void (*raise)(bool on))
{
	_cleanup_fd_ int dir = -1;
	struct stat st, at, ours;
	char name[NAME_MAX + 1];
	int r = resolve(dirfd, path, &dir, name);

	if (r < 0)
		return r;
	if (fstat(fd, &ours) < 0)
		return -errno;
	r = look(dir, name, &at);
	if (r == 1 && at.st_dev == ours.st_dev && at.st_ino == ours.st_ino)
		return 0;
	if (r == 1 && overwrite) {
		/* the new link is not the caller's file: a sticky directory would let it be made but
		 * neither renamed nor removed */
		if (fstat(dir, &st) < 0)
			return -errno;
		if ((st.st_mode & S_ISVTX) && st.st_uid != geteuid() && ours.st_uid != geteuid())
			return -EPERM;
	}
	r = may_make(r, overwrite);
	if (r < 0)
		return r;
	return link_to(fd, dir, name, overwrite, raise);
}
