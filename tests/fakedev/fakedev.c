// SPDX-License-Identifier: GPL-2.0-or-later
/* fakedev — a /dev/cachefiles without a kernel module: a FUSE file with the module's replies.
 *
 * usage: fakedev [-l LOG] DIRECTORY
 * mounts on DIRECTORY two files: `cachefiles`, the device, and `control`, for tests; runs in the
 * foreground until unmounted. LOG gets one line for each command: `errno command`.
 *
 * As strict as the module (reference: control device, reply by reply; kernels 6.1 and 6.12): one open
 * at a time, one command a write, the limits checked one by one against the values in force, the
 * working directory of the calling thread for cull and inuse, percentages of statfs, POLLIN until
 * the state was read, POLLOUT while culling is wanted, EIO to everything once dead. `cull` really
 * removes. One difference, on purpose: the module would delete in any directory of the machine;
 * this one counts a violation, answers EIO and touches nothing when the caller is not beneath
 * cache/. Another, by FUSE: a write of 0 bytes does not arrive.
 *
 * Commands for `control`, one a write: inuse PATH, release PATH (relative to cache/), release-all,
 * inuse-all, check (re-evaluates the free space, as the module does when it stores something),
 * die, eio N (the next N culls), virtual BLOCKS FILES (pretended total), free BLOCKS FILES
 * (pretended free; each cull adds to it), real. Reading it yields counters.
 */
#define FUSE_USE_VERSION 312
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

enum { INO_ROOT = 1, INO_DEVICE, INO_CONTROL };

static const char *const names[] = {[INO_DEVICE] = "cachefiles", [INO_CONTROL] = "control"};

struct inode_id {
	dev_t dev;
	ino_t ino;
};

static struct {
	FILE *log;
	/* the open device */
	bool is_open, is_bound, is_dead, has_tag, has_secctx, is_changed, is_culling;
	unsigned pct[2][3]; /* blocks, files; run, cull, stop */
	uint64_t threshold[2][3];
	char dir[PATH_MAX];
	int root_fd, cache_fd, grave_fd;
	unsigned grave_serial;
	uint64_t n_released, released_sectors;
	struct fuse_pollhandle *ph;
	/* the test's wishes; they outlive an open */
	struct inode_id *in_use;
	size_t n_in_use, cap_in_use;
	bool all_in_use, is_virtual;
	uint64_t v_total[2], v_free[2];
	unsigned n_eio;
	/* counters */
	uint64_t n_opens, n_reads, n_culled, n_inuse, n_cull_commands, n_violations, n_binds,
		n_withdrawn;
} dev = {.root_fd = -1, .cache_fd = -1, .grave_fd = -1};

enum { BLOCKS, FILES };
enum { RUN, CULL, STOP };

/* ---- space ---------------------------------------------------------------------------------- */

static void get_space(uint64_t total[2], uint64_t avail[2])
{
	struct statvfs v;

	if (dev.is_virtual) {
		memcpy(total, dev.v_total, sizeof(dev.v_total));
		memcpy(avail, dev.v_free, sizeof(dev.v_free));
		return;
	}
	if (fstatvfs(dev.root_fd, &v) < 0)
		memset(&v, 0, sizeof(v));
	total[BLOCKS] = v.f_blocks;
	total[FILES] = v.f_files;
	avail[BLOCKS] = v.f_bavail;
	avail[FILES] = v.f_ffree;
}

static void notify_poll(void)
{
	if (!dev.ph)
		return;
	fuse_lowlevel_notify_poll(dev.ph);
	fuse_pollhandle_destroy(dev.ph);
	dev.ph = NULL;
}

static void change(void)
{
	dev.is_changed = true;
	notify_poll();
}

