/* SPDX-License-Identifier: GPL-2.0-or-later */
/* placement.h — which hosts should get a replica, which copy is surplus, who may be a parent. Pure and
 * deterministic with its seed.
 */
#ifndef P2P_SCHEDULER_PLACEMENT_H
#define P2P_SCHEDULER_PLACEMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "p2p/scheduler/registry.h"

struct placement_rng {
	uint64_t state;
};
uint64_t placement_random(struct placement_rng *g); /* 64 uniform bits; not for secrets */
uint64_t placement_below(struct placement_rng *g, uint64_t n); /* 0..n-1; n > 0 */

/* placement_target - the best host for one more replica of @t: live, shares, not draining, has no copy
 * and no replication of it under way, not avoided now, with room. Other idc than the present
 * copies first, then another location, then fewer replications under way, then more free space.
 * NULL: none; *why (may be NULL) then says what stands in the way, as a phrase. */
struct reg_host *placement_target(const struct registry *r, const struct reg_task *t,
	struct placement_rng *g, uint64_t now, const char **why);
/* placement_surplus - the counted replica to give up first: not kept on request, whose idc and
 * location others share most, then the one with the least free space. NULL: none may. */
struct reg_copy *placement_surplus(const struct reg_task *t, struct placement_rng *g);

/* placement_fits - has @h room for @length more bytes, as far as it said? */
bool placement_fits(const struct reg_host *h, uint64_t length);
uint64_t placement_host_hash(const struct reg_host *h);
void placement_avoid(struct reg_task *t, const struct reg_host *h, uint64_t until_ns);
bool placement_is_avoided(const struct reg_task *t, const struct reg_host *h, uint64_t now);

#endif
