/* SPDX-License-Identifier: GPL-2.0-or-later */
/* kstate.h — the line that a read of /dev/cachefiles yields: bytes to struct. Pure, fuzzed.
 *
 * `cull=0 frun=1507 fcull=f05 fstop=301 brun=4be8 bcull=3638 bstop=ad8 freleased=0 breleased=0`
 * Values are hexadecimal. Keys come in any order, unknown keys are ignored, absent ones stay 0
 * (kernels before 4.6 have no released counters). Source: fs/cachefiles/daemon.c.
 */
#ifndef CACHEFILESD_KSTATE_H
#define CACHEFILESD_KSTATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cachefilesd/limits.h"

struct kstate {
	bool is_bound; /* false: nothing was read, the cache is not bound */
	bool cull; /* culling is wanted */
	bool has_released; /* the kernel counts releases */
	struct limits_thresholds thresholds;
	uint64_t n_released; /* objects no longer in use since the last read */
	uint64_t released_sectors; /* their blocks, units of 512 bytes */
};

/* kstate_parse - 0; -EINVAL when a known key has no or a malformed value (out is then zeroed) */
int kstate_parse(const char *text, size_t n, struct kstate *out);

#endif
