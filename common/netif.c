/* SPDX-License-Identifier: GPL-2.0-or-later */
/* netif.c — see netif.h */
#include "common/netif.h"

#include <errno.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netlink/netlink.h>
#include <netlink/route/addr.h>
#include <netlink/route/link.h>
#include <netlink/route/route.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "common/cleanup.h"
#include "common/loop.h"

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

/* ---- the address that others reach us by ---------------------------------------------------- */

static bool to_sockaddr(struct nl_addr *a, struct sockaddr_storage *out)
{
	socklen_t len = sizeof(*out);

	memset(out, 0, sizeof(*out));
	return a && nl_addr_fill_sockaddr(a, (struct sockaddr *)out, &len) == 0;
}

static bool is_loopback(const struct sockaddr_storage *sa)
{
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)sa;

	if (sa->ss_family == AF_INET)
		return ntohl(v4->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
	return IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)sa)->sin6_addr);
}

struct route_answer {
	struct sockaddr_storage source;
	bool is_found, is_local;
};

static int on_route(struct nl_msg *msg, void *arg)
{
	struct route_answer *a = arg;
	struct rtnl_route *route;

	if (rtnl_route_parse(nlmsg_hdr(msg), &route) < 0)
		return NL_SKIP;
	a->is_local = rtnl_route_get_type(route) == RTN_LOCAL;
	a->is_found = to_sockaddr(rtnl_route_get_pref_src(route), &a->source);
	rtnl_route_put(route);
	return NL_OK;
}

/* ask_route - how the kernel would reach @dst, an address of @family. 0 or a negative
 * libnl code, for example when there is no way. */
static int ask_route(struct netif *n, int family, struct nl_addr *dst, struct route_answer *a)
{
	struct rtmsg m = {.rtm_family = (unsigned char)family};
	struct nl_msg *msg = nlmsg_alloc_simple(RTM_GETROUTE, NLM_F_REQUEST);
	struct nl_cb *of_sock = nl_socket_get_cb(n->sock); /* takes a reference */
	struct nl_cb *cb = nl_cb_clone(of_sock);
	int r = -NLE_NOMEM;

	nl_cb_put(of_sock);
	*a = (struct route_answer){0};
	if (msg && cb) {
		m.rtm_dst_len = (unsigned char)(nl_addr_get_len(dst) * 8);
		nl_cb_set(cb, NL_CB_VALID, NL_CB_CUSTOM, on_route, a);
		r = nlmsg_append(msg, &m, sizeof(m), NLMSG_ALIGNTO);
		if (r >= 0)
			r = nla_put_addr(msg, RTA_DST, dst);
		if (r >= 0)
			r = nl_send_auto(n->sock, msg);
		if (r >= 0)
			r = nl_recvmsgs(n->sock, cb);
		if (r >= 0) /* the acknowledgement, which libnl asks for by itself */
			r = nl_wait_for_ack(n->sock);
	}
	nlmsg_free(msg);
	nl_cb_put(cb);
	return r < 0 ? r : 0;
}

/* source_for - true when there is a source address for it that is of use to others */
static bool source_for(
	struct netif *n, const struct sockaddr *toward, struct sockaddr_storage *source)
{
	const void *bytes =
		toward->sa_family == AF_INET
			? (const void *)&((const struct sockaddr_in *)toward)->sin_addr
			: (const void *)&((const struct sockaddr_in6 *)toward)->sin6_addr;
	struct nl_addr *dst =
		nl_addr_build(toward->sa_family, bytes, toward->sa_family == AF_INET ? 4 : 16);
	struct route_answer a;
	bool ok;

	if (!dst)
		return false;
	ok = ask_route(n, toward->sa_family, dst, &a) == 0 && a.is_found && !a.is_local &&
	     !is_loopback(&a.source);
	nl_addr_put(dst);
	if (ok)
		*source = a.source;
	return ok;
}

