/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "p2p/foreign.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/cleanup.h"

#define MAX_CLOSING 32 /* of one user: threads that hang */

struct foreign_user {
	struct list link;
	uid_t uid;
	unsigned n_running, n_closing;
	struct list waiting;
};

struct closing {
	struct foreign *foreign;
	struct foreign_user *user;
	struct loop_op op;
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

static void on_closed(struct loop_op *op, int res)
{
	struct closing *c = container_of(op, struct closing, op);

	if (res < 0) /* no thread for it */
		close(c->fd);
	c->foreign->n_active--;
	if (c->user) {
		c->user->n_closing--;
		user_settle(c->user);
	}
	free(c);
}

int foreign_close(struct foreign *f, uid_t uid, int fd)
{
	struct closing *c;

	if (fd < 0)
		return -1;
	c = malloc(sizeof(*c));
	if (!c)
		return fd_close(fd);
	c->foreign = f;
	c->fd = fd;
	c->user = find_user(f, uid);
	if (c->user)
		c->user->n_closing++;
	loop_op_init(&c->op, on_closed);
	f->n_active++;
	loop_work_apart(f->loop, &c->op, do_close, c);
	return -1;
}

bool foreign_is_welcome(const struct foreign *f, uid_t uid)
{
	list_for_each (it, &f->users) {
		const struct foreign_user *u = list_entry(it, struct foreign_user, link);

		if (u->uid == uid)
			return u->n_closing < MAX_CLOSING;
	}
	return true;
}
