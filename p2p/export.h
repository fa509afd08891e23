/* SPDX-License-Identifier: GPL-2.0-or-later */
/* export.h — one DownloadPersistentCacheTask call, on the unix socket or from a peer.
 *
 * Opens the task, or joins a fetch of it; tells started, the pieces that are here, the pieces as
 * they arrive; then puts the whole where the caller wants it: a passed descriptor, a path through the
 * broker, the pieces themselves in the stream, or nowhere (only cached). The end of the stream with
 * OK means that all of that is done. Source: dragonfly-grpc.md §4.1.
 */
#ifndef P2P_EXPORT_H
#define P2P_EXPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct broker;
struct exports;
struct fetches;
struct foreign;
struct local;
struct loop;
struct rpc_call;
struct tasks;

struct manager;

struct exports_config {
	struct loop *loop;
	struct foreign *foreign;
	struct tasks *tasks;
	struct fetches *fetches;
	struct local *local;
	struct broker *broker; /* NULL: paths are refused */
	const char *host_id, *hostname, *ip; /* borrowed */
	const struct manager *manager; /* whose block list holds; NULL: none */
	bool link_first; /* export_link: try a hard link before reflink and copy */
	size_t content_bytes; /* of pieces in memory, for all streams together; 0 = 32 MiB */
	unsigned max_exports; /* 0 = 256 */
};

struct histogram;
struct labels;
int exports_new(struct exports **out, const struct exports_config *cfg);
/* exports_close - running ones end with UNAVAILABLE */
void exports_close(struct exports *es);
bool exports_is_idle(const struct exports *es);
struct exports *exports_free(struct exports *es);
struct exports_stats {
	uint64_t n_running, n_done, n_failed, n_reflinked, n_linked, n_copied;
	uint64_t bytes; /* of tasks that were exported */
	uint64_t bytes_local; /* of those, what was here before */
};
void exports_set_link_first(struct exports *es, bool link_first);
struct exports_stats exports_get_stats(const struct exports *es);
const struct labels *exports_labels(const struct exports *es);
const struct histogram *exports_durations(const struct exports *es); /* of those that succeeded */

/* The callbacks of the method (rpc.h). @may_output: the unix socket. The call's data pointer is used. */
void export_request(
	struct exports *es, struct rpc_call *call, const uint8_t *p, size_t n, bool may_output);
void export_drained(struct rpc_call *call);
void export_ended(struct rpc_call *call);

#endif
