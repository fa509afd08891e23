/* SPDX-License-Identifier: GPL-2.0-or-later */
/* kstats.h — the line `NoSpace: nwr=… ncr=… cull=…` of /proc/fs/fscache/stats. Pure. */
#ifndef CACHEFILESD_KSTATS_H
#define CACHEFILESD_KSTATS_H

#include <stdbool.h>
#include <stdint.h>

struct kstats_space {
	uint64_t n_writes_refused, n_creates_refused, n_culled;
};

/* kstats_parse_space - false when @text has no such line */
bool kstats_parse_space(const char *text, struct kstats_space *out);

#endif
