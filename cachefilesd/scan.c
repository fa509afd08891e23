// SPDX-License-Identifier: GPL-2.0-or-later
#include "cachefilesd/scan.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "cachefilesd/objname.h"
#include "common/cleanup.h"
#include "common/path.h"

#define BLOCK_SIZE 32768 /* what one getdents64() may return */

struct scan_frame {
	int fd;
	uint32_t dir;
	bool is_index, is_new_volume; /* an I directory right below the cache directory */
	size_t n_kept, n_hollow; /* things that make it not empty; empty fan-out directories */
	size_t pos, len;
	_Alignas(struct dirent64) char block[BLOCK_SIZE];
};

void scan_init(struct scan *s, struct dirnodes *nodes, const struct scan_sink *sink, void *arg)
{
	*s = (struct scan){.nodes = nodes, .sink = sink, .arg = arg, .cache_fd = -1};
}

void scan_fini(struct scan *s)
{
	scan_stop(s);
	for (size_t i = 0; i < SCAN_MAX_DEPTH; i++)
		free(s->frames[i]);
	memset(s->frames, 0, sizeof(s->frames));
}

static uint64_t to_ns(const struct statx_timestamp *t)
{
	/* before the Epoch there was no cache; 0 would mean "always first" to the conductor */
	if (t->tv_sec < 0 || (!t->tv_sec && !t->tv_nsec))
		return 1;
	return (uint64_t)t->tv_sec * 1000000000u + t->tv_nsec;
}

int scan_stat(int dirfd, const char *name, dev_t dev, bool use_mtime, struct scan_facts *out)
{
	struct statx sx;

	if (statx(dirfd, name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_STATX_DONT_SYNC,
		    STATX_TYPE | STATX_MODE | STATX_ATIME | STATX_MTIME | STATX_BLOCKS |
			    STATX_NLINK,
		    &sx) < 0)
		return -errno;
	if (makedev(sx.stx_dev_major, sx.stx_dev_minor) != dev ||
		(sx.stx_attributes & STATX_ATTR_MOUNT_ROOT))
		return -EXDEV;
	out->used_ns = to_ns(&sx.stx_atime);
	if (use_mtime && to_ns(&sx.stx_mtime) > out->used_ns)
		out->used_ns = to_ns(&sx.stx_mtime);
	out->bytes = sx.stx_blocks * 512;
	out->n_links = sx.stx_nlink;
	out->mode = sx.stx_mode;
	return 0;
}

/* Make @fd, which is taken, the current directory of the walk. @dir: a reference, taken too. */
static int push(struct scan *s, int fd, uint32_t dir)
{
	struct scan_frame *f = s->frames[s->depth];

	if (!f) {
		f = malloc(sizeof(*f));
		if (!f) {
			fd_close(fd);
			dirnode_put(s->nodes, dir);
			return -ENOMEM;
		}
		s->frames[s->depth] = f;
	}
	f->fd = fd;
	f->dir = dir;
	f->is_index = f->is_new_volume = false;
	f->n_kept = f->n_hollow = 0;
	f->pos = f->len = 0;
	s->depth++;
	s->n_dirs++;
	return 0;
}

static void pop(struct scan *s)
{
	struct scan_frame *f = s->frames[--s->depth];

	f->fd = fd_close(f->fd);
	dirnode_put(s->nodes, f->dir);
}

int scan_start(struct scan *s, int cache_fd, bool use_mtime)
{
	struct stat st;
	int fd;

	scan_stop(s);
	s->n_objects = s->n_bytes = s->n_dirs = s->n_skipped = 0;
	s->cache_fd = cache_fd;
	s->use_mtime = use_mtime;
	fd = path_open_beneath(cache_fd, ".", O_RDONLY | O_DIRECTORY, 0);
	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0) {
		fd_close(fd);
		return -errno;
	}
	s->dev = st.st_dev;
	dirnode_get(s->nodes, DIRNODE_ROOT);
	return push(s, fd, DIRNODE_ROOT);
}

void scan_stop(struct scan *s)
{
	while (s->depth)
		pop(s);
}

static void skip(struct scan *s, struct scan_frame *f, const char *name, int err)
{
	if (err == -ENOENT || err == -ESTALE)
		return; /* went away while we looked */
	f->n_kept++;
	s->n_skipped++;
	s->sink->skipped(s->arg, f->dir, name, err);
}

static void visit_alien(struct scan *s, struct scan_frame *f, const char *name, bool is_dir)
{
	if (!s->sink->alien(s->arg, f->fd, f->dir, name, is_dir))
		f->n_kept++;
}

