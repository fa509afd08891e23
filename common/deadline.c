/* SPDX-License-Identifier: GPL-2.0-or-later */
/* deadline.c — see deadline.h */
#include "common/deadline.h"

#include "common/cleanup.h"

static void arm(struct deadline *d)
{
	d->armed = d->at;
	loop_timer(d->loop, &d->op, d->at);
}

static void on_timer(struct loop_op *op, int res)
{
	struct deadline *d = container_of(op, struct deadline, op);

	if (d->is_stopped) {
		d->fn(d, false);
	} else if (d->at <= loop_now(d->loop)) {
		d->at = UINT64_MAX;
		d->fn(d, true);
	} else if (d->at != UINT64_MAX) {
		arm(d);
	}
}

void deadline_init(struct deadline *d, struct loop *l, void (*fn)(struct deadline *d, bool expired))
{
	*d = (struct deadline){.loop = l, .at = UINT64_MAX, .fn = fn};
	loop_op_init(&d->op, on_timer);
}

void deadline_set(struct deadline *d, uint64_t at)
{
	if (d->is_stopped)
		return;
	d->at = at;
	if (at == UINT64_MAX)
		return;
	if (!loop_op_is_active(&d->op))
		arm(d);
	else if (at < d->armed)
		loop_cancel(d->loop, &d->op); /* armed anew when that comes back */
}

void deadline_stop(struct deadline *d)
{
	d->is_stopped = true;
	d->at = UINT64_MAX;
	loop_cancel(d->loop, &d->op);
}
