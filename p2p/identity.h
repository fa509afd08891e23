/* SPDX-License-Identifier: GPL-2.0-or-later */
/* identity.h — the certificates of this peer: one TLS context towards other peers, perhaps others towards
 * Dragonfly's schedulers and manager; read again when their files change or somebody says so. Off (every
 * context NULL) when nothing is configured. Who shows a certificate of our CA is trusted like a configured
 * peer (DESIGN.md §5). On the loop's thread.
 */
#ifndef P2P_IDENTITY_H
#define P2P_IDENTITY_H

#include <stdint.h>

#include "common/loop.h"

struct config;
struct tls_context;

struct identity {
	struct tls_context *peers, *scheduler, *manager; /* owned; NULL: plaintext */
	/* private */
	struct loop *loop;
	struct loop_op timer;
	uint64_t check_ns, warned_ns;
};

/* identity_init - reads what is configured and begins to watch it. 0, or -errno after a sentence in the
 * log. */
int identity_init(struct identity *id, struct loop *l, const struct config *c);
/* identity_reload - read all again; what is wrong is said in the log, and the old stays */
void identity_reload(struct identity *id);
/* identity_stop - watch no more; before identity_fini() the loop has to turn */
void identity_stop(struct identity *id);
void identity_fini(struct identity *id);

#endif
