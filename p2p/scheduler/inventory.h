/* SPDX-License-Identifier: GPL-2.0-or-later */
/* inventory.h — the copies that are here, what of them the owners of their tasks have been told,
 * and the checks of inventory messages that strangers send. Pure.
 */
#ifndef P2P_SCHEDULER_INVENTORY_H
#define P2P_SCHEDULER_INVENTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/list.h"
#include "common/map.h"
#include "p2p/api/dfcachefiles.pb-c.h"
#include "p2p/scheduler/registry.h"

#define INV_BATCH        256 /* entries in one message */
#define INV_TEXT_MAX     1024 /* tag, application: as manager.v2 bounds its labels */
#define INV_REPLICAS_MAX 64
#define INV_TTL_MAX_MS   (UINT64_C(100) * 366 * 86400 * 1000)
#define INV_CLOCK_AHEAD  (UINT64_C(366) * 86400 * 1000000000) /* generations beyond are refused */

/* expiry_revision of a wish: the owner of the task gives it the next number */
#define INV_REVISION_NEXT UINT64_MAX

typedef Dfcachefiles__V1__Entry inv_entry;

enum inv_told { INV_DIRTY, INV_SENT, INV_TOLD };

struct inv_task {
	struct map_node node;
	struct list link; /* in a list of the owner's link by its state */
	char id[TASK_ID_SIZE];
	uint64_t hash;
	char *peer_id, *tag, *application, *importer; /* owned; NULL = absent */
	struct reg_version version;
	uint64_t length, wanted, expires_ns, expiry_revision, created_wall_ns;
	uint32_t piece_length, n_pieces, importer_uid;
	Dfcachefiles__V1__TaskState state; /* IMPORTING FETCHING COMPLETE, or GONE until told */
	bool persistent, is_kept;
	void *owner; /* the link that is to be told, NULL = this peer itself */
	enum inv_told told;
	uint32_t change, sent_change;
};

struct inventory {
	struct map tasks;
};

void inventory_init(struct inventory *v);
void inventory_fini(struct inventory *v);
struct inv_task *inventory_find(const struct inventory *v, const char *id);
/* inventory_put - find or make; strings are replaced by copies. NULL: out of memory. */
struct inv_task *inventory_put(struct inventory *v, const char *id, const char *peer_id,
	const char *tag, const char *application, const char *importer);
void inventory_free(struct inventory *v, struct inv_task *t);
struct inv_task *inventory_next(const struct inventory *v, const struct inv_task *after);

/* inventory_entry - @e borrows the strings of @t */
void inventory_entry(const struct inv_task *t, uint64_t now, inv_entry *e);
/* entry_of_task - what is valid for the id (TASK_STATE_UNKNOWN), borrowed from @t */
void entry_of_task(const struct reg_task *t, uint64_t now, inv_entry *e);
void entry_of_tombstone(const struct reg_tombstone *d, uint64_t now, inv_entry *e);
/* entry_of_copy - a copy on some host, for answers to ask_ids */
void entry_of_copy(const struct reg_copy *c, uint64_t now, inv_entry *e);

/* entry_check - is @e well-formed and within bounds? Returns NULL or what is wrong, a sentence.
 * @wall_ns: now, since the Epoch. */
const char *entry_check(const inv_entry *e, uint64_t wall_ns);
/* exchange_check_request / _response - the whole message; same result */
const char *exchange_check_request(const Dfcachefiles__V1__ExchangeRequest *m, uint64_t wall_ns);
const char *exchange_check_response(const Dfcachefiles__V1__ExchangeResponse *m, uint64_t wall_ns);

struct reg_version entry_version(const inv_entry *e);
/* entry_expires - in the receiver's time; REG_NEVER when it never does */
uint64_t entry_expires(const inv_entry *e, uint64_t now);
/* member_addr - address of a Member; family AF_UNSPEC when it is not one */
struct sockaddr_storage member_addr(const Dfcachefiles__V1__Member *m);
/* addr_text - the address part as text ("10.0.0.1", "fe80::1") and the port */
#define ADDR_TEXT 64
void addr_text(const struct sockaddr_storage *a, char ip[ADDR_TEXT], uint16_t *port);
/* host_id_check - 1..HOST_ID_SIZE-1 bytes, no control characters */
bool host_id_is_valid(const char *id);
bool peer_id_is_valid(const char *id);

#endif
