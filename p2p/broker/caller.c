/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "p2p/broker/caller.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/fd.h"
#include "common/privs.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77 /* Linux 6.5 */
#endif

#define MAX_GROUPS    65536 /* NGROUPS_MAX of the kernel */
#define DEFAULT_UMASK 022
#define USE_FD                                                                                     \
	"send a descriptor instead of a path (the dfcache that comes with this dfdaemon does so)"

static int __attribute__((format(printf, 3, 4))) refuse(char *why, int error, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, CALLER_WHY, fmt, ap);
	va_end(ap);
	return error;
}

/* ---- capabilities: nothing is in effect but around the call that needs it ------------------ */

static bool is_permitted(cap_value_t c)
{
	cap_flag_value_t v = CAP_CLEAR;
	cap_t caps = cap_get_proc();

	if (caps) {
		cap_get_flag(caps, c, CAP_PERMITTED, &v);
		cap_free(caps);
	}
	return v == CAP_SET;
}

static int set_effective(const cap_value_t *want, size_t n)
{
	cap_t caps = cap_get_proc();
	int r = 0;

	if (!caps)
		return -errno;
	if (cap_clear_flag(caps, CAP_EFFECTIVE) < 0)
		r = -errno;
	/* what is not permitted stays off: the call itself will show it */
	for (size_t i = 0; i < n && r == 0; i++)
		if (is_permitted(want[i]) &&
			cap_set_flag(caps, CAP_EFFECTIVE, 1, &want[i], CAP_SET) < 0)
			r = -errno;
	if (r == 0 && cap_set_proc(caps) < 0)
		r = -errno;
	cap_free(caps);
	return r;
}

/* set_all - permitted = those of @keep that are permitted now, effective = those of @effective */
static int set_all(const cap_value_t *keep, size_t n_keep, const cap_value_t *effective, size_t n)
{
	cap_t next = cap_init();
	int r = next ? 0 : -ENOMEM;

	for (size_t i = 0; i < n_keep && r == 0; i++)
		if (is_permitted(keep[i]) &&
			cap_set_flag(next, CAP_PERMITTED, 1, &keep[i], CAP_SET) < 0)
			r = -errno;
	if (r == 0 && cap_set_proc(next) < 0)
		r = -errno;
	if (next)
		cap_free(next);
	return r < 0 ? r : set_effective(effective, n);
}

int caller_limit(void)
{
	/* the table in ARCHITECTURE.md says what each one is for */
	static const cap_value_t keep[] = {CAP_SETUID, CAP_SETGID, CAP_FOWNER, CAP_SYS_PTRACE,
		CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH};
	cap_value_t have[ARRAY_SIZE(keep)];
	size_t n = 0;
	int r;

	for (size_t i = 0; i < ARRAY_SIZE(keep); i++)
		if (is_permitted(keep[i]))
			have[n++] = keep[i];
	r = privs_keep_caps(have, n);
	if (r < 0)
		return r;
	/* a task has the caller's uid: the caller must not be able to look into it, or steer it */
	if (prctl(PR_SET_DUMPABLE, 0) < 0)
		return -errno;
	return set_effective(NULL, 0);
}

void caller_raise_fowner(bool on)
{
	static const cap_value_t fowner = CAP_FOWNER;

	/* a failure shows as EPERM of the call that it was meant for */
	(void)set_effective(&fowner, on ? 1 : 0);
}

/* ---- identity ------------------------------------------------------------------------------ */

static int get_groups(struct caller *c, int sock)
{
	socklen_t len = 64 * sizeof(gid_t);

	for (int i = 0; i < 2; i++) {
		gid_t *g = realloc(c->groups, len ? len : 1);

		if (!g)
			return -ENOMEM;
		c->groups = g;
		if (getsockopt(sock, SOL_SOCKET, SO_PEERGROUPS, g, &len) == 0) {
			c->n_groups = len / sizeof(gid_t);
			return 0;
		}
		/* ERANGE has set the length that it needs */
		if (errno != ERANGE || len > MAX_GROUPS * sizeof(gid_t))
			return -errno;
	}
	return -ERANGE;
}

/* open_process - c->proc, a directory that stays this process's even when its number is reused:
 * opened while the descriptor of the process says that it lives */
