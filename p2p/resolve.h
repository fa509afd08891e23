/* SPDX-License-Identifier: GPL-2.0-or-later */
/* resolve.h — names of peers to addresses, again and again, without blocking the loop.
 *
 * "10.0.0.1:4000", "[fe80::1]:4000", "peers.example:4000". A name may have several addresses: all
 * are told. When a name does not resolve now, what it had last stays.
 */
#ifndef P2P_RESOLVE_H
#define P2P_RESOLVE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

struct loop;
struct resolve;

#define RESOLVE_MAX 256 /* addresses in all */

/* resolve_split - "host:port" into parts; 0 or -EINVAL. @host needs strlen(text)+1 bytes. */
int resolve_split(const char *text, char *host, char port[6]);
/* resolve_new - @fn gets all addresses after the first round and whenever they changed, from the
 * loop. Rounds repeat every @interval_ns unless all names are numbers. 0, -EINVAL (a text is not
 * host:port; *bad is its index) or -ENOMEM. */
typedef void (*resolve_fn)(void *arg, const struct sockaddr_storage *v, size_t n);
int resolve_new(struct resolve **out, struct loop *l, const char *const *names, size_t n,
	uint64_t interval_ns, resolve_fn fn, void *arg, size_t *bad);
/* resolve_free - no callback any more; memory goes when the running look-up ends. Returns NULL. */
struct resolve *resolve_free(struct resolve *r);

#endif
