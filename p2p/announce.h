/* SPDX-License-Identifier: GPL-2.0-or-later */
/* announce.h — the periodic host report (scheduler.v2.Scheduler/AnnounceHost): true figures of CPU,
 * memory, disk and network of this host, to every scheduler (embedded: to every live peer).
 * Reads /proc, /sys and the interface's counters; never a path of the cache: the disk's figures
 * are told by the owner (the store's hello has them). Source: dragonfly-grpc.md §3 Host.
 */
#ifndef P2P_ANNOUNCE_H
#define P2P_ANNOUNCE_H

#include <stdbool.h>
#include <stdint.h>

struct announce;
struct loop;
struct sched;

struct announce_config {
	const char *host_id, *hostname, *ip,
		*name; /* all copied; name: instance, NULL = hostname */
	uint16_t port; /* of the TCP server */
	const char *idc, *location; /* NULL = none */
	bool disable_shared; /* never a replica target */
	uint64_t cluster_id;
	uint64_t interval_ns; /* 0 = 30 s */
	uint64_t max_tx_bandwidth,
		max_rx_bandwidth; /* bits per second; 0 = the interface's speed */
};

/* announce_new - begins with the first turn of the loop. 0 or -errno. */
int announce_new(
	struct announce **out, struct loop *l, struct sched *s, const struct announce_config *cfg);
/* announce_free - no DeleteHost is sent (sched_delete_host does). Returns NULL. */
struct announce *announce_free(struct announce *a);
/* announce_set_disk - bytes of the cache's file system as an import sees them; a change of free
 * space by more than 1 % of the total is announced at once */
void announce_set_disk(struct announce *a, uint64_t total, uint64_t available);
/* announce_set_address - the advertised address changed: announced at once */
void announce_set_address(struct announce *a, const char *host_id, const char *ip, uint16_t port);
/* announce_set_place - what the configuration says of this host changed; reported at once */
void announce_set_place(struct announce *a, const char *idc, const char *location,
	bool disable_shared, uint64_t interval_ns);
/* announce_stop - this host leaves: no report any more */
void announce_stop(struct announce *a);
/* announce_now - a new scheduler or peer appeared */
void announce_now(struct announce *a);
/* bits per second now, for SyncHost */
struct announce_load {
	uint64_t rx_bandwidth, tx_bandwidth, max_rx_bandwidth, max_tx_bandwidth;
};
struct announce_load announce_get_load(const struct announce *a);

#endif
