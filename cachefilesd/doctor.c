/* SPDX-License-Identifier: GPL-2.0-or-later */
/* doctor.c — see doctor.h. The kernel's part is kcache_preflight() and the files in /proc. */
#include "cachefilesd/doctor.h"

#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/timex.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "cachefilesd/bringup.h"
#include "cachefilesd/kcache.h"
#include "cachefilesd/store/layout.h"
#include "common/buf.h"
#include "common/cleanup.h"
#include "common/fd.h"
#include "common/num.h"
#include "common/selinux.h"

#define PROC_CACHES "/proc/fs/fscache/caches"
#define PROC_MAX    (1 << 20)

struct doctor {
	const struct config *cfg;
	void (*emit)(void *arg, enum doctor_level l, const char *what, const char *text);
	void *arg;
	enum doctor_level worst;
	int dirfd;
};

const char *doctor_level_name(enum doctor_level l)
{
	static const char *const names[] = {"ok", "note", "warning", "error"};

	return names[l];
}

static void say(struct doctor *d, enum doctor_level l, const char *what, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
static void say(struct doctor *d, enum doctor_level l, const char *what, const char *fmt, ...)
{
	char text[768];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	d->worst = l > d->worst ? l : d->worst;
	d->emit(d->arg, l, what, text);
}

/* ---- the disk -------------------------------------------------------------------------------- */

/* Blocks of 512 bytes and inodes below @name in the cache directory, added up; false: not all of it
 * can be read. */
static bool add_tree(struct doctor *d, const char *name, uint64_t *sectors, uint64_t *inodes)
{
	char path[PATH_MAX], *const paths[] = {path, NULL};
	bool is_whole = true;
	FTS *fts;
	FTSENT *e;

	if ((size_t)snprintf(path, sizeof(path), "%s/%s", d->cfg->dir, name) >= sizeof(path))
		return false;
	if (faccessat(d->dirfd, name, F_OK, AT_SYMLINK_NOFOLLOW))
		return errno == ENOENT;
	fts = fts_open(paths, FTS_PHYSICAL | FTS_XDEV | FTS_NOCHDIR, NULL);
	if (!fts)
		return false;
	while ((e = fts_read(fts)))
		switch (e->fts_info) {
		case FTS_DP:
			break;
		case FTS_DNR:
		case FTS_ERR:
			is_whole = false;
			break;
		case FTS_NS: /* it went meanwhile */
			break;
		default:
			*sectors += (uint64_t)e->fts_statp->st_blocks;
			(*inodes)++;
		}
	fts_close(fts);
	return is_whole;
}

/* Would an empty cache be enough? Asked only where it matters, since it walks the whole cache. */
static void check_never(
	struct doctor *d, const struct limits_thresholds *th, const struct statfs *st)
{
	uint64_t sectors = 0, inodes = 0, bsize = (uint64_t)st->f_bsize, most;
	char a[NUM_TEXT], b[NUM_TEXT], c[NUM_TEXT];

	if (st->f_bavail >= th->blocks.run && (!st->f_files || st->f_ffree >= th->files.run))
		return;
	if (!add_tree(d, "cache", &sectors, &inodes) ||
		!add_tree(d, "graveyard", &sectors, &inodes) ||
		!add_tree(d, "pieces", &sectors, &inodes))
		return;
	most = st->f_bavail + sectors * 512 / bsize;
	if (most < th->blocks.run)
		say(d, DOCTOR_WARNING, "limits",
			"brun can never be reached: it wants %s free, and with all %s of the cache "
			"gone %s would be; the rest is occupied or reserved by others (or still held by "
			"the kernel): lower brun, or give the cache a file system of its own",
			num_format_size(th->blocks.run * bsize, a, sizeof(a)),
			num_format_size(sectors * 512, b, sizeof(b)),
			num_format_size(most * bsize, c, sizeof(c)));
	if (st->f_files && st->f_ffree + inodes < th->files.run)
		say(d, DOCTOR_WARNING, "limits",
			"frun can never be reached: it wants %llu free inodes, and with all %llu of "
			"the cache gone %llu would be: lower frun",
			(unsigned long long)th->files.run, (unsigned long long)inodes,
			(unsigned long long)(st->f_ffree + inodes));
}

static void check_limits(struct doctor *d)
{
	const struct limits *l = &d->cfg->limits;
	struct limits_thresholds th;
	char a[NUM_TEXT], b[NUM_TEXT];
	struct statfs st;
	uint64_t bsize;

	if (fstatfs(d->dirfd, &st)) {
		say(d, DOCTOR_ERROR, "limits", "the free space cannot be read: %s",
			strerror(errno));
		return;
	}
	bsize = (uint64_t)st.f_bsize;
	th = limits_compute(l, st.f_blocks, st.f_files);
	if (st.f_bavail < th.blocks.stop)
		say(d, DOCTOR_ERROR, "limits",
			"%s are free, below bstop (%s): nothing can be stored until culling or "
			"somebody else makes room",
			num_format_size(st.f_bavail * bsize, a, sizeof(a)),
			num_format_size(th.blocks.stop * bsize, b, sizeof(b)));
	else if (st.f_bavail < th.blocks.cull)
		say(d, DOCTOR_WARNING, "limits", "%s are free, below bcull (%s): culling goes on",
			num_format_size(st.f_bavail * bsize, a, sizeof(a)),
			num_format_size(th.blocks.cull * bsize, b, sizeof(b)));
	else
		say(d, DOCTOR_OK, "limits", "%s are free, bcull is %s",
			num_format_size(st.f_bavail * bsize, a, sizeof(a)),
			num_format_size(th.blocks.cull * bsize, b, sizeof(b)));
	if (l->blocks.cull - l->blocks.stop < 2)
		say(d, DOCTOR_NOTE, "limits",
			"bcull and bstop are 1%% apart (%s): a fast writer may reach bstop before "
			"culling helps",
			num_format_size((th.blocks.cull - th.blocks.stop) * bsize, a, sizeof(a)));
	if (!st.f_files)
		say(d, DOCTOR_NOTE, "limits",
			"this file system has no fixed number of inodes: frun, fcull and fstop have "
			"no effect");
	else if (st.f_ffree < th.files.cull)
		say(d, DOCTOR_WARNING, "limits", "only %llu inodes are free, below fcull (%llu)",
			(unsigned long long)st.f_ffree, (unsigned long long)th.files.cull);
	check_never(d, &th, &st);
}

/* can the limits be met by us at all, or does somebody else fill the disk? */
static void check_reach(struct doctor *d)
{
	_cleanup_fd_ int parent = openat(d->dirfd, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct stat here, above;

	if (parent < 0 || fstat(parent, &above) || fstat(d->dirfd, &here))
		return;
	if (above.st_dev == here.st_dev)
		say(d, DOCTOR_NOTE, "dir",
			"the cache shares its file system with other files: what they occupy cannot "
			"be culled, and the limits are percentages of the whole");
}

/* an unnamed file tries what the store needs */
static void check_file_system(struct doctor *d)
{
	_cleanup_fd_ int rw = openat(d->dirfd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	_cleanup_fd_ int ro = -1;
	char path[40];

	if (rw < 0) {
		say(d, errno == EACCES ? DOCTOR_NOTE : DOCTOR_WARNING, "file system",
			"an unnamed file cannot be made here: %s", strerror(errno));
		return;
	}
	if (fallocate(rw, FALLOC_FL_KEEP_SIZE, 0, 65536) && errno == EOPNOTSUPP)
		say(d, DOCTOR_WARNING, "file system",
			"it cannot reserve space (fallocate): promises are only counted, and a disk "
			"that others fill may break them");
	if (fd_punch_hole(rw, 0, 4096) == -EOPNOTSUPP)
		say(d, DOCTOR_NOTE, "file system", "it has no holes: sparse tasks take full space");
	snprintf(path, sizeof(path), "/proc/self/fd/%d", rw);
	ro = open(path, O_RDONLY | O_CLOEXEC);
	rw = fd_close(rw);
	if (ro >= 0 && fcntl(ro, F_SETLEASE, F_RDLCK))
		say(d, DOCTOR_WARNING, "file system",
			"it cannot prove that a file has no writer (F_SETLEASE: %s): a task could "
			"be changed after its commit by who still has it open",
			strerror(errno));
	else if (ro >= 0)
		say(d, DOCTOR_OK, "file system", "it can do what the piece store needs");
}

static void check_clock(struct doctor *d)
{
	struct timex tx = {0};

	if (adjtimex(&tx) == TIME_ERROR || tx.status & STA_UNSYNC)
		say(d, DOCTOR_NOTE, "clock",
			"it is not synchronised: after a jump, tasks expire only when the new time "
			"stood for ten minutes");
}

static void check_store(struct doctor *d)
{
	struct layout l;
	char reason[256];

	if (!d->cfg->store) {
		say(d, DOCTOR_NOTE, "store",
			"the piece store is off: dfdaemon needs the keyword store");
		return;
	}
	check_file_system(d);
	check_clock(d);
	if (faccessat(d->dirfd, "pieces", F_OK, 0)) {
		say(d, DOCTOR_NOTE, "store", "it is made when the daemon starts");
	} else if (layout_open_shared(&l, d->dirfd, reason)) {
		say(d, DOCTOR_ERROR, "store", "%s", reason);
	} else {
		say(d, DOCTOR_OK, "store", "pieces/ is there");
		layout_close(&l);
	}
}

/* Without the right label bind fails (EACCES), or the objects get a label that nobody may use. The
 * cache's usual place says which it is; a cache elsewhere has to be made known. */
static void check_label(struct doctor *d)
{
	static const char usual[] = "/var/cache/fscache";
	_cleanup_free_ char *has = NULL, *wanted = NULL;
	char reason[SELINUX_REASON];

	if (!selinux_is_active() || selinux_label_for(usual, &wanted))
		return;
	if (selinux_get_label(d->dirfd, &has, reason))
		say(d, DOCTOR_WARNING, "label", "%s", reason);
	else if (selinux_same_type(has, wanted))
		say(d, DOCTOR_OK, "label", "%s", has);
	else if (!strcmp(d->cfg->dir, usual))
		say(d, DOCTOR_WARNING, "label",
			"%s is labelled %s and should be %s: restorecon -R %s", usual, has, wanted,
			usual);
	else
		say(d, DOCTOR_WARNING, "label",
			"%s is labelled %s and should be %s: semanage fcontext -a -e %s %s; restorecon "
			"-R %s",
			d->cfg->dir, has, wanted, usual, d->cfg->dir, d->cfg->dir);
}

/* ---- the kernel ------------------------------------------------------------------------------ */

static void check_kernel_version(struct doctor *d)
{
	struct utsname u;
	unsigned major = 0, minor = 0;

	if (uname(&u) || sscanf(u.release, "%u.%u", &major, &minor) != 2)
		return;
	if (major < 5 || (major == 5 && minor < 17))
		say(d, DOCTOR_WARNING, "kernel",
			"%s is older than 5.17: files stay pinned as long as their inode is in "
			"memory, and several of its cachefiles bugs stop the cache",
			u.release);
	else
		say(d, DOCTOR_OK, "kernel", "%s", u.release);
}

static void check_caches(struct doctor *d)
{
	_cleanup_buf_ struct buf b = {0};
	const char *tag = d->cfg->tag ? d->cfg->tag : "CacheFiles";
	char *save = NULL;

	if (fd_read_file(AT_FDCWD, PROC_CACHES, PROC_MAX, &b)) {
		say(d, DOCTOR_NOTE, "kernel",
			PROC_CACHES " cannot be read: the modules fscache and cachefiles are not "
				    "loaded");
		return;
	}
	for (char *s = b.data ? strtok_r((char *)b.data, "\n", &save) : NULL; s;
		s = strtok_r(NULL, "\n", &save)) {
		char state, name[256];

		/* a tag may have blanks: the rest of the line */
		if (sscanf(s, "%*s %*s %*s %*s %*s %c %255[^\n]", &state, name) != 2 ||
			strcmp(name, tag) != 0)
			continue;
		if (state == 'E')
			say(d, DOCTOR_ERROR, "kernel",
				"the cache \"%s\" is dead after an input/output error; the daemon "
				"binds it again, else restart it",
				name);
		else
			say(d, state == 'A' ? DOCTOR_OK : DOCTOR_WARNING, "kernel",
				"the cache \"%s\" is in state %c (A = active)", name, state);
		return;
	}
	say(d, DOCTOR_NOTE, "kernel", "no cache with the tag \"%s\" is bound", tag);
}

static void check_device(struct doctor *d)
{
	const char *path = getenv("CACHEFILESD_DEVICE");
	char holder[256];

	path = path ? path : KCACHE_DEVICE;
	if (access(path, F_OK))
		say(d, DOCTOR_ERROR, "device",
			"%s is not there: modprobe cachefiles; if that fails this kernel has none, "
			"and only nokernel works",
			path);
	else if (!kcache_find_holder(path, holder, sizeof(holder)))
		say(d, DOCTOR_OK, "device", "%s is held by %s", path, holder);
	else
		say(d, DOCTOR_NOTE, "device", "%s is not held by anybody", path);
}

static void check_kernel(struct doctor *d, const char *dir)
{
	struct culler_config cc = bringup_culler_config(d->cfg, dir, false);
	_cleanup_buf_ struct buf warnings = {0};
	char reason[KCACHE_REASON], *save = NULL;

	if (d->cfg->nokernel) {
		say(d, DOCTOR_NOTE, "kernel", "not used: the configuration says nokernel");
		return;
	}
	check_kernel_version(d);
	check_device(d);
	check_caches(d);
	if (kcache_preflight(&cc.kernel, &cc.use_secctx, reason, &warnings))
		say(d, DOCTOR_ERROR, "bind", "%s", reason);
	else
		say(d, DOCTOR_OK, "bind", "nothing stands in its way");
	for (char *s = warnings.data ? strtok_r((char *)warnings.data, "\n", &save) : NULL; s;
		s = strtok_r(NULL, "\n", &save))
		say(d, DOCTOR_WARNING, "bind", "%s", s);
}

enum doctor_level doctor_run(const struct config *cfg,
	void (*emit)(void *arg, enum doctor_level l, const char *what, const char *text), void *arg)
{
	struct doctor d = {.cfg = cfg, .emit = emit, .arg = arg};
	_cleanup_fd_ int fd = open(cfg->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0) {
		say(&d, DOCTOR_ERROR, "dir",
			"%s: errno %d (%s): make it, mode 0700, on the disk "
			"for the cache",
			cfg->dir, errno, strerror(errno));
		return d.worst;
	}
	d.dirfd = fd;
	check_reach(&d);
	check_limits(&d);
	check_label(&d);
	check_kernel(&d, cfg->dir);
	check_store(&d);
	return d.worst;
}
