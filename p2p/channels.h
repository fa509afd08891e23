/* SPDX-License-Identifier: GPL-2.0-or-later */
/* channels.h — one gRPC channel per TCP address of a peer or scheduler, made when first asked for
 * and kept. The pool owns them; callers borrow. On the loop's thread.
 */
#ifndef P2P_CHANNELS_H
#define P2P_CHANNELS_H

#include <stddef.h>
#include <sys/socket.h>

struct channels;
struct sockaddr_storage;
struct loop;
struct rpc_channel;
struct tls_context;

/* channels_new - at most @max channels; over it the one that was asked for longest ago is closed
 * (its requests end with CANCELLED). NULL: out of memory. */
struct channels *channels_new(struct loop *l, size_t max);
/* channels_free - requests in flight end with CANCELLED, from the loop. Returns NULL. */
struct channels *channels_free(struct channels *c);
/* channels_get - borrowed until the next channels_get(); start the request at once. NULL: out of
 * memory, or @sa is neither IPv4 nor IPv6. */
struct rpc_channel *channels_get(struct channels *c, const struct sockaddr *sa, socklen_t len);
/* channels_set_tls - channels made from now on speak TLS with servers whose certificates name @name, or
 * the address when @name is NULL or empty. @tls NULL: plaintext. */
int channels_set_tls(struct channels *c, struct tls_context *tls, const char *name);
/* channels_set_tls_for - same for one address, over what channels_set_tls() says; its channel begins anew.
 * 0, -ENOMEM, -EAFNOSUPPORT. */
int channels_set_tls_for(
	struct channels *c, const struct sockaddr *sa, struct tls_context *tls, const char *name);
/* channels_set_source - connections of channels made from now on come from this address */
void channels_set_source(struct channels *c, const struct sockaddr_storage *source);
size_t channels_n(const struct channels *c);

#endif
