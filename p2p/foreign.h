/* SPDX-License-Identifier: GPL-2.0-or-later */
/* foreign.h — work on descriptors that users passed, kept from hurting others.
 *
 * Behind such a descriptor may be a file system that never answers (FUSE, a dead file server), and
 * then every call on it hangs: reading, fstat(2), even close(2). So nothing is done with it on the
 * loop's thread, and of the pool's threads one user gets at most half; what is over that waits in order
 * of arrival. Root and our own user are not limited.
 */
#ifndef P2P_FOREIGN_H
#define P2P_FOREIGN_H

#include <stdbool.h>
#include <sys/types.h>

#include "common/list.h"
#include "common/loop.h"

struct foreign;

int foreign_new(struct foreign **out, struct loop *l, unsigned n_workers);
bool foreign_is_idle(const struct foreign *f);
struct foreign *foreign_free(struct foreign *f); /* idle only; returns NULL */

/* Embedded in its owner, which stays until fn. Like a loop_op: exactly one callback for each
 * foreign_work(), from the loop. */
struct foreign_op {
	void (*fn)(struct foreign_op *op, int res);
	/* private */
	struct foreign *foreign;
	struct foreign_user *user;
	struct loop_op op;
	struct list link;
	loop_work_fn work;
	void *arg;
};

static inline void foreign_op_init(
	struct foreign_op *op, void (*fn)(struct foreign_op *op, int res))
{
	*op = (struct foreign_op){.fn = fn};
	list_init(&op->link);
}
static inline bool foreign_op_is_active(const struct foreign_op *op)
{
	return loop_op_is_active(&op->op) || list_is_linked(&op->link);
}
void foreign_work(
	struct foreign *f, struct foreign_op *op, uid_t uid, loop_work_fn work, void *arg);
/* foreign_close - on a thread of its own, of which one user has 32; returns -1. Never fails: without
 * memory it is closed here. */
int foreign_close(struct foreign *f, uid_t uid, int fd);
/* foreign_is_welcome - false while all threads of this user hang in a close: take no more descriptors */
#define FOREIGN_UNWELCOME                                                                          \
	"too many files that you passed earlier do not answer: is their file system hung?"
bool foreign_is_welcome(const struct foreign *f, uid_t uid);

#endif
