/* SPDX-License-Identifier: GPL-2.0-or-later */
/* proto.h — the messages of the store's door: bytes <-> struct. Pure: no I/O, no allocation.
 *
 * One SOCK_SEQPACKET message is one request or one reply, little endian:
 *
 *   u32 magic "CFS1"   u16 version   u16 type (replies: | PROTO_REPLY)   u32 number
 *   u16 status (requests: 0)   u16 zero   u32 mask   fields of the mask, in the order of its bits
 *
 * The client chooses the number and the reply repeats it; number 0 is an event, not a reply. Which
 * fields a request must and may carry is one table in proto.c. A message with an unknown type or
 * field, a length that does not fit, or bytes left over is refused whole. Descriptors travel beside
 * a reply: in the order data, record, read, as the mask says.
 */
#ifndef CACHEFILESD_API_PROTO_H
#define CACHEFILESD_API_PROTO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cachefilesd/api/store.h"

#define PROTO_VERSION      1
#define PROTO_MESSAGE_MAX  16384 /* bytes of any message */
#define PROTO_LIST_ENTRIES 48 /* entries in one reply to `list` */
#define PROTO_TEXT_MAX     512 /* words of a control request */

enum proto_type {
	PROTO_HELLO = 1,
	PROTO_CREATE,
	PROTO_ATTACH,
	PROTO_PIECES,
	PROTO_COMMIT,
	PROTO_ABORT,
	PROTO_OPEN,
	PROTO_RELEASE,
	PROTO_STAT,
	PROTO_LIST,
	PROTO_TOUCH,
	PROTO_PIN,
	PROTO_EXTEND,
	PROTO_DELETE,
	PROTO_SET_ATTRS,
	PROTO_CULL, /* dry run or for real; the lines are in the descriptor of the reply */
	PROTO_CONTROL, /* cachefilesctl: words in, text or JSON in the descriptor of the reply */
	PROTO_EVENT, /* server to client only: enum store_event in `event` */
	PROTO_TYPES,
	PROTO_REPLY = 0x8000,
};

enum proto_request_field {
	PROTO_F_LEASE = 1 << 0,
	PROTO_F_ID = 1 << 1,
	PROTO_F_TOKEN = 1 << 2,
	PROTO_F_FPRINT = 1 << 3,
	PROTO_F_CREATE = 1 << 4,
	PROTO_F_EXPIRES = 1 << 5,
	PROTO_F_PIN = 1 << 6,
	PROTO_F_CURSOR = 1 << 7,
	PROTO_F_PIECES = 1 << 8,
	PROTO_F_ATTRS = 1 << 9,
	PROTO_F_CULL = 1 << 10,
	PROTO_F_TEXT = 1 << 11,
};

struct proto_request {
	enum proto_type type;
	uint32_t number;
	uint32_t mask; /* which of the fields below were given */
	uint32_t lease;
	char id[STORE_ID_MAX + 1];
	uint8_t token[STORE_TOKEN_SIZE];
	uint8_t fingerprint[STORE_FPRINT_SIZE];
	uint64_t reserve_bytes, length, generation, wait_ns; /* CREATE */
	uint32_t piece_length, uid; /* CREATE */
	uint64_t expires_ns; /* CREATE, EXPIRES */
	bool pin; /* CREATE, PIN */
	uint64_t cursor;
	size_t n_pieces;
	struct store_piece pieces[STORE_PIECES_BATCH];
	const uint8_t *attrs; /* into the message that was decoded; the caller's when encoding */
	size_t attrs_len;
	bool dry_run; /* CULL */
	uint64_t bytes; /* CULL: until so many are free */
	const char *text; /* as attrs; not nul-terminated */
	size_t text_len;
};

enum proto_reply_field {
	PROTO_R_MESSAGE = 1 << 0,
	PROTO_R_LEASE = 1 << 1,
	PROTO_R_TOKEN = 1 << 2,
	PROTO_R_INFO = 1 << 3,
	PROTO_R_ATTRS = 1 << 4,
	PROTO_R_LIST = 1 << 5,
	PROTO_R_SPACE = 1 << 6,
	PROTO_R_FREED = 1 << 7,
	PROTO_R_DATA_FD = 1 << 8, /* no bytes: a descriptor travels beside */
	PROTO_R_RECORD_FD = 1 << 9,
	PROTO_R_READ_FD = 1 << 10,
	PROTO_R_EVENT = 1 << 11,
};

struct proto_reply {
	enum proto_type type; /* of the request that it answers */
	uint32_t number;
	uint32_t mask;
	enum store_status status;
	enum store_event event;
	char message[STORE_MESSAGE_MAX];
	uint32_t lease;
	uint8_t token[STORE_TOKEN_SIZE];
	struct store_info info;
	const uint8_t *attrs; /* into the message, or the caller's */
	size_t attrs_len;
	struct store_info
		*entries; /* the caller's room for PROTO_LIST_ENTRIES, in both directions */
	size_t n_entries;
	uint64_t cursor;
	uint64_t free_bytes, total_bytes, cull_bytes, run_bytes, stop_bytes;
	uint64_t freed_bytes;
};

/* proto_id_ok - may these bytes be a task id (and thus a name of a directory)? */
bool proto_id_ok(const char *id, size_t len);
const char *proto_type_name(enum proto_type t);

/* proto_request_encode - into @out (@cap bytes). Returns the length, or -EMSGSIZE / -EINVAL when
 * the struct breaks the rules that the decoder checks. */
int proto_request_encode(const struct proto_request *rq, uint8_t *out, size_t cap);
/* proto_request_decode - 0; -EBADMSG with @why (a phrase) set; -EPROTONOSUPPORT for another
 * version. @rq->type and ->number are set as far as they could be read (else 0), so that the
 * refusal can be addressed. */
int proto_request_decode(const void *p, size_t len, struct proto_request *rq, const char **why);
int proto_reply_encode(const struct proto_reply *r, uint8_t *out, size_t cap);
/* proto_reply_decode - 0, -EBADMSG or -EPROTONOSUPPORT. @r->entries must point to room. */
int proto_reply_decode(const void *p, size_t len, struct proto_reply *r);

#endif