/* fs/cachefiles/cache.c: the flag with its hysteresis. Returns false below stop. */
static bool check_space(void)
{
	uint64_t total[2], avail[2];
	bool was = dev.is_culling, is_ok = true;

	get_space(total, avail);
	if (avail[FILES] < dev.threshold[FILES][STOP] ||
		avail[BLOCKS] < dev.threshold[BLOCKS][STOP]) {
		dev.is_culling = true;
		is_ok = false;
	} else if (avail[FILES] < dev.threshold[FILES][CULL] ||
		   avail[BLOCKS] < dev.threshold[BLOCKS][CULL]) {
		dev.is_culling = true;
	} else if (avail[FILES] >= dev.threshold[FILES][RUN] &&
		   avail[BLOCKS] >= dev.threshold[BLOCKS][RUN]) {
		dev.is_culling = false;
	}
	if (was != dev.is_culling)
		change();
	return is_ok;
}

/* ---- in use --------------------------------------------------------------------------------- */

static struct inode_id *find_in_use(const struct stat *st)
{
	for (size_t i = 0; i < dev.n_in_use; i++)
		if (dev.in_use[i].dev == st->st_dev && dev.in_use[i].ino == st->st_ino)
			return &dev.in_use[i];
	return NULL;
}

static bool is_in_use(const struct stat *st)
{
	struct stat own;

	if (fstat(dev.cache_fd, &own) == 0 && own.st_ino == st->st_ino && own.st_dev == st->st_dev)
		return true;
	if (fstat(dev.grave_fd, &own) == 0 && own.st_ino == st->st_ino && own.st_dev == st->st_dev)
		return true;
	return (dev.all_in_use && S_ISREG(st->st_mode)) || find_in_use(st);
}

