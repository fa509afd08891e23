/* SPDX-License-Identifier: GPL-2.0-or-later */
/* addr.c — see addr.h */
#include "common/rpc/addr.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

/* host_of - the 16 bytes of an IPv6 address, IPv4 mapped into it; false for other families */
static bool host_of(const struct sockaddr *sa, struct in6_addr *out, unsigned *port)
{
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;

	if (sa->sa_family == AF_INET) {
		memcpy(&v4, sa, sizeof(v4));
		memset(out, 0, sizeof(*out));
		out->s6_addr[10] = out->s6_addr[11] = 0xff;
		memcpy(out->s6_addr + 12, &v4.sin_addr, 4);
		*port = ntohs(v4.sin_port);
		return true;
	}
	if (sa->sa_family != AF_INET6)
		return false;
	memcpy(&v6, sa, sizeof(v6));
	*out = v6.sin6_addr;
	*port = ntohs(v6.sin6_port);
	return true;
}

char *addr_format(const struct sockaddr *sa, char *out, size_t cap)
{
	char text[INET6_ADDRSTRLEN];
	struct in6_addr host;
	unsigned port;

	if (!host_of(sa, &host, &port)) {
		snprintf(out, cap, "unknown");
	} else if (IN6_IS_ADDR_V4MAPPED(&host)) {
		inet_ntop(AF_INET, host.s6_addr + 12, text, sizeof(text));
		snprintf(out, cap, "%s:%u", text, port);
	} else {
		inet_ntop(AF_INET6, &host, text, sizeof(text));
		snprintf(out, cap, "[%s]:%u", text, port);
	}
	return out;
}

char *addr_ip(const struct sockaddr *sa, char out[INET6_ADDRSTRLEN])
{
	struct in6_addr host;
	unsigned port;

	if (!host_of(sa, &host, &port))
		snprintf(out, INET6_ADDRSTRLEN, "unknown");
	else if (IN6_IS_ADDR_V4MAPPED(&host))
		inet_ntop(AF_INET, host.s6_addr + 12, out, INET6_ADDRSTRLEN);
	else
		inet_ntop(AF_INET6, &host, out, INET6_ADDRSTRLEN);
	return out;
}

bool addr_is_loopback(const struct sockaddr *sa)
{
	struct in6_addr host;
	unsigned port;

	if (!host_of(sa, &host, &port))
		return false;
	return IN6_IS_ADDR_V4MAPPED(&host) ? host.s6_addr[12] == 127 : IN6_IS_ADDR_LOOPBACK(&host);
}

bool addr_is_same_host(const struct sockaddr *a, const struct sockaddr *b)
{
	struct in6_addr x, y;
	unsigned port;

	return host_of(a, &x, &port) && host_of(b, &y, &port) && !memcmp(&x, &y, sizeof(x));
}
