/* SPDX-License-Identifier: GPL-2.0-or-later */
/* own_address.h — the address of this host that others are told: configured, or chosen by the route
 * towards a peer; followed while the daemon runs.
 *
 * The host id keeps the address of the start: it is a name. What others dial is the address in the
 * host's report, and that one may move.
 */
#ifndef P2P_OWN_ADDRESS_H
#define P2P_OWN_ADDRESS_H

#include <netinet/in.h>

struct loop;
struct own_address;

/* own_address_find - towards the first peer in @peers (a LIST of host:port as config.c leaves it, may be NULL) that is named
 * by an address, else the general one; "127.0.0.1" when this host has no other. 0 or -errno. */
int own_address_find(const char *peers, char out[INET6_ADDRSTRLEN]);

/* own_address_follow - @fn(@arg, address), from the loop, when the address has changed, or with the same
 * address when the interface that carries it changed (another one, another speed). At most every
 * 2 s, and 0.5 s after the first sign, because a network comes up in steps. A host that loses its
 * last address keeps the old one until there is another of the same family. @fixed: configured, does
 * not change, NULL = chosen; @ip: what is told now. 0 or -errno. */
int own_address_follow(struct own_address **out, struct loop *l, const char *peers,
	const char *fixed, const char *ip, void (*fn)(void *arg, const char *ip), void *arg);
/* no call of fn any more; then @gone, once, from the loop, and the memory is free */
void own_address_close(struct own_address *o, void (*gone)(void *arg), void *arg);

#endif
