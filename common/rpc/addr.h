/* SPDX-License-Identifier: GPL-2.0-or-later */
/* addr.h — socket addresses as people write them; is it the same host. Pure. */
#ifndef COMMON_RPC_ADDR_H
#define COMMON_RPC_ADDR_H

#include <stdbool.h>
#include <stddef.h>
#include <netinet/in.h>
#include <sys/socket.h>

/* addr_format - "10.0.0.1:4000", "[fe80::1]:4000"; an IPv4 address in IPv6 clothes as IPv4.
 * Returns @out. */
char *addr_format(const struct sockaddr *sa, char *out, size_t cap);
/* addr_ip - without the port, and without brackets: "10.0.0.1", "fe80::1". Returns @out. */
char *addr_ip(const struct sockaddr *sa, char out[INET6_ADDRSTRLEN]);
bool addr_is_loopback(const struct sockaddr *sa);
bool addr_is_same_host(const struct sockaddr *a, const struct sockaddr *b); /* ports apart */

#endif
