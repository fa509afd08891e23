/* SPDX-License-Identifier: GPL-2.0-or-later */
/* netif.h — the network interface that carries an address: its name, speed and byte counters
 * (libnl-3 route netlink; the speed by ethtool). The kernel answers at once: nothing here waits for
 * anybody else. Needs no path and no privilege.
 */
#ifndef COMMON_NETIF_H
#define COMMON_NETIF_H

#include <net/if.h>
#include <stdint.h>
#include <sys/socket.h>

struct netif;

struct netif_load {
	char name[IF_NAMESIZE];
	uint64_t rx_bytes, tx_bytes; /* since the interface came up */
	uint64_t speed; /* bits per second, 0 = unknown (virtual interfaces) */
};

/* netif_new - 0 or -errno */
int netif_new(struct netif **out);
struct netif *netif_free(struct netif *n); /* returns NULL */
/* netif_index_of - the interface that has @addr (port ignored); > 0, or -ENODEV, or -errno */
int netif_index_of(struct netif *n, const struct sockaddr *addr);
/* netif_read - 0 or -errno (-ENODEV: it has gone) */
int netif_read(struct netif *n, int index, struct netif_load *out);

#endif
