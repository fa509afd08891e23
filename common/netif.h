/* SPDX-License-Identifier: GPL-2.0-or-later */
/* netif.h — the addresses and interfaces of this host (libnl-3, route netlink): which address others
 * reach us by, what carries it, how fast and how busy it is, and when any of that changes. The kernel
 * answers at once: nothing here waits for anybody else. Needs no path and no privilege.
 */
#ifndef COMMON_NETIF_H
#define COMMON_NETIF_H

#include <net/if.h>
#include <stdint.h>
#include <sys/socket.h>

struct loop;
struct netif;
struct netif_watch;

struct netif_load {
	char name[IF_NAMESIZE];
	uint64_t rx_bytes, tx_bytes; /* since the interface came up */
	uint64_t speed; /* bits per second, 0 = unknown (virtual interfaces) */
};

/* netif_new - 0 or -errno */
int netif_new(struct netif **out);
struct netif *netif_free(struct netif *n); /* returns NULL */
/* netif_address - the address (port 0) that we have towards @toward: the one the kernel would send
 * from. Without @toward (NULL), or when there is no route to it: the one of the default route, else
 * the first global one of an interface that is up; IPv4 before IPv6. 0, -EADDRNOTAVAIL when there is
 * none but the loopback's, or -errno. A @toward of this host itself gets the general answer. */
int netif_address(struct netif *n, const struct sockaddr *toward, struct sockaddr_storage *out);
/* netif_index_of - the interface that has @addr (port ignored); > 0, or -ENODEV, or -errno */
int netif_index_of(struct netif *n, const struct sockaddr *addr);
/* netif_read - 0 or -errno (-ENODEV: it has gone) */
int netif_read(struct netif *n, int index, struct netif_load *out);

/* netif_watch_new - @fn after addresses, links or routes have changed, from the loop; changes that come
 * together are told once. What changed is asked for with the calls above. 0 or -errno. */
int netif_watch_new(struct netif_watch **out, struct loop *l, void (*fn)(void *arg), void *arg);
/* netif_watch_close - no call of fn any more; then @gone (may be NULL), once, from the loop */
void netif_watch_close(struct netif_watch *w, void (*gone)(void *arg), void *arg);

#endif
