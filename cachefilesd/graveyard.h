/* SPDX-License-Identifier: GPL-2.0-or-later */
/* graveyard.h — deletes what the kernel moved to graveyard/, on a thread of its own.
 *
 * What lies there belongs to nobody any more: the kernel never looks at it again. Watched by
 * inotify; what was there at the start goes too. Any name, any depth (path_remove_tree), never
 * follows a link, never crosses a mount. Something that cannot be removed is reported once and
 * tried again later; it stops nothing. A large tree takes its time without holding up culling.
 */
#ifndef CACHEFILESD_GRAVEYARD_H
#define CACHEFILESD_GRAVEYARD_H

#include <stdint.h>

struct graveyard;

struct graveyard_stats {
	uint64_t n_reaped; /* entries removed, at any depth */
	uint64_t n_unreapable; /* entries of the graveyard that resisted in the last round */
};

/* graveyard_start - @dirfd is taken, also on failure. 0 or -errno */
int graveyard_start(struct graveyard **out, int dirfd);
/* graveyard_stop - within one unlink; what is left goes at the next start. Returns NULL */
struct graveyard *graveyard_stop(struct graveyard *g);
struct graveyard_stats graveyard_get_stats(struct graveyard *g);

#endif