/* first_address - of an interface that is up; IPv4 before IPv6, global only */
static int first_address(struct netif *n, struct sockaddr_storage *out)
{
	struct nl_cache *links = NULL, *addrs = NULL;
	int r = rtnl_link_alloc_cache(n->sock, AF_UNSPEC, &links), best = AF_UNSPEC;

	if (r >= 0)
		r = rtnl_addr_alloc_cache(n->sock, &addrs);
	for (struct nl_object *o = r < 0 ? NULL : nl_cache_get_first(addrs); o;
		o = nl_cache_get_next(o)) {
		struct rtnl_addr *a = (struct rtnl_addr *)o;
		struct rtnl_link *link = rtnl_link_get(links, rtnl_addr_get_ifindex(a));
		bool is_up = link && rtnl_link_get_flags(link) & IFF_UP;
		struct sockaddr_storage sa;

		rtnl_link_put(link);
		if (!is_up || rtnl_addr_get_scope(a) != RT_SCOPE_UNIVERSE ||
			!to_sockaddr(rtnl_addr_get_local(a), &sa) || is_loopback(&sa))
			continue;
		if (best == AF_UNSPEC || (best == AF_INET6 && sa.ss_family == AF_INET)) {
			*out = sa;
			best = sa.ss_family;
		}
	}
	nl_cache_free(links);
	nl_cache_free(addrs);
	if (r < 0)
		return to_errno(r);
	return best == AF_UNSPEC ? -EADDRNOTAVAIL : 0;
}

int netif_address(struct netif *n, const struct sockaddr *toward, struct sockaddr_storage *out)
{
	/* documentation addresses (RFC 5737, RFC 3849): nobody has a route of its own to them */
	struct sockaddr_in far4 = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0xc0000201)};
	struct sockaddr_in6 far6 = {
		.sin6_family = AF_INET6, .sin6_addr.s6_addr = {0x20, 0x01, 0x0d, 0xb8}};

	far6.sin6_addr.s6_addr[15] = 1;
	if ((toward && source_for(n, toward, out)) ||
		source_for(n, (struct sockaddr *)&far4, out) ||
		source_for(n, (struct sockaddr *)&far6, out))
		return 0;
	return first_address(n, out);
}

/* ---- changes ---------------------------------------------------------------------------------- */

struct netif_watch {
	struct loop *loop;
	struct nl_sock *sock;
	struct loop_op op;
	void (*fn)(void *arg);
	void *arg;
	bool is_closing;
	void (*gone)(void *arg);
	void *gone_arg;
};

static void watch_free(struct netif_watch *w)
{
	if (w->sock)
		nl_socket_free(w->sock);
	free(w);
}

static void on_change(struct loop_op *op, int res)
{
	struct netif_watch *w = container_of(op, struct netif_watch, op);
	int fd = nl_socket_get_fd(w->sock);
	char drain[8192];
	ssize_t n;

	if (w->is_closing) {
		void (*gone)(void *arg) = w->gone;
		void *arg = w->gone_arg;

		watch_free(w);
		if (gone)
			gone(arg);
		return;
	}
	/* what the messages say does not matter, and ENOBUFS (some were lost) is a change too */
	do
		n = recv(fd, drain, sizeof(drain), MSG_DONTWAIT);
	while (n > 0 || (n < 0 && (errno == EINTR || errno == ENOBUFS)));
	loop_poll(w->loop, &w->op, fd, POLLIN);
	w->fn(w->arg);
}

int netif_watch_new(struct netif_watch **out, struct loop *l, void (*fn)(void *arg), void *arg)
{
	struct netif_watch *w = calloc(1, sizeof(*w));
	int r;

	if (!w || !(w->sock = nl_socket_alloc())) {
		free(w);
		return -ENOMEM;
	}
	w->loop = l;
	w->fn = fn;
	w->arg = arg;
	loop_op_init(&w->op, on_change);
	r = nl_connect(w->sock, NETLINK_ROUTE);
	if (r >= 0)
		r = nl_socket_add_memberships(w->sock, RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR,
			RTNLGRP_IPV6_IFADDR, RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE, 0);
	if (r < 0) {
		watch_free(w);
		return to_errno(r);
	}
	loop_poll(l, &w->op, nl_socket_get_fd(w->sock), POLLIN);
	*out = w;
	return 0;
}

void netif_watch_close(struct netif_watch *w, void (*gone)(void *arg), void *arg)
{
	w->is_closing = true;
	w->gone = gone;
	w->gone_arg = arg;
	loop_cancel(w->loop, &w->op);
}
