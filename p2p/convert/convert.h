/* SPDX-License-Identifier: GPL-2.0-or-later */
/* convert.h — an upstream dfdaemon.yaml (and dynconfig.yaml) as our two files. Pure: text in, text out.
 *
 * One table says what becomes of each key that upstream documents (dragonfly-p2p.md (k), both generations of
 * names); every key of the input is in the report, with where it went or why nowhere. What is generated is read
 * by our own parser before it is handed out.
 */
#ifndef P2P_CONVERT_CONVERT_H
#define P2P_CONVERT_CONVERT_H

#include <stddef.h>

#include "common/buf.h"

struct convert_result {
	struct buf dfcache; /* /etc/dragonfly/dfcache.conf */
	struct buf cachefilesd; /* lines for /etc/cachefilesd.conf */
	struct buf report; /* a line for each key of the input */
	size_t n_taken, n_left, n_unknown;
};

/* convert_run - @dynconfig may be NULL. 0, -EINVAL (with a sentence in the report: not YAML, or a value that
 * cannot be meant), or -ENOMEM. The caller calls convert_fini() in every case. */
int convert_run(struct convert_result *r, const char *yaml, size_t len, const char *dynconfig,
	size_t dynconfig_len);
void convert_fini(struct convert_result *r);

#endif
