/* SPDX-License-Identifier: GPL-2.0-or-later */
/* broker/caller.h — who is at the other end of a connected unix socket, does a path mean to them
 * what it means to us, and becoming them.
 *
 * All answers come from the kernel: SO_PEERCRED, SO_PEERGROUPS, SO_PEERPIDFD, SO_PEERSEC and
 * /proc of that very process. Whatever cannot be learned is refused, never guessed. A process that
 * became a caller (caller_become) has no way back: it serves one task and ends.
 */
#ifndef P2P_BROKER_CALLER_H
#define P2P_BROKER_CALLER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define CALLER_WHY 512

struct caller {
	pid_t pid;
	uid_t uid;
	gid_t gid;
	gid_t *groups; /* owned */
	size_t n_groups;
	mode_t umask;
	bool can_override, can_search; /* a root caller's CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH */
	char label[256]; /* security label, "" where there is none; for the log */
	int proc; /* its directory in /proc; that of no other process, ever */
};
#define CALLER_NULL                                                                                \
	{                                                                                          \
		.proc = -1                                                                         \
	}

/* caller_limit - give up, for good, every right that no task of a broker needs. 0 or -errno. */
int caller_limit(void);
/* caller_identify - 0, or -errno with a sentence for the caller in @why (CALLER_WHY bytes) */
int caller_identify(struct caller *c, int sock, char *why);
/* caller_check_view - 0 when the caller has our mount namespace, user namespace and root directory;
 * else -EPERM with a sentence that names what differs and says what to do instead */
int caller_check_view(const struct caller *c, char *why);
/* caller_become - their uid, gid, groups and umask, and of our capabilities only what a root caller
 * has itself; with @keep_fowner also CAP_FOWNER, not in effect. -EPERM with @why when this process
 * may not act for them. */
int caller_become(const struct caller *c, bool keep_fowner, char *why);
/* caller_raise_fowner - put the kept CAP_FOWNER into effect, or out of it */
void caller_raise_fowner(bool on);
void caller_fini(struct caller *c);

#endif