static int set_in_use(const char *path, bool on)
{
	struct inode_id *found;
	struct stat st;

	if (fstatat(dev.cache_fd, path, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	found = find_in_use(&st);
	if (on && !found) {
		if (dev.n_in_use == dev.cap_in_use) {
			dev.cap_in_use = dev.cap_in_use ? dev.cap_in_use * 2 : 64;
			dev.in_use = reallocarray(dev.in_use, dev.cap_in_use, sizeof(*dev.in_use));
			if (!dev.in_use)
				abort();
		}
		dev.in_use[dev.n_in_use++] = (struct inode_id){.dev = st.st_dev, .ino = st.st_ino};
	} else if (!on) {
		if (found)
			*found = dev.in_use[--dev.n_in_use];
		dev.n_released++;
		dev.released_sectors += (uint64_t)st.st_blocks;
		change();
	}
	return 0;
}

/* ---- commands ------------------------------------------------------------------------------- */

/* ctype.h in the C locale, and the kernel's Latin-1 no-break space */
static bool is_blank(unsigned char c)
{
	return isspace(c) || c == 0xa0;
}

static int cmd_limit(unsigned res, unsigned which, const char *arg)
{
	unsigned *p = dev.pct[res];
	unsigned long v;
	char *end;

	if (!isdigit((unsigned char)*arg))
		return -EINVAL;
	v = strtoul(arg, &end, 10);
	if (strcmp(end, "%"))
		return -EINVAL;
	if ((which == RUN && (v <= p[CULL] || v >= 100)) ||
		(which == CULL && (v <= p[STOP] || v >= p[RUN])) || (which == STOP && v >= p[CULL]))
		return -EINVAL;
	p[which] = (unsigned)v;
	return 0;
}

static int cmd_dir(const char *arg)
{
	if (!*arg)
		return -EINVAL;
	if (*dev.dir)
		return -EEXIST;
	strcpy(dev.dir, arg);
	return 0;
}

/* cache/ or graveyard/, made when absent unless that would dip below a stop limit */
static int get_directory(int root, const char *name)
{
	struct stat st;
	int fd;

	if (fstatat(root, name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
		if (!check_space())
			return -ENOBUFS;
		if (mkdirat(root, name, 0700) < 0)
			return -errno;
	} else if (!S_ISDIR(st.st_mode)) {
		return -EIO;
	}
	fd = openat(root, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static void close_directories(void)
{
	int *fds[] = {&dev.root_fd, &dev.cache_fd, &dev.grave_fd};

	for (size_t i = 0; i < 3; i++) {
		if (*fds[i] >= 0)
			close(*fds[i]);
		*fds[i] = -1;
	}
}

static int open_cwd(pid_t tid)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/cwd", (int)tid);
	fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static int cmd_bind(pid_t tid, const char *arg)
{
	uint64_t total[2], avail[2];
	struct statfs fs;
	struct stat st;
	int cwd, r;

	if (!*dev.dir)
		return -EINVAL;
	if (dev.is_bound)
		return -EBUSY;
	if (*arg)
		return -EINVAL;
	cwd = open_cwd(tid);
	if (cwd < 0)
		return cwd;
	r = fstatat(cwd, dev.dir, &st, AT_SYMLINK_NOFOLLOW) < 0 ? -errno
	    : !S_ISDIR(st.st_mode)                              ? -ENOTDIR
								: 0;
	if (r == 0)
		dev.root_fd = openat(cwd, dev.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	close(cwd);
	if (r < 0)
		return r;
	if (dev.root_fd < 0 || fstatfs(dev.root_fd, &fs) < 0)
		return -errno;
	if (fs.f_type == 0x01021994 || fs.f_type == 0x9fa0 || fs.f_type == 0x65735546)
		r = -EOPNOTSUPP; /* tmpfs, proc, FUSE */
	else if (fs.f_flags & ST_RDONLY)
		r = -EROFS;
	if (r == 0) {
		get_space(total, avail);
		for (int res = BLOCKS; res <= FILES; res++)
			for (int w = RUN; w <= STOP; w++)
				dev.threshold[res][w] = total[res] / 100 * dev.pct[res][w];
		r = dev.cache_fd = get_directory(dev.root_fd, "cache");
	}
	if (r >= 0)
		r = dev.grave_fd = get_directory(dev.root_fd, "graveyard");
	if (r < 0) {
		close_directories();
		return r;
	}
	dev.is_bound = true;
	dev.n_binds++;
	check_space();
	return 0;
}

/* Is @fd the cache directory or below it? By walking up, as nothing else can prove it. */
static bool is_beneath_cache(int fd)
{
	struct stat cache, st, up;
	int at = openat(fd, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	bool found = false;

	if (fstat(dev.cache_fd, &cache) < 0)
		return false;
	while (at >= 0) {
		int next;

		if (fstat(at, &st) < 0 || st.st_dev != cache.st_dev)
			break;
		found = st.st_ino == cache.st_ino;
		if (found)
			break;
		next = openat(at, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (next >= 0 && fstat(next, &up) == 0 && up.st_ino == st.st_ino &&
			up.st_dev == st.st_dev) {
			close(next);
			break; /* the root */
		}
		close(at);
		at = next;
	}
	if (at >= 0)
		close(at);
	return found;
}

static bool is_mount_point(int cwd, const char *name)
{
	struct statx sx;

	return statx(cwd, name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, STATX_TYPE, &sx) == 0 &&
	       (sx.stx_attributes & STATX_ATTR_MOUNT_ROOT);
}

static int remove_object(int cwd, const char *name, const struct stat *st)
{
	char grave[32];

	if (!S_ISDIR(st->st_mode))
		return unlinkat(cwd, name, 0) < 0 ? -EIO : 0;
	snprintf(grave, sizeof(grave), "%08x%08x", (unsigned)time(NULL), ++dev.grave_serial);
	return renameat(cwd, name, dev.grave_fd, grave) < 0 ? -EIO : 0;
}

static int on_object(pid_t tid, const char *name, bool is_cull)
{
	struct stat st;
	int cwd, r = 0;

	if (!dev.is_bound)
		return -EIO;
	if (strchr(name, '/'))
		return -EINVAL;
	if (!*name || !strcmp(name, ".") || !strcmp(name, "..") || strlen(name) > NAME_MAX)
		return -EIO;
	cwd = open_cwd(tid);
	if (cwd < 0)
		return cwd;
	if (!is_beneath_cache(cwd)) {
		struct stat root, at;

		/* the cache's own directories may be named from the root of the cache, which is not
		 * beneath cache/: EBUSY as they are in use */
		r = -EIO;
		if (fstat(dev.root_fd, &root) == 0 && fstat(cwd, &at) == 0 &&
			root.st_ino == at.st_ino && root.st_dev == at.st_dev &&
			fstatat(cwd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && is_in_use(&st))
			r = -EBUSY;
		else
			dev.n_violations++;
	} else if (fstatat(cwd, name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
		r = errno == ENOENT ? -ENOENT : -EIO;
	} else if (is_in_use(&st)) {
		r = -EBUSY;
	} else if (is_cull && is_mount_point(cwd, name)) {
		dev.is_dead = true;
		r = -EIO;
	} else if (is_cull && dev.n_eio) {
		dev.n_eio--;
		r = -EIO;
	} else if (is_cull) {
		r = remove_object(cwd, name, &st);
		if (r == 0) {
			dev.n_culled++;
			dev.v_free[BLOCKS] += (uint64_t)st.st_blocks / 8;
			dev.v_free[FILES]++;
		}
	}
	close(cwd);
	return r;
}

static int cmd_once(bool *flag, const char *arg, int again)
{
	if (!*arg)
		return -EINVAL;
	if (*flag)
		return again;
	*flag = true;
	return 0;
}

static int cmd_debug(const char *arg)
{
	char *end;

	strtoul(arg, &end, 0);
	return *end || *arg == '-' ? -EINVAL : 0;
}

static int command(pid_t tid, const char *word, const char *arg)
{
	static const char *const limits[2][3] = {
		{"brun", "bcull", "bstop"}, {"frun", "fcull", "fstop"}};

	for (unsigned res = BLOCKS; res <= FILES; res++)
		for (unsigned w = RUN; w <= STOP; w++)
			if (!strcmp(word, limits[res][w]))
				return cmd_limit(res, w, arg);
	if (!strcmp(word, "dir"))
		return cmd_dir(arg);
	if (!strcmp(word, "tag"))
		return cmd_once(&dev.has_tag, arg, -EEXIST);
	if (!strcmp(word, "secctx")) /* AppArmor is the active module, as in Debian */
		return *arg ? -ENOENT : -EINVAL;
	if (!strcmp(word, "debug"))
		return cmd_debug(arg);
	if (!strcmp(word, "bind"))
		return cmd_bind(tid, arg);
	if (!strcmp(word, "cull")) {
		dev.n_cull_commands++;
		return on_object(tid, arg, true);
	}
	if (!strcmp(word, "inuse")) {
		dev.n_inuse++;
		return on_object(tid, arg, false);
	}
	return -EOPNOTSUPP;
}

static int device_write(pid_t tid, const char *buf, size_t n)
{
	char text[4096], *arg;
	int r;

	if (n >= sizeof(text))
		return -EOPNOTSUPP;
	if (dev.is_dead)
		return -EIO;
	if (memchr(buf, '\0', n) || (n && *buf == '\n'))
		return -EINVAL;
	memcpy(text, buf, n);
	text[n] = '\0';
	text[strcspn(text, "\n")] = '\0';
	if (!*text || is_blank((unsigned char)*text))
		return -EOPNOTSUPP;
	for (arg = text; *arg && !is_blank((unsigned char)*arg); arg++)
		;
	if (*arg)
		*arg++ = '\0';
	while (is_blank((unsigned char)*arg))
		arg++;
	r = command(tid, text, arg);
	if (dev.log) {
		fprintf(dev.log, "%d %s %s\n", -r, text, arg);
		fflush(dev.log);
	}
	return r;
}

static int device_read(char *out, size_t cap)
{
	uint64_t(*t)[3] = dev.threshold;
	char line[256];
	int n;

	dev.n_reads++;
	if (!dev.is_bound)
		return 0;
	check_space();
	n = snprintf(line, sizeof(line),
		"cull=%d frun=%" PRIx64 " fcull=%" PRIx64 " fstop=%" PRIx64 " brun=%" PRIx64
		" bcull=%" PRIx64 " bstop=%" PRIx64 " freleased=%" PRIx64 " breleased=%" PRIx64,
		dev.is_culling, t[FILES][RUN], t[FILES][CULL], t[FILES][STOP], t[BLOCKS][RUN],
		t[BLOCKS][CULL], t[BLOCKS][STOP], dev.n_released, dev.released_sectors);
	dev.is_changed = false;
	dev.n_released = dev.released_sectors = 0;
	if ((size_t)n > cap)
		return -EMSGSIZE; /* and the counters are lost, as in the module */
	memcpy(out, line, (size_t)n);
	return n;
}

static void device_reset(void)
{
	static const unsigned defaults[3] = {7, 5, 1};

	for (int res = BLOCKS; res <= FILES; res++)
		memcpy(dev.pct[res], defaults, sizeof(defaults));
	memset(dev.threshold, 0, sizeof(dev.threshold));
	dev.is_bound = dev.is_dead = dev.has_tag = dev.has_secctx = false;
	dev.is_changed = dev.is_culling = false;
	dev.dir[0] = '\0';
	dev.n_released = dev.released_sectors = 0;
	close_directories();
}

/* ---- control -------------------------------------------------------------------------------- */

static int control_write(const char *buf, size_t n)
{
	char text[4096], *arg;
	uint64_t a = 0, b = 0;

	if (n >= sizeof(text))
		return -EINVAL;
	memcpy(text, buf, n);
	text[n] = '\0';
	text[strcspn(text, "\n")] = '\0';
	arg = strchr(text, ' ');
	if (arg)
		*arg++ = '\0';
	else
		arg = text + strlen(text);
	if (!strcmp(text, "inuse"))
		return set_in_use(arg, true);
	if (!strcmp(text, "release"))
		return set_in_use(arg, false);
	if (!strcmp(text, "inuse-all")) {
		dev.all_in_use = true;
	} else if (!strcmp(text, "release-all")) {
		dev.all_in_use = false;
		dev.n_released += dev.n_in_use + 1;
		dev.n_in_use = 0;
		change();
	} else if (!strcmp(text, "check")) {
		check_space();
	} else if (!strcmp(text, "die")) {
		dev.is_dead = true;
	} else if (!strcmp(text, "eio")) {
		dev.n_eio = (unsigned)atoi(arg);
	} else if (!strcmp(text, "real")) {
		dev.is_virtual = false;
	} else if (sscanf(arg, "%" SCNu64 " %" SCNu64, &a, &b) != 2) {
		return -EINVAL;
	} else if (!strcmp(text, "virtual")) {
		dev.is_virtual = true;
		dev.v_total[BLOCKS] = dev.v_free[BLOCKS] = a;
		dev.v_total[FILES] = dev.v_free[FILES] = b;
	} else if (!strcmp(text, "free")) {
		dev.v_free[BLOCKS] = a;
		dev.v_free[FILES] = b;
		if (dev.is_bound)
			check_space();
	} else {
		return -EINVAL;
	}
	return 0;
}

static int control_read(char *out, size_t cap)
{
	return snprintf(out, cap,
		"open=%d\nbound=%d\ndead=%d\nculling=%d\nopens=%" PRIu64 "\nbinds=%" PRIu64
		"\nwithdrawn=%" PRIu64 "\nreads=%" PRIu64 "\nculled=%" PRIu64
		"\ncull_commands=%" PRIu64 "\ninuse_commands=%" PRIu64 "\nviolations=%" PRIu64 "\n",
		dev.is_open, dev.is_bound, dev.is_dead, dev.is_culling, dev.n_opens, dev.n_binds,
		dev.n_withdrawn, dev.n_reads, dev.n_culled, dev.n_cull_commands, dev.n_inuse,
		dev.n_violations);
}

/* ---- FUSE ----------------------------------------------------------------------------------- */

static void fill_stat(fuse_ino_t ino, struct stat *st)
{
	memset(st, 0, sizeof(*st));
	st->st_ino = ino;
	st->st_mode = ino == INO_ROOT ? S_IFDIR | 0700 : S_IFREG | 0600;
	st->st_nlink = 1;
}

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fuse_entry_param e = {.attr_timeout = 0, .entry_timeout = 3600};

	for (fuse_ino_t ino = INO_DEVICE; parent == INO_ROOT && ino <= INO_CONTROL; ino++)
		if (!strcmp(name, names[ino])) {
			e.ino = ino;
			fill_stat(ino, &e.attr);
			fuse_reply_entry(req, &e);
			return;
		}
	fuse_reply_err(req, ENOENT);
}

static void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct stat st;

	fill_stat(ino, &st);
	fuse_reply_attr(req, &st, 0);
}

/* truncation by O_TRUNC of a shell's `>` */
static void op_setattr(
	fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set, struct fuse_file_info *fi)
{
	op_getattr(req, ino, fi);
}

static void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	if (ino == INO_DEVICE) {
		if (dev.is_open) {
			fuse_reply_err(req, EBUSY);
			return;
		}
		device_reset();
		dev.is_open = true;
		dev.n_opens++;
	}
	fi->direct_io = 1;
	fi->nonseekable = 0;
	fuse_reply_open(req, fi);
}

static void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	if (ino == INO_DEVICE) {
		dev.n_withdrawn += dev.is_bound;
		device_reset();
		dev.is_open = false;
		if (dev.ph)
			fuse_pollhandle_destroy(dev.ph);
		dev.ph = NULL;
	}
	fuse_reply_err(req, 0);
}

static void op_read(
	fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	char buf[1024];
	int n;

	if (ino == INO_CONTROL) {
		n = off ? 0 : control_read(buf, sizeof(buf));
		fuse_reply_buf(req, buf, (size_t)n < size ? (size_t)n : size);
		return;
	}
	n = device_read(buf, size < sizeof(buf) ? size : sizeof(buf));
	if (n < 0)
		fuse_reply_err(req, -n);
	else
		fuse_reply_buf(req, buf, (size_t)n);
}

static void op_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off,
	struct fuse_file_info *fi)
{
	/* the kernel tells the thread, not the process */
	int r = ino == INO_CONTROL ? control_write(buf, size)
				   : device_write(fuse_req_ctx(req)->pid, buf, size);

	if (r < 0)
		fuse_reply_err(req, -r);
	else
		fuse_reply_write(req, size);
}

static void op_poll(
	fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct fuse_pollhandle *ph)
{
	unsigned revents = POLLIN | POLLOUT;

	if (ino == INO_DEVICE) {
		if (ph) {
			if (dev.ph)
				fuse_pollhandle_destroy(dev.ph);
			dev.ph = ph;
		}
		revents = (dev.is_changed ? POLLIN : 0) | (dev.is_culling ? POLLOUT : 0);
	} else if (ph) {
		fuse_pollhandle_destroy(ph);
	}
	fuse_reply_poll(req, revents);
}

static void op_readdir(
	fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	char buf[512];
	size_t n = 0;

	for (fuse_ino_t i = INO_DEVICE; !off && i <= INO_CONTROL; i++) {
		struct stat st;

		fill_stat(i, &st);
		n += fuse_add_direntry(req, buf + n, sizeof(buf) - n, names[i], &st, (off_t)i);
	}
	fuse_reply_buf(req, buf, n < size ? n : size);
}

static const struct fuse_lowlevel_ops ops = {
	.lookup = op_lookup,
	.getattr = op_getattr,
	.setattr = op_setattr,
	.open = op_open,
	.release = op_release,
	.read = op_read,
	.write = op_write,
	.poll = op_poll,
	.readdir = op_readdir,
};

int main(int argc, char **argv)
{
	char program[] = "fakedev";
	char *fuse_argv[] = {program, NULL};
	struct fuse_args args = FUSE_ARGS_INIT(1, fuse_argv);
	struct fuse_session *se;
	int c, r = 1;

	while ((c = getopt(argc, argv, "l:")) != -1) {
		if (c != 'l')
			return 2;
		dev.log = fopen(optarg, "ae");
		if (!dev.log) {
			perror(optarg);
			return 1;
		}
	}
	if (optind + 1 != argc) {
		fprintf(stderr, "usage: fakedev [-l LOG] DIRECTORY\n");
		return 2;
	}
	device_reset();
	se = fuse_session_new(&args, &ops, sizeof(ops), NULL);
	if (!se)
		return 1;
	if (fuse_set_signal_handlers(se) == 0) {
		if (fuse_session_mount(se, argv[optind]) == 0) {
			r = fuse_session_loop(se) < 0;
			fuse_session_unmount(se);
		}
		fuse_remove_signal_handlers(se);
	}
	fuse_session_destroy(se);
	fuse_opt_free_args(&args);
	free(dev.in_use);
	return r;
}
