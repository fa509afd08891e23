/* SPDX-License-Identifier: GPL-2.0-or-later */
/* histogram.h — how long journeys took, by size of the task. Pure.
 *
 * Buckets and size levels are those of the reference client (dragonfly-p2p.md (l)): 2^0 … 2^23
 * milliseconds; level 0 is empty, then upper bounds from 1 MiB to 1 TiB, 20 is above.
 */
#ifndef P2P_HISTOGRAM_H
#define P2P_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_LEVELS  21
#define HISTOGRAM_BUCKETS 24

struct buf;

struct histogram {
	struct {
		uint64_t n[HISTOGRAM_BUCKETS + 1]; /* the last: longer than all bounds */
		uint64_t sum_ms;
	} level[HISTOGRAM_LEVELS];
};

unsigned histogram_level(uint64_t bytes);
void histogram_add(struct histogram *h, uint64_t bytes, uint64_t ms);
/* histogram_format - Prometheus text for metric @name; @labels ("a=\"b\",") go before the level's.
 * Levels without observations are left out. */
void histogram_format(
	const struct histogram *h, const char *name, const char *labels, struct buf *out);

#endif