static void visit_object(struct scan *s, struct scan_frame *f, const char *name)
{
	struct scan_facts facts;
	int r = scan_stat(f->fd, name, s->dev, s->use_mtime, &facts);

	if (r < 0) {
		skip(s, f, name, r);
		return;
	}
	f->n_kept++;
	s->n_objects++;
	s->n_bytes += facts.bytes;
	s->sink->candidate(s->arg, facts.used_ns, facts.bytes, f->dir, name);
}

/* Returns true when @name became the current directory. */
static bool enter(struct scan *s, struct scan_frame *f, const char *name, bool is_index)
{
	struct scan_frame *child;
	uint32_t dir;
	struct stat st;
	int fd;

	if (s->depth == SCAN_MAX_DEPTH) {
		visit_alien(s, f, name, true);
		return false;
	}
	fd = path_open_beneath(f->fd, name, O_RDONLY | O_DIRECTORY, 0);
	if (fd >= 0 && (fstat(fd, &st) < 0 || st.st_dev != s->dev)) {
		fd_close(fd);
		fd = -EXDEV;
	}
	if (fd < 0) {
		skip(s, f, name, fd);
		return false;
	}
	dir = dirnode_new(s->nodes, f->dir, name);
	if (dir == DIRNODE_NONE) {
		fd_close(fd);
		skip(s, f, name, -ENOMEM);
		return false;
	}
	if (push(s, fd, dir) < 0) {
		skip(s, f, name, -ENOMEM);
		return false;
	}
	child = s->frames[s->depth - 1];
	child->is_index = is_index;
	child->is_new_volume = is_index && s->depth == 2 && name[0] == 'I';
	return true;
}

/* Where readdir does not tell the type (DT_UNKNOWN), ask. False: it is gone or unreadable. */
static bool type_of(
	struct scan *s, struct scan_frame *f, const struct dirent64 *e, enum objname_type *type)
{
	struct stat st;
	unsigned char d_type = e->d_type;

	if (d_type == DT_UNKNOWN) {
		if (fstatat(f->fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT) < 0) {
			skip(s, f, e->d_name, -errno);
			return false;
		}
		d_type = IFTODT(st.st_mode);
	}
	*type = d_type == DT_REG ? OBJNAME_REG : d_type == DT_DIR ? OBJNAME_DIR : OBJNAME_OTHER;
	return true;
}

/* Returns true when the walk went into a sub-directory. */
static bool visit(struct scan *s, struct scan_frame *f, const struct dirent64 *e)
{
	enum objname_type type;

	if (path_is_dots(e->d_name) || !type_of(s, f, e, &type))
		return false;
	switch (objname_classify(e->d_name, type)) {
	case OBJNAME_SKIP:
		return false;
	case OBJNAME_OBJECT:
		visit_object(s, f, e->d_name);
		return false;
	case OBJNAME_INDEX:
		return enter(s, f, e->d_name, true);
	case OBJNAME_INTERMEDIATE:
		return enter(s, f, e->d_name, false);
	case OBJNAME_ALIEN:
		visit_alien(s, f, e->d_name, type == OBJNAME_DIR);
		return false;
	}
	return false;
}

/* The current directory was read to its end: is it empty, and what does that mean above? */
static void leave(struct scan *s)
{
	struct scan_frame *f = s->frames[s->depth - 1], *up;
	char name[NAME_MAX + 1];
	bool is_empty = !f->n_kept, is_bare = is_empty && !f->n_hollow, is_index = f->is_index;

	if (s->depth == 1) {
		pop(s);
		return;
	}
	up = s->frames[s->depth - 2];
	strncpy(name, s->nodes->v[f->dir].name, sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	pop(s);
	if (is_bare && up->is_new_volume && objname_is_fanout(name)) {
		/* made and kept by the kernel together with its volume, and removed with it */
		up->n_hollow++;
		return;
	}
	if (is_empty && (is_index || is_bare) &&
		s->sink->empty(s->arg, up->fd, up->dir, name, is_index))
		return;
	up->n_kept++;
}

int scan_step(struct scan *s)
{
	struct scan_frame *f;
	ssize_t n;

	if (!s->depth)
		return 0;
	f = s->frames[s->depth - 1];
	if (f->pos == f->len) {
		n = getdents64(f->fd, f->block, sizeof(f->block));
		if (n < 0 && errno != ENOENT) {
			f->n_kept++;
			s->n_skipped++;
			s->sink->skipped(s->arg, f->dir, "", -errno);
		}
		if (n <= 0) {
			leave(s);
			return s->depth > 0;
		}
		f->pos = 0;
		f->len = (size_t)n;
	}
	while (f->pos < f->len) {
		const struct dirent64 *e = (const void *)(f->block + f->pos);

		f->pos += e->d_reclen;
		if (visit(s, f, e))
			break;
	}
	return 1;
}
