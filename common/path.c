/* SPDX-License-Identifier: GPL-2.0-or-later */
/* path.c — see path.h */
#include "common/path.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/cleanup.h"

/* mount_of - which mount @fd is on; the device where the kernel cannot say (before 5.8) */
static int mount_of(int fd, uint64_t *out)
{
	struct stat st;
#ifdef STATX_MNT_ID
	struct statx sx;

	if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_MNT_ID, &sx) == 0 &&
		(sx.stx_mask & STATX_MNT_ID)) {
		*out = sx.stx_mnt_id;
		return 0;
	}
#endif
	if (fstat(fd, &st) < 0)
		return -errno;
	*out = st.st_dev;
	return 0;
}

/* walk_beneath - path_open_beneath() where there is no openat2 (kernels before 5.6, container
 * filters, valgrind): one component at a time, none followed, each on the mount that we began on.
 * Stricter in one point: ".." is refused even where it would not lead outside. */
static int walk_beneath(int dirfd, const char *rel, int flags, mode_t mode)
{
	_cleanup_fd_ int at = -1;
	uint64_t home, mnt;
	struct stat st;
	int r;

	if (*rel == '/')
		return -EXDEV;
	if (!*rel)
		return -ENOENT;
	r = mount_of(dirfd, &home);
	if (r)
		return r;
	for (;;) {
		_cleanup_fd_ int next = -1;
		size_t n = strcspn(rel, "/");
		char name[256];
		bool is_last = !rel[n + strspn(rel + n, "/")];

		if (n >= sizeof(name))
			return -ENAMETOOLONG;
		memcpy(name, rel, n);
		name[n] = 0;
		if (!strcmp(name, ".."))
			return -EXDEV;
		if (is_last)
			next = openat(at < 0 ? dirfd : at, name,
				flags | O_NOFOLLOW | (rel[n] ? O_DIRECTORY : 0), mode);
		else
			next = openat(at < 0 ? dirfd : at, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
		if (next < 0)
			return -errno;
		r = mount_of(next, &mnt);
		if (r)
			return r;
		if (mnt != home)
			return -EXDEV;
		if (is_last)
			return take_fd(&next);
		if (fstat(next, &st) < 0)
			return -errno;
		if (S_ISLNK(st.st_mode))
			return -ELOOP;
		if (!S_ISDIR(st.st_mode))
			return -ENOTDIR;
		fd_close(at);
		at = take_fd(&next);
		rel += n;
		rel += strspn(rel, "/");
	}
}

int path_open_beneath(int dirfd, const char *rel, int flags, mode_t mode)
{
	struct open_how how = {
		.flags = (uint64_t)(flags | O_CLOEXEC),
		.mode = (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE ? mode & 07777 : 0,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV |
			   RESOLVE_NO_MAGICLINKS,
	};

	/* EAGAIN: a rename or mount somewhere raced with ".."; openat2(2) says to try again */
	for (int i = 0; i < 64; i++) {
		long fd = syscall(SYS_openat2, dirfd, rel, &how, sizeof(how));

		if (fd >= 0)
			return (int)fd;
		if (errno == ENOSYS)
			return walk_beneath(dirfd, rel, flags | O_CLOEXEC, (mode_t)how.mode);
		if (errno != EAGAIN && errno != EINTR)
			return -errno;
	}
	return -EAGAIN;
}

int path_mkdir_p(const char *path, mode_t mode)
{
	_cleanup_free_ char *copy = NULL;
	struct stat st;

	if (!*path)
		return -ENOENT;
	copy = strdup(path);
	if (!copy)
		return -ENOMEM;
	for (char *p = copy + 1;; p++) {
		char c = *p;

		if (c != '/' && c != 0)
			continue;
		*p = 0;
		if (mkdir(copy, mode) < 0) {
			int e = errno;

			/* EROFS, EACCES: a parent that is there already is good enough */
			if (stat(copy, &st) < 0)
				return -e;
			if (!S_ISDIR(st.st_mode))
				return -ENOTDIR;
		}
		*p = c;
		if (!c)
			return 0;
	}
}

char *path_absolute(const char *path)
{
	_cleanup_free_ char *cwd = NULL;
	size_t len = 0, cap;
	char *out;

	if (!*path) {
		errno = ENOENT;
		return NULL;
	}
	if (*path != '/') {
		cwd = getcwd(NULL, 0);
		if (!cwd)
			return NULL;
		if (*cwd != '/') { /* "(unreachable)…": outside of our root */
			errno = ENOENT;
			return NULL;
		}
	}
	cap = (cwd ? strlen(cwd) : 0) + 1 + strlen(path) + 2;
	out = malloc(cap);
	if (!out)
		return NULL;
	for (int i = cwd ? 0 : 1; i < 2; i++) {
		const char *p = i ? path : cwd;

		while (*p) {
			size_t n = strcspn(p, "/");

			if (n == 2 && p[0] == '.' && p[1] == '.') {
				while (len && out[--len] != '/')
					;
			} else if (n && !(n == 1 && *p == '.')) {
				out[len++] = '/';
				memcpy(out + len, p, n);
				len += n;
			}
			p += n;
			p += *p == '/';
		}
	}
	if (!len)
		out[len++] = '/';
	out[len] = 0;
	return out;
}

bool path_is_dots(const char *name)
{
	return name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2]));
}

