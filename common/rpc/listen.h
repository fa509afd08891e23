/* SPDX-License-Identifier: GPL-2.0-or-later */
/* listen.h — listening sockets for rpc_server_new(). Non-blocking, CLOEXEC. Do not block.
 * All return a descriptor that the caller owns, or -errno.
 */
#ifndef COMMON_RPC_LISTEN_H
#define COMMON_RPC_LISTEN_H

#include <sys/socket.h>
#include <sys/types.h>

/* rpc_listen_unix - a stream socket at @path with permissions @mode and, unless -1, group @gid. What
 * is at @path is removed only if it is a socket to which nobody listens; else -EADDRINUSE. Atomic:
 * the name appears with its permissions set and connections accepted. */
int rpc_listen_unix(const char *path, mode_t mode, gid_t gid);
/* rpc_listen_tcp - IPV6_V6ONLY on IPv6, so that both families can be bound side by side. Blocks up to
 * 2 s while the address is in use: a predecessor that was killed may still hold it. */
int rpc_listen_tcp(const struct sockaddr *sa, socklen_t len);

/* rpc_bind_source - connections of @fd, a TCP socket that is not connected yet, come from @source, which may be
 * NULL, of the wrong family, or not an address of this host (advertised through a translator): then the
 * kernel chooses, and the last case is logged */
void rpc_bind_source(int fd, const struct sockaddr *source, int family);

#endif
