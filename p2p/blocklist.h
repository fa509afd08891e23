/* SPDX-License-Identifier: GPL-2.0-or-later */
/* blocklist.h — which imports and exports the operators of a Dragonfly cluster forbid, by tag and
 * application: the part for persistent cache tasks of the manager's client_config (JSON, dragonfly-p2p.md (k)).
 * Pure. Foreign bytes: bounded, and what is not understood blocks nothing.
 */
#ifndef P2P_BLOCKLIST_H
#define P2P_BLOCKLIST_H

#include <stdbool.h>
#include <stddef.h>

#define BLOCKLIST_JSON_MAX (256u << 10)

struct blocklist; /* NULL: nothing is blocked */

enum blocklist_kind { BLOCKLIST_DOWNLOAD, BLOCKLIST_UPLOAD, BLOCKLIST_N };

/* blocklist_parse - 0 with *out (NULL when it blocks nothing), -EINVAL (not such JSON), -E2BIG, -ENOMEM */
int blocklist_parse(struct blocklist **out, const void *json, size_t n);
struct blocklist *blocklist_free(struct blocklist *b); /* NULL is fine; returns NULL */
/* blocklist_has - is one of these (NULL: none was given) on that list? */
bool blocklist_has(const struct blocklist *b, enum blocklist_kind kind, const char *tag,
	const char *application);
/* blocklist_n - entries, for the log */
size_t blocklist_n(const struct blocklist *b);
bool blocklist_equal(const struct blocklist *a, const struct blocklist *b);

#endif