/* ---- path_remove_tree ----------------------------------------------------------------------
 * One directory is open at a time, whatever the depth: the way down is a list of frames on the
 * heap, the way up is "..", believed only when it is the directory that we came from. A directory
 * is read once: what is not a directory is unlinked on the spot, the names of sub-directories are
 * kept in its frame until their turn. So an entry that cannot be removed is tried once and does
 * not make us loop.
 */
struct frame {
	struct frame *up;
	dev_t dev;
	ino_t ino;
	char **subdirs;
	size_t n_subdirs, cap;
	unsigned n_passes;
	bool has_removed, has_failed;
	char name[]; /* in the directory above */
};

struct removal {
	struct frame *at;
	int fd; /* of at */
	dev_t dev;
	unsigned long n_removed;
	int error; /* the first */
	const atomic_bool *stop;
};

#define MAX_PASSES 16

static bool is_stopped(const struct removal *rm)
{
	return rm->stop && atomic_load_explicit(rm->stop, memory_order_relaxed);
}

static void note(struct removal *rm, int err)
{
	if (!rm->error)
		rm->error = err;
	if (rm->at)
		rm->at->has_failed = true;
}

static void removed(struct removal *rm)
{
	rm->n_removed++;
	if (rm->at)
		rm->at->has_removed = true;
}

static void frame_pop(struct removal *rm)
{
	struct frame *f = rm->at;

	rm->at = f->up;
	while (f->n_subdirs)
		free(f->subdirs[--f->n_subdirs]);
	free(f->subdirs);
	free(f);
}

/* descend - make @name below the directory @parent the current one. 0, or -errno with nothing
 * changed. */
