/* SPDX-License-Identifier: GPL-2.0-or-later */
/* serve.h — pieces for other peers: what the Vortex server asks (vortex_source_ops), answered from the
 * tasks in hand or in the store. A task that is complete and one that is being fetched serve alike:
 * a piece is served when it was verified here.
 * How many are sent at once, and who waits or is told "busy", is the server's business.
 */
#ifndef P2P_SERVE_H
#define P2P_SERVE_H

#include <stdbool.h>
#include <stdint.h>

struct serve;
struct tasks;
struct vortex_source_ops;

extern const struct vortex_source_ops serve_ops; /* arg: the struct serve */

int serve_new(struct serve **out, struct tasks *tasks);
bool serve_is_idle(const struct serve *s);
struct serve *serve_free(struct serve *s); /* idle only; returns NULL */
struct serve_stats {
	uint64_t n_running, n_pieces, bytes, n_missing;
};
struct serve_stats serve_get_stats(const struct serve *s);

#endif
