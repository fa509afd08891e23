/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "p2p/foreign.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/cleanup.h"

/* of one user */
#define MAX_CLOSING 32 /* threads */
#define MAX_QUEUED  1024 /* descriptors that wait for one of them */
#define HANGS_NS    (UINT64_C(3) * 1000000000) /* on a busy machine a thread may start late */

struct foreign_user {
	struct list link;
	uid_t uid;
	unsigned n_running, n_closing, n_queued;
	struct list waiting;
	struct list closing, queued; /* oldest first */
};

struct closing {
	struct list link;
	struct foreign *foreign;
	struct foreign_user *user; /* NULL: no memory for one */
	struct loop_op op;
	uint64_t began_ns;
	int fd;
};

struct foreign {
	struct loop *loop;
	unsigned max_of_one;
	struct list users; /* those with something running: few */
	size_t n_active;
};

int foreign_new(struct foreign **out, struct loop *l, unsigned n_workers)
{
	struct foreign *f = calloc(1, sizeof(*f));

	if (!f)
		return -ENOMEM;
	f->loop = l;
	f->max_of_one = n_workers > 1 ? n_workers / 2 : 1;
	list_init(&f->users);
	*out = f;
	return 0;
}

bool foreign_is_idle(const struct foreign *f)
{
	return !f->n_active;
}

struct foreign *foreign_free(struct foreign *f)
{
	free(f);
	return NULL;
}

static struct foreign_user *find_user(struct foreign *f, uid_t uid)
{
	struct foreign_user *u;

	list_for_each (it, &f->users) {
		u = list_entry(it, struct foreign_user, link);
		if (u->uid == uid)
			return u;
	}
	u = calloc(1, sizeof(*u));
	if (!u)
		return NULL;
	u->uid = uid;
	list_init(&u->waiting);
	list_init(&u->closing);
	list_init(&u->queued);
	list_init(&u->link);
	list_push(&f->users, &u->link);
	return u;
}

static void user_settle(struct foreign_user *u)
{
	if (u->n_running || u->n_closing || !list_empty(&u->waiting))
		return;
	list_del(&u->link);
	free(u);
}

static void start(struct foreign_op *op)
{
	if (op->user)
		op->user->n_running++;
	loop_work(op->foreign->loop, &op->op, op->work, op->arg);
}

static void on_work(struct loop_op *lop, int res)
{
	struct foreign_op *op = container_of(lop, struct foreign_op, op);
	struct foreign *f = op->foreign;
	struct foreign_user *u = op->user;
	struct list *next;

	f->n_active--;
	if (u) {
		u->n_running--;
		next = list_pop(&u->waiting);
		if (next)
			start(list_entry(next, struct foreign_op, link));
		else
			user_settle(u);
	}
	op->fn(op, res);
}

void foreign_work(struct foreign *f, struct foreign_op *op, uid_t uid, loop_work_fn work, void *arg)
{
	op->foreign = f;
	op->work = work;
	op->arg = arg;
	op->user = uid == 0 || uid == geteuid() ? NULL : find_user(f, uid);
	loop_op_init(&op->op, on_work);
	f->n_active++;
	if (op->user && op->user->n_running >= f->max_of_one) {
		list_push(&op->user->waiting, &op->link);
		return;
	}
	start(op);
}

static int do_close(void *arg)
{
	struct closing *c = arg;

	close(c->fd);
	return 0;
}

static void begin_close(struct closing *c);

static void on_closed(struct loop_op *op, int res)
{
	struct closing *c = container_of(op, struct closing, op);
	struct foreign_user *u = c->user;
	struct list *next;

	if (res < 0) /* no thread for it */
		close(c->fd);
	c->foreign->n_active--;
	if (u) {
		list_del(&c->link);
		u->n_closing--;
		next = list_pop(&u->queued);
		if (next) {
			u->n_queued--;
			begin_close(list_entry(next, struct closing, link));
		} else {
			user_settle(u);
		}
	}
	free(c);
}

static void begin_close(struct closing *c)
{
	c->began_ns = loop_now(c->foreign->loop);
	if (c->user) {
		c->user->n_closing++;
		list_push(&c->user->closing, &c->link);
	}
	loop_work_apart(c->foreign->loop, &c->op, do_close, c);
}

int foreign_close(struct foreign *f, uid_t uid, int fd)
{
	struct closing *c;

	if (fd < 0)
		return -1;
	c = malloc(sizeof(*c));
	if (!c)
		return fd_close(fd);
	*c = (struct closing){.foreign = f, .user = find_user(f, uid), .fd = fd};
	list_init(&c->link);
	loop_op_init(&c->op, on_closed);
	f->n_active++;
	if (c->user && c->user->n_closing >= MAX_CLOSING) {
		c->user->n_queued++;
		list_push(&c->user->queued, &c->link);
	} else {
		begin_close(c);
	}
	return -1;
}

bool foreign_is_welcome(const struct foreign *f, uid_t uid)
{
	list_for_each (it, &f->users) {
		const struct foreign_user *u = list_entry(it, struct foreign_user, link);

		if (u->uid != uid)
			continue;
		return u->n_closing < MAX_CLOSING ||
		       (u->n_queued < MAX_QUEUED &&
			       loop_now(f->loop) <
				       list_entry(u->closing.next, struct closing, link)->began_ns +
					       HANGS_NS);
	}
	return true;
}
