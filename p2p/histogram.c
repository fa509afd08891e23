/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "p2p/histogram.h"

#include <inttypes.h>

#include "common/buf.h"
#include "common/cleanup.h"

/* upper bounds of levels 1 … 19 in MiB */
static const uint64_t bounds_mib[] = {
	1,
	4,
	8,
	16,
	32,
	64,
	128,
	256,
	512,
	1 << 10,
	4 << 10,
	8 << 10,
	16 << 10,
	32 << 10,
	64 << 10,
	128 << 10,
	256 << 10,
	512 << 10,
	1 << 20,
};

_Static_assert(sizeof(bounds_mib) / sizeof(bounds_mib[0]) == HISTOGRAM_LEVELS - 2, "levels");

unsigned histogram_level(uint64_t bytes)
{
	unsigned i = 0;

	if (!bytes)
		return 0;
	while (i < ARRAY_SIZE(bounds_mib) && bytes > bounds_mib[i] << 20)
		i++;
	return i + 1;
}

void histogram_add(struct histogram *h, uint64_t bytes, uint64_t ms)
{
	unsigned level = histogram_level(bytes), b = 0;

	while (b < HISTOGRAM_BUCKETS && ms > UINT64_C(1) << b)
		b++;
	h->level[level].n[b]++;
	h->level[level].sum_ms += ms;
}

void histogram_format(
	const struct histogram *h, const char *name, const char *labels, struct buf *out)
{
	buf_addf(out, "# TYPE %s histogram\n", name);
	for (unsigned l = 0; l < HISTOGRAM_LEVELS; l++) {
		uint64_t total = 0, so_far = 0;

		for (unsigned b = 0; b <= HISTOGRAM_BUCKETS; b++)
			total += h->level[l].n[b];
		if (!total)
			continue;
		for (unsigned b = 0; b < HISTOGRAM_BUCKETS; b++) {
			so_far += h->level[l].n[b];
			buf_addf(out,
				"%s_bucket{%stask_size_level=\"%u\",le=\"%" PRIu64 "\"} %" PRIu64
				"\n",
				name, labels, l, UINT64_C(1) << b, so_far);
		}
		buf_addf(out, "%s_bucket{%stask_size_level=\"%u\",le=\"+Inf\"} %" PRIu64 "\n", name,
			labels, l, total);
		buf_addf(out, "%s_sum{%stask_size_level=\"%u\"} %" PRIu64 "\n", name, labels, l,
			h->level[l].sum_ms);
		buf_addf(out, "%s_count{%stask_size_level=\"%u\"} %" PRIu64 "\n", name, labels, l,
			total);
	}
}