static int open_process(struct caller *c, int sock, bool *is_exact)
{
	struct pollfd p = {.fd = -1, .events = POLLIN};
	_cleanup_fd_ int pidfd = -1;
	socklen_t len = sizeof(pidfd);
	char path[32];

	*is_exact = getsockopt(sock, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &len) == 0;
	if (!*is_exact) {
		if (errno != ENOPROTOOPT && errno != EINVAL)
			return -ESRCH;
		/* an older kernel: the number again; status_read() compares the uid then */
		pidfd = pidfd_open(c->pid, 0);
		if (pidfd < 0)
			return -ESRCH;
	}
	snprintf(path, sizeof(path), "/proc/%d", (int)c->pid);
	c->proc = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (c->proc < 0)
		return -errno;
	p.fd = pidfd;
	return poll(&p, 1, 0) == 0 ? 0 : -ESRCH;
}

static const char *status_field(const char *text, const char *name)
{
	const char *p = strstr(text, name);

	return p ? p + strlen(name) : NULL;
}

/* read_status - umask, and what a root caller could do; absent fields leave the defaults */
static int read_status(struct caller *c, bool is_exact)
{
	_cleanup_buf_ struct buf b = {0};
	const char *p;
	unsigned mask, euid;
	uint64_t caps;
	int r = fd_read_file(c->proc, "status", 65536, &b);

	if (r < 0)
		return is_exact ? 0 : r;
	p = status_field(buf_str(&b), "\nUid:");
	if (!is_exact && (!p || sscanf(p, "%*u %u", &euid) != 1 || euid != c->uid))
		return -ESRCH;
	p = status_field(buf_str(&b), "\nUmask:");
	if (p && sscanf(p, "%o", &mask) == 1)
		c->umask = mask & 0777;
	/* only for one who was root when it connected: a user's process may have executed a set-uid
	 * program since, and its rights are not that user's */
	p = status_field(buf_str(&b), "\nCapEff:");
	if (c->uid == 0 && p && sscanf(p, "%" SCNx64, &caps) == 1) {
		c->can_override = caps & (1ull << CAP_DAC_OVERRIDE);
		c->can_search = caps & (1ull << CAP_DAC_READ_SEARCH);
	}
	return 0;
}

int caller_identify(struct caller *c, int sock, char *why)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);
	int domain = 0, r;
	bool is_exact;

	*c = (struct caller)CALLER_NULL;
	c->umask = DEFAULT_UMASK;
	if (getsockopt(sock, SOL_SOCKET, SO_DOMAIN, &domain, &(socklen_t){sizeof(domain)}) < 0 ||
		domain != AF_UNIX || getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0 ||
		cred.uid == (uid_t)-1)
		return refuse(why, -EPERM,
			"who asks for this path is not known: it did not come over a connected "
			"unix socket");
	c->pid = cred.pid;
	c->uid = cred.uid;
	c->gid = cred.gid;
	len = sizeof(c->label) - 1;
	if (getsockopt(sock, SOL_SOCKET, SO_PEERSEC, c->label, &len) < 0)
		c->label[0] = '\0';
	r = get_groups(c, sock);
	if (r < 0)
		return refuse(why, -EPERM, "the groups of uid %u are not known: %s",
			(unsigned)c->uid, strerror(-r));
	if (c->pid <= 0)
		return refuse(why, -EPERM,
			"the caller is in another process namespace (a container?): " USE_FD);
	r = open_process(c, sock, &is_exact);
	if (r == 0)
		r = read_status(c, is_exact);
	if (r < 0)
		return refuse(why, -EPERM,
			"the process that asked (%d) has ended or cannot be seen: %s", (int)c->pid,
			strerror(-r));
	return 0;
}

void caller_fini(struct caller *c)
{
	free(c->groups);
	c->groups = NULL;
	c->n_groups = 0;
	c->proc = fd_close(c->proc);
}

/* ---- does a path mean the same to both? ---------------------------------------------------- */

/* same_namespace - 1 yes, 0 no, -errno: not to be learned */
static int same_namespace(int proc, const char *name)
{
	struct stat theirs, ours;
	char self[32];

	snprintf(self, sizeof(self), "/proc/self/%s", name);
	if (fstatat(proc, name, &theirs, 0) < 0 || stat(self, &ours) < 0)
		return -errno;
	return theirs.st_dev == ours.st_dev && theirs.st_ino == ours.st_ino;
}