static int descend(struct removal *rm, int parent, const char *name)
{
	_cleanup_fd_ int fd =
		path_open_beneath(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	struct frame *f;
	struct stat st;

	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (rm->at && st.st_dev != rm->dev)
		return -EXDEV;
	f = calloc(1, sizeof(*f) + strlen(name) + 1);
	if (!f)
		return -ENOMEM;
	strcpy(f->name, name);
	f->dev = st.st_dev;
	f->ino = st.st_ino;
	f->up = rm->at;
	if (!rm->at)
		rm->dev = st.st_dev;
	rm->at = f;
	fd_close(rm->fd);
	rm->fd = take_fd(&fd);
	return 0;
}

static int keep_subdir(struct frame *f, const char *name)
{
	char *copy;

	if (f->n_subdirs == f->cap) {
		size_t cap = f->cap ? f->cap * 2 : 16;
		char **v = reallocarray(f->subdirs, cap, sizeof(*v));

		if (!v)
			return -ENOMEM;
		f->subdirs = v;
		f->cap = cap;
	}
	copy = strdup(name);
	if (!copy)
		return -ENOMEM;
	f->subdirs[f->n_subdirs++] = copy;
	return 0;
}

/* empty_pass - read the current directory once, unlink files, note sub-directories */
static void empty_pass(struct removal *rm)
{
	_cleanup_dir_ DIR *d = NULL;
	int fd = openat(rm->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r;

	rm->at->n_passes++;
	rm->at->has_removed = false;
	if (fd < 0) {
		note(rm, -errno);
		return;
	}
	d = fdopendir(fd);
	if (!d) {
		note(rm, -errno);
		fd_close(fd);
		return;
	}
	while (!is_stopped(rm)) {
		struct dirent *e;

		errno = 0;
		e = readdir(d);
		if (!e) {
			if (errno)
				note(rm, -errno);
			return;
		}
		if (path_is_dots(e->d_name))
			continue;
		if (e->d_type != DT_DIR) {
			if (unlinkat(rm->fd, e->d_name, 0) == 0) {
				removed(rm);
				continue;
			}
			if (errno == ENOENT)
				continue;
			if (errno != EISDIR) {
				note(rm, -errno);
				continue;
			}
		}
		r = keep_subdir(rm->at, e->d_name);
		if (r)
			note(rm, r);
	}
}

/* ascend - from a finished directory to the one above, and remove it there */
static int ascend(struct removal *rm)
{
	_cleanup_fd_ int up = openat(rm->fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_free_ char *name = NULL;
	struct frame *parent = rm->at->up;
	struct stat st;

	if (up < 0)
		return -errno;
	if (fstat(up, &st) < 0)
		return -errno;
	if (st.st_dev != parent->dev || st.st_ino != parent->ino)
		return -ESTALE; /* somebody moved the tree under us: do not touch what is there */
	name = strdup(rm->at->name);
	if (!name)
		return -ENOMEM;
	frame_pop(rm);
	fd_close(rm->fd);
	rm->fd = take_fd(&up);
	if (unlinkat(rm->fd, name, AT_REMOVEDIR) == 0)
		removed(rm);
	else if (errno != ENOENT)
		note(rm, -errno);
	return 0;
}

/* enter_next - into the next noted sub-directory; one that cannot be read may still be empty */
static void enter_next(struct removal *rm)
{
	_cleanup_free_ char *name = rm->at->subdirs[--rm->at->n_subdirs];
	int r = descend(rm, rm->fd, name);

	if (r == 0) {
		empty_pass(rm);
		return;
	}
	if (r == -ENOENT)
		return;
	if (r == -EXDEV || unlinkat(rm->fd, name, AT_REMOVEDIR) < 0)
		note(rm, r);
	else
		removed(rm);
}

/* is_worth_another_pass - file systems may skip entries while others are removed */
static bool is_worth_another_pass(const struct frame *f)
{
	return f->has_removed && !f->has_failed && f->n_passes < MAX_PASSES;
}

static bool is_empty(int fd)
{
	_cleanup_dir_ DIR *d = NULL;
	struct dirent *e;
	int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (copy < 0)
		return false;
	d = fdopendir(copy);
	if (!d) {
		fd_close(copy);
		return false;
	}
	while ((e = readdir(d)))
		if (!path_is_dots(e->d_name))
			return false;
	return true;
}

int path_remove_tree(int dirfd, const char *name, unsigned long *n_removed)
{
	return path_remove_tree_until(dirfd, name, n_removed, NULL);
}

int path_remove_tree_until(
	int dirfd, const char *name, unsigned long *n_removed, const atomic_bool *stop)
{
	struct removal rm = {.fd = -1, .stop = stop};
	int r;

	if (n_removed)
		*n_removed = 0;
	if (!*name || path_is_dots(name) || strchr(name, '/'))
		return -EINVAL;
	r = descend(&rm, dirfd, name);
	if (r) { /* not a directory, a symbolic link, or one that we may not read */
		if (unlinkat(dirfd, name, 0) == 0 ||
			(r != -EXDEV && unlinkat(dirfd, name, AT_REMOVEDIR) == 0)) {
			removed(&rm);
			r = 0;
		} else if (r == -ENOTDIR || r == -ELOOP) {
			r = -errno;
		}
		goto out;
	}
	empty_pass(&rm);
	for (;;) {
		if (is_stopped(&rm)) {
			note(&rm, -ECANCELED);
			break;
		}
		if (rm.at->n_subdirs) {
			enter_next(&rm);
			continue;
		}
		if (is_worth_another_pass(rm.at) && !is_empty(rm.fd)) {
			empty_pass(&rm);
			continue;
		}
		if (!rm.at->up)
			break;
		r = ascend(&rm);
		if (r) {
			note(&rm, r);
			break;
		}
	}
	while (rm.at)
		frame_pop(&rm);
	fd_close(rm.fd);
	if (!rm.error && unlinkat(dirfd, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
		note(&rm, -errno);
	else if (!rm.error)
		removed(&rm);
	r = rm.error;
out:
	if (n_removed)
		*n_removed = rm.n_removed;
	return r;
}
