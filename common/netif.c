/* SPDX-License-Identifier: GPL-2.0-or-later */
/* netif.c — see netif.h */
#include "common/netif.h"

#include <errno.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netlink/netlink.h>
#include <netlink/route/addr.h>
#include <netlink/route/link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "common/cleanup.h"

struct netif {
	struct nl_sock *sock;
	int fd; /* any socket, for ethtool */
};

static int to_errno(int nl)
{
	switch (-nl) {
	case NLE_NODEV:
	case NLE_OBJ_NOTFOUND:
		return -ENODEV;
	case NLE_NOMEM:
		return -ENOMEM;
	default:
		return -EIO;
	}
}

int netif_new(struct netif **out)
{
	struct netif *n = calloc(1, sizeof(*n));
	int r;

	if (!n)
		return -ENOMEM;
	n->fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	n->sock = nl_socket_alloc();
	if (!n->sock) {
		netif_free(n);
		return -ENOMEM;
	}
	r = nl_connect(n->sock, NETLINK_ROUTE);
	if (r < 0) {
		netif_free(n);
		return to_errno(r);
	}
	*out = n;
	return 0;
}

struct netif *netif_free(struct netif *n)
{
	if (!n)
		return NULL;
	if (n->sock)
		nl_socket_free(n->sock);
	fd_close(n->fd);
	free(n);
	return NULL;
}

int netif_index_of(struct netif *n, const struct sockaddr *addr)
{
	const void *want = addr->sa_family == AF_INET
				   ? (const void *)&((const struct sockaddr_in *)addr)->sin_addr
				   : (const void *)&((const struct sockaddr_in6 *)addr)->sin6_addr;
	size_t len = addr->sa_family == AF_INET ? 4 : 16;
	struct nl_cache *cache;
	int r = rtnl_addr_alloc_cache(n->sock, &cache), index = -ENODEV;

	if (r < 0)
		return to_errno(r);
	for (struct nl_object *o = nl_cache_get_first(cache); o; o = nl_cache_get_next(o)) {
		struct rtnl_addr *a = (struct rtnl_addr *)o;
		const struct nl_addr *local = rtnl_addr_get_local(a);

		if (local && nl_addr_get_family(local) == addr->sa_family &&
			nl_addr_get_len(local) == len &&
			!memcmp(nl_addr_get_binary_addr(local), want, len)) {
			index = rtnl_addr_get_ifindex(a);
			break;
		}
	}
	nl_cache_free(cache);
	return index;
}

/* bits per second, 0 = the driver does not know */
static uint64_t speed_of(int fd, const char *name)
{
	struct ethtool_cmd cmd = {.cmd = ETHTOOL_GSET};
	struct ifreq ifr = {.ifr_data = (void *)&cmd};
	uint32_t mbit;

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
	if (ioctl(fd, SIOCETHTOOL, &ifr))
		return 0;
	mbit = ethtool_cmd_speed(&cmd);
	return mbit == (uint32_t)SPEED_UNKNOWN || mbit == 0xffff ? 0 : mbit * UINT64_C(1000000);
}

int netif_read(struct netif *n, int index, struct netif_load *out)
{
	struct rtnl_link *link;
	int r = rtnl_link_get_kernel(n->sock, index, NULL, &link);

	if (r < 0)
		return to_errno(r);
	memset(out, 0, sizeof(*out));
	snprintf(out->name, sizeof(out->name), "%s", rtnl_link_get_name(link));
	out->rx_bytes = rtnl_link_get_stat(link, RTNL_LINK_RX_BYTES);
	out->tx_bytes = rtnl_link_get_stat(link, RTNL_LINK_TX_BYTES);
	rtnl_link_put(link);
	out->speed = speed_of(n->fd, out->name);
	return 0;
}
