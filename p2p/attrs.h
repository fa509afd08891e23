/* SPDX-License-Identifier: GPL-2.0-or-later */
/* attrs.h — what the peer side keeps with a task in the store's opaque attributes: bytes <-> struct.
 *
 * Pure. Layout: a version byte (1), then fields of {key u8, length u16 le, bytes}; integers are u64
 * le. Unknown keys are skipped, so an older daemon reads what a newer one wrote; an unknown version
 * is refused. Always fits STORE_ATTR_MAX.
 */
#ifndef P2P_ATTRS_H
#define P2P_ATTRS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "p2p/task_id.h"

#define ATTRS_TEXT_MAX 1024 /* bytes of a tag or an application */

struct task_attrs {
	bool has_tag, has_application;
	char tag[ATTRS_TEXT_MAX + 1], application[ATTRS_TEXT_MAX + 1];
	uint64_t replicas_wanted;
	uint64_t created_ns; /* of the task, since the Epoch: the same moment on every holder */
	bool kept; /* pinned by a user on this host: not to be taken off as surplus */
	uint64_t expiry_revision; /* greater wins when holders disagree about the expiry */
	char peer_id[PEER_ID_SIZE]; /* of the copy here */
	char importer_host_id[HOST_ID_SIZE];
};

/* attrs_set_text - NULL = absent; 0 or -EMSGSIZE */
int attrs_set_tag(struct task_attrs *a, const char *tag);
int attrs_set_application(struct task_attrs *a, const char *application);
static inline const char *attrs_tag(const struct task_attrs *a)
{
	return a->has_tag ? a->tag : NULL;
}
static inline const char *attrs_application(const struct task_attrs *a)
{
	return a->has_application ? a->application : NULL;
}
/* attrs_encode - bytes written, at most ATTRS_ENCODED_MAX */
#define ATTRS_ENCODED_MAX 4096
size_t attrs_encode(const struct task_attrs *a, uint8_t out[ATTRS_ENCODED_MAX]);
/* attrs_parse - 0, -EBADMSG (lengths, not UTF-8, a nul byte inside), -ENOTSUP (version). n 0 = all
 * absent. */
int attrs_parse(const uint8_t *p, size_t n, struct task_attrs *a);

#endif
