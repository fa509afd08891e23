/* SPDX-License-Identifier: GPL-2.0-or-later */
/* deadline.h — one moment by which something must have happened, moved cheaply.
 *
 * A connection moves its deadline with every byte that arrives; the timer of the loop behind it is
 * only touched when it fires or when the deadline comes nearer. Embedded in its owner. Like every
 * operation it must be idle before the owner is freed: deadline_stop(), then wait until
 * deadline_is_active() is false; @fn is called (with expired = false) when that has come true.
 */
#ifndef COMMON_DEADLINE_H
#define COMMON_DEADLINE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/loop.h"

struct deadline {
	struct loop *loop;
	struct loop_op op;
	uint64_t at, armed; /* UINT64_MAX: none */
	bool is_stopped;
	void (*fn)(struct deadline *d, bool expired);
};

void deadline_init(
	struct deadline *d, struct loop *l, void (*fn)(struct deadline *d, bool expired));
/* deadline_set - @fn(expired) at @at, instead of any earlier setting; UINT64_MAX: never. Does nothing
 * after deadline_stop(). */
void deadline_set(struct deadline *d, uint64_t at);
void deadline_stop(struct deadline *d);
static inline bool deadline_is_active(const struct deadline *d)
{
	return loop_op_is_active(&d->op);
}

#endif