static int same_root(int proc)
{
	_cleanup_fd_ int theirs = openat(proc, "root", O_PATH | O_DIRECTORY | O_CLOEXEC), ours = -1;
	const unsigned mask = STATX_INO | STATX_MNT_ID;
	struct statx a, b;

	if (theirs < 0)
		return -errno;
	ours = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (ours < 0 || statx(theirs, "", AT_EMPTY_PATH, mask, &a) < 0 ||
		statx(ours, "", AT_EMPTY_PATH, mask, &b) < 0)
		return -errno;
	/* the mount too: a bind mount of / elsewhere has the same inode */
	return a.stx_dev_major == b.stx_dev_major && a.stx_dev_minor == b.stx_dev_minor &&
	       a.stx_ino == b.stx_ino && (a.stx_mask & STATX_MNT_ID) &&
	       (b.stx_mask & STATX_MNT_ID) && a.stx_mnt_id == b.stx_mnt_id;
}

int caller_check_view(const struct caller *c, char *why)
{
	/* the kernel shows these links of another uid, or of a process with more capabilities than
	 * ours, to CAP_SYS_PTRACE only */
	static const cap_value_t look = CAP_SYS_PTRACE;
	static const char *const names[] = {"mount namespace", "user namespace", "root directory"};
	int answers[ARRAY_SIZE(names)];

	(void)set_effective(&look, 1);
	answers[0] = same_namespace(c->proc, "ns/mnt");
	answers[1] = same_namespace(c->proc, "ns/user");
	answers[2] = same_root(c->proc);
	(void)set_effective(NULL, 0);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		if (answers[i] == 0)
			return refuse(why, -EPERM,
				"the caller has another %s than dfdaemon's broker (a container?), "
				"where this path may be another file: " USE_FD,
				names[i]);
		if (answers[i] < 0)
			return refuse(why, -EPERM,
				"the %s of process %d cannot be seen (%s), so this path may be "
				"another file there: " USE_FD,
				names[i], (int)c->pid, strerror(-answers[i]));
	}
	return 0;
}

/* ---- becoming the caller ------------------------------------------------------------------- */

static int take_identity(const struct caller *c)
{
	static const cap_value_t ids[] = {CAP_SETUID, CAP_SETGID};

	if (set_effective(ids, ARRAY_SIZE(ids)) < 0 || prctl(PR_SET_KEEPCAPS, 1) < 0 ||
		setgroups(c->n_groups, c->groups) < 0 || setresgid(c->gid, c->gid, c->gid) < 0 ||
		setresuid(c->uid, c->uid, c->uid) < 0 || prctl(PR_SET_KEEPCAPS, 0) < 0 ||
		prctl(PR_SET_DUMPABLE, 0) < 0)
		return -errno;
	return 0;
}

int caller_become(const struct caller *c, bool keep_fowner, char *why)
{
	cap_value_t keep[3];
	size_t n = 0, n_effective;
	int r;

	if (is_permitted(CAP_SETUID) && is_permitted(CAP_SETGID)) {
		r = take_identity(c);
		if (r < 0)
			return refuse(why, -EPERM, "the broker cannot act for uid %u: %s",
				(unsigned)c->uid, strerror(-r));
	} else if (c->uid != geteuid()) {
		/* the broker of an ordinary user's own dfdaemon: it is that user, and nobody else */
		return refuse(why, -EPERM,
			"dfdaemon's broker runs as uid %u and cannot open a path for uid %u: " USE_FD,
			(unsigned)geteuid(), (unsigned)c->uid);
	}
	if (c->can_override)
		keep[n++] = CAP_DAC_OVERRIDE;
	if (c->can_search)
		keep[n++] = CAP_DAC_READ_SEARCH;
	n_effective = n;
	if (keep_fowner)
		keep[n++] = CAP_FOWNER;
	r = set_all(keep, n, keep, n_effective);
	if (r < 0)
		return refuse(
			why, -EPERM, "the broker cannot give up its rights: %s", strerror(-r));
	umask(c->umask);
	return 0;
}
