/* SPDX-License-Identifier: GPL-2.0-or-later */
/* proto.c — see proto.h for the layout; the table below says which fields belong to which request.
 */
#include "cachefilesd/api/proto.h"

#include <errno.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/utf8.h"
#include "common/wire.h"

#define PROTO_MAGIC 0x31534643u /* "CFS1" */

static const struct {
	const char *name;
	uint32_t must, may;
} types[PROTO_TYPES] = {
	[PROTO_HELLO] = {"hello", 0, 0},
	[PROTO_CREATE] = {"create", PROTO_F_CREATE, PROTO_F_ID | PROTO_F_ATTRS},
	[PROTO_ATTACH] = {"attach", PROTO_F_TOKEN, 0},
	[PROTO_PIECES] = {"pieces", PROTO_F_LEASE | PROTO_F_PIECES, 0},
	[PROTO_COMMIT] = {"commit", PROTO_F_LEASE | PROTO_F_ID | PROTO_F_FPRINT, PROTO_F_ATTRS},
	[PROTO_ABORT] = {"abort", PROTO_F_LEASE, 0},
	[PROTO_OPEN] = {"open", PROTO_F_ID, 0},
	[PROTO_RELEASE] = {"release", PROTO_F_LEASE, 0},
	[PROTO_STAT] = {"stat", PROTO_F_ID, 0},
	[PROTO_LIST] = {"list", PROTO_F_CURSOR, 0},
	[PROTO_TOUCH] = {"touch", PROTO_F_ID, 0},
	[PROTO_PIN] = {"pin", PROTO_F_ID | PROTO_F_PIN, 0},
	[PROTO_EXTEND] = {"extend", PROTO_F_ID | PROTO_F_EXPIRES, 0},
	[PROTO_DELETE] = {"delete", PROTO_F_ID, 0},
	[PROTO_SET_ATTRS] = {"set-attrs", PROTO_F_ID | PROTO_F_ATTRS, 0},
	[PROTO_CULL] = {"cull", PROTO_F_CULL, 0},
	[PROTO_CONTROL] = {"control", PROTO_F_TEXT, 0},
	[PROTO_EVENT] = {"event", 0, 0},
};

static const char *const statuses[] = {
	[STORE_OK] = "ok",
	[STORE_EXISTS_SAME] = "exists, same content",
	[STORE_EXISTS_DIFFERENT] = "exists with other content",
	[STORE_BUSY_WRITER] = "still open for writing",
	[STORE_NOT_FOUND] = "not found",
	[STORE_NO_SPACE] = "no space",
	[STORE_DENIED] = "denied",
	[STORE_INVALID] = "invalid request",
	[STORE_BUSY] = "busy",
	[STORE_LIMIT] = "limit of this client reached",
	[STORE_CORRUPT] = "corrupt",
	[STORE_IO] = "input/output error",
	[STORE_LOST] = "connection to the store lost",
	[STORE_TIMEOUT] = "no answer from the store in time",
};

const char *store_status_name(enum store_status s)
{
	return (size_t)s < ARRAY_SIZE(statuses) ? statuses[s] : "unknown status";
}

const char *proto_type_name(enum proto_type t)
{
	return (size_t)t < ARRAY_SIZE(types) && types[t].name ? types[t].name : "unknown";
}

bool proto_id_ok(const char *id, size_t len)
{
	if (!len || len > STORE_ID_MAX || id[0] == '.')
		return false;
	for (size_t i = 0; i < len; i++) {
		char c = id[i];

		if (!((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
			    c == '.' || c == '_' || c == '-'))
			return false;
	}
	return true;
}

/* ---- pieces shared by both directions -------------------------------------------------------- */

static void put_bytes(struct wire_wr *w, const void *p, size_t n, size_t max)
{
	if (n > max) {
		w->failed = true;
		return;
	}
	wire_put_u16le(w, (uint16_t)n);
	wire_put(w, p, n);
}

static const uint8_t *get_bytes(struct wire_rd *r, size_t *n, size_t max)
{
	*n = wire_u16le(r);
	if (*n > max) {
		r->failed = true;
		*n = 0;
	}
	return wire_skip(r, *n);
}

/* an id may be empty only where @empty_ok (a partial whose id is not known yet) */
static void put_id(struct wire_wr *w, const char *id, bool empty_ok)
{
	size_t n = strnlen(id, STORE_ID_MAX + 1);

	if (!(empty_ok && !n) && !proto_id_ok(id, n)) {
		w->failed = true;
		return;
	}
	wire_put_u8(w, (uint8_t)n);
	wire_put(w, id, n);
}

static void get_id(struct wire_rd *r, char *id, bool empty_ok)
{
	size_t n = wire_u8(r);
	const uint8_t *p = wire_skip(r, n);

	id[0] = '\0';
	if (!p || (!n && empty_ok))
		return;
	if (!proto_id_ok((const char *)p, n)) {
		r->failed = true;
		return;
	}
	memcpy(id, p, n);
	id[n] = '\0';
}

static bool get_bool(struct wire_rd *r)
{
	uint8_t v = wire_u8(r);

	if (v > 1)
		r->failed = true;
	return v == 1;
}

static void put_info(struct wire_wr *w, const struct store_info *i)
{
	put_id(w, i->id, true);
	wire_put_u8(w, (uint8_t)i->state);
	wire_put_u8(w, (uint8_t)(i->pinned | i->leased << 1 | i->deleted << 2));
	wire_put_u32le(w, i->piece_length);
	wire_put_u32le(w, i->n_pieces);
	wire_put_u32le(w, i->n_present);
	wire_put_u64le(w, i->length);
	wire_put_u64le(w, i->bytes_on_disk);
	wire_put_u64le(w, i->created_ns);
	wire_put_u64le(w, i->used_ns);
	wire_put_u64le(w, i->expires_ns);
	wire_put(w, i->fingerprint, sizeof(i->fingerprint));
	wire_put_u32le(w, (uint32_t)i->uid);
	wire_put_u64le(w, i->generation);
}

static void get_info(struct wire_rd *r, struct store_info *i)
{
	uint8_t flags, state;

	*i = (struct store_info){0};
	get_id(r, i->id, true);
	state = wire_u8(r);
	flags = wire_u8(r);
	if (state < STORE_PARTIAL || state > STORE_EXPIRED || flags > 7) {
		r->failed = true;
		return;
	}
	i->state = (enum store_state)state;
	i->pinned = flags & 1;
	i->leased = flags & 2;
	i->deleted = flags & 4;
	i->piece_length = wire_u32le(r);
	i->n_pieces = wire_u32le(r);
	i->n_present = wire_u32le(r);
	i->length = wire_u64le(r);
	i->bytes_on_disk = wire_u64le(r);
	i->created_ns = wire_u64le(r);
	i->used_ns = wire_u64le(r);
	i->expires_ns = wire_u64le(r);
	wire_get(r, i->fingerprint, sizeof(i->fingerprint));
	i->uid = wire_u32le(r);
	i->generation = wire_u64le(r);
}

static void put_header(
	struct wire_wr *w, uint16_t type, uint32_t number, uint16_t status, uint32_t mask)
{
	wire_put_u32le(w, PROTO_MAGIC);
	wire_put_u16le(w, PROTO_VERSION);
	wire_put_u16le(w, type);
	wire_put_u32le(w, number);
	wire_put_u16le(w, status);
	wire_put_u16le(w, 0);
	wire_put_u32le(w, mask);
}

struct header {
	uint32_t magic, number, mask;
	uint16_t version, type, status, zero;
};

static struct header get_header(struct wire_rd *r)
{
	struct header h;

	h.magic = wire_u32le(r);
	h.version = wire_u16le(r);
	h.type = wire_u16le(r);
	h.number = wire_u32le(r);
	h.status = wire_u16le(r);
	h.zero = wire_u16le(r);
	h.mask = wire_u32le(r);
	return h;
}

/* ---- requests -------------------------------------------------------------------------------- */

static bool mask_ok(unsigned type, uint32_t mask)
{
	return type >= PROTO_HELLO && type < PROTO_EVENT &&
	       (mask & types[type].must) == types[type].must &&
	       !(mask & ~(types[type].must | types[type].may));
}

int proto_request_encode(const struct proto_request *rq, uint8_t *out, size_t cap)
{
	struct wire_wr w = wire_wr(out, cap < PROTO_MESSAGE_MAX ? cap : PROTO_MESSAGE_MAX);

	if (!mask_ok(rq->type, rq->mask) || !rq->number || rq->n_pieces > STORE_PIECES_BATCH)
		return -EINVAL;
	put_header(&w, (uint16_t)rq->type, rq->number, 0, rq->mask);
	if (rq->mask & PROTO_F_LEASE)
		wire_put_u32le(&w, rq->lease);
	if (rq->mask & PROTO_F_ID) {
		if (!proto_id_ok(rq->id, strnlen(rq->id, STORE_ID_MAX + 1)))
			return -EINVAL;
		put_id(&w, rq->id, false);
	}
	if (rq->mask & PROTO_F_TOKEN)
		wire_put(&w, rq->token, sizeof(rq->token));
	if (rq->mask & PROTO_F_FPRINT)
		wire_put(&w, rq->fingerprint, sizeof(rq->fingerprint));
	if (rq->mask & PROTO_F_CREATE) {
		wire_put_u64le(&w, rq->reserve_bytes);
		wire_put_u64le(&w, rq->length);
		wire_put_u32le(&w, rq->piece_length);
		wire_put_u64le(&w, rq->expires_ns);
		wire_put_u8(&w, rq->pin);
		wire_put_u32le(&w, rq->uid);
		wire_put_u64le(&w, rq->generation);
		wire_put_u64le(&w, rq->wait_ns);
	}
	if (rq->mask & PROTO_F_EXPIRES)
		wire_put_u64le(&w, rq->expires_ns);
	if (rq->mask & PROTO_F_PIN)
		wire_put_u8(&w, rq->pin);
	if (rq->mask & PROTO_F_CURSOR)
		wire_put_u64le(&w, rq->cursor);
	if (rq->mask & PROTO_F_PIECES) {
		wire_put_u16le(&w, (uint16_t)rq->n_pieces);
		for (size_t i = 0; i < rq->n_pieces; i++) {
			wire_put_u32le(&w, rq->pieces[i].number);
			wire_put_u32le(&w, rq->pieces[i].crc32);
		}
	}
	if (rq->mask & PROTO_F_ATTRS)
		put_bytes(&w, rq->attrs, rq->attrs_len, STORE_ATTR_MAX);
	if (rq->mask & PROTO_F_CULL) {
		wire_put_u8(&w, rq->dry_run);
		wire_put_u64le(&w, rq->bytes);
	}
	if (rq->mask & PROTO_F_TEXT)
		put_bytes(&w, rq->text, rq->text_len, PROTO_TEXT_MAX);
	return w.failed ? -EMSGSIZE : (int)(w.p - out);
}

int proto_request_decode(const void *p, size_t len, struct proto_request *rq, const char **why)
{
	struct wire_rd r = wire_rd(p, len);
	struct header h;

	/* the pieces array is large and bounded by n_pieces: not cleared */
	memset(rq, 0, offsetof(struct proto_request, pieces));
	rq->attrs = NULL;
	rq->attrs_len = 0;
	rq->dry_run = false;
	rq->bytes = 0;
	rq->text = NULL;
	rq->text_len = 0;
	*why = "not a message of this protocol";
	if (len > PROTO_MESSAGE_MAX)
		return -EBADMSG;
	h = get_header(&r);
	if (r.failed || h.magic != PROTO_MAGIC)
		return -EBADMSG;
	rq->number = h.number;
	if (h.version != PROTO_VERSION) {
		*why = "another version of the protocol";
		return -EPROTONOSUPPORT;
	}
	*why = "unknown type of request";
	if (h.type < PROTO_HELLO || h.type >= PROTO_EVENT)
		return -EBADMSG;
	rq->type = (enum proto_type)h.type;
	rq->mask = h.mask;
	*why = "wrong fields for this request";
	if (!mask_ok(h.type, h.mask) || h.status || h.zero || !h.number)
		return -EBADMSG;
	*why = "a field is malformed or cut off";
	if (h.mask & PROTO_F_LEASE)
		rq->lease = wire_u32le(&r);
	if (h.mask & PROTO_F_ID)
		get_id(&r, rq->id, false);
	if (h.mask & PROTO_F_TOKEN)
		wire_get(&r, rq->token, sizeof(rq->token));
	if (h.mask & PROTO_F_FPRINT)
		wire_get(&r, rq->fingerprint, sizeof(rq->fingerprint));
	if (h.mask & PROTO_F_CREATE) {
		rq->reserve_bytes = wire_u64le(&r);
		rq->length = wire_u64le(&r);
		rq->piece_length = wire_u32le(&r);
		rq->expires_ns = wire_u64le(&r);
		rq->pin = get_bool(&r);
		rq->uid = wire_u32le(&r);
		rq->generation = wire_u64le(&r);
		rq->wait_ns = wire_u64le(&r);
	}
	if (h.mask & PROTO_F_EXPIRES)
		rq->expires_ns = wire_u64le(&r);
	if (h.mask & PROTO_F_PIN)
		rq->pin = get_bool(&r);
	if (h.mask & PROTO_F_CURSOR)
		rq->cursor = wire_u64le(&r);
	if (h.mask & PROTO_F_PIECES) {
		size_t n = wire_u16le(&r);

		if (n > STORE_PIECES_BATCH)
			return -EBADMSG;
		for (size_t i = 0; i < n; i++) {
			rq->pieces[i].number = wire_u32le(&r);
			rq->pieces[i].crc32 = wire_u32le(&r);
		}
		rq->n_pieces = r.failed ? 0 : n;
	}
	if (h.mask & PROTO_F_ATTRS)
		rq->attrs = get_bytes(&r, &rq->attrs_len, STORE_ATTR_MAX);
	if (h.mask & PROTO_F_CULL) {
		rq->dry_run = get_bool(&r);
		rq->bytes = wire_u64le(&r);
	}
	if (h.mask & PROTO_F_TEXT)
		rq->text = (const char *)get_bytes(&r, &rq->text_len, PROTO_TEXT_MAX);
	if (r.failed)
		return -EBADMSG;
	if (r.left) {
		*why = "bytes after the end of the request";
		return -EBADMSG;
	}
	*why = "";
	return 0;
}

/* ---- replies --------------------------------------------------------------------------------- */

#define REPLY_FIELDS 0xfffu

int proto_reply_encode(const struct proto_reply *r, uint8_t *out, size_t cap)
{
	struct wire_wr w = wire_wr(out, cap < PROTO_MESSAGE_MAX ? cap : PROTO_MESSAGE_MAX);

	if (r->mask & ~REPLY_FIELDS || r->n_entries > PROTO_LIST_ENTRIES)
		return -EINVAL;
	put_header(&w, (uint16_t)r->type | PROTO_REPLY, r->number, (uint16_t)r->status, r->mask);
	if (r->mask & PROTO_R_MESSAGE)
		put_bytes(&w, r->message, strnlen(r->message, STORE_MESSAGE_MAX),
			STORE_MESSAGE_MAX - 1);
	if (r->mask & PROTO_R_LEASE)
		wire_put_u32le(&w, r->lease);
	if (r->mask & PROTO_R_TOKEN)
		wire_put(&w, r->token, sizeof(r->token));
	if (r->mask & PROTO_R_INFO)
		put_info(&w, &r->info);
	if (r->mask & PROTO_R_ATTRS)
		put_bytes(&w, r->attrs, r->attrs_len, STORE_ATTR_MAX);
	if (r->mask & PROTO_R_LIST) {
		wire_put_u64le(&w, r->cursor);
		wire_put_u16le(&w, (uint16_t)r->n_entries);
		for (size_t i = 0; i < r->n_entries; i++)
			put_info(&w, &r->entries[i]);
	}
	if (r->mask & PROTO_R_SPACE) {
		wire_put_u64le(&w, r->free_bytes);
		wire_put_u64le(&w, r->total_bytes);
		wire_put_u64le(&w, r->cull_bytes);
		wire_put_u64le(&w, r->run_bytes);
		wire_put_u64le(&w, r->stop_bytes);
	}
	if (r->mask & PROTO_R_FREED)
		wire_put_u64le(&w, r->freed_bytes);
	if (r->mask & PROTO_R_EVENT)
		wire_put_u8(&w, (uint8_t)r->event);
	return w.failed ? -EMSGSIZE : (int)(w.p - out);
}

int proto_reply_decode(const void *p, size_t len, struct proto_reply *out)
{
	struct store_info *entries = out->entries;
	struct wire_rd r = wire_rd(p, len);
	struct header h;

	*out = (struct proto_reply){.entries = entries};
	if (len > PROTO_MESSAGE_MAX)
		return -EBADMSG;
	h = get_header(&r);
	if (r.failed || h.magic != PROTO_MAGIC)
		return -EBADMSG;
	if (h.version != PROTO_VERSION)
		return -EPROTONOSUPPORT;
	if (!(h.type & PROTO_REPLY) || h.zero || h.mask & ~REPLY_FIELDS || h.status > STORE_TIMEOUT)
		return -EBADMSG;
	h.type &= (uint16_t)~PROTO_REPLY;
	/* type 0 refuses a request that could not be read; an event is number 0 */
	if (h.type >= PROTO_TYPES || (h.type == PROTO_EVENT) != !!(h.mask & PROTO_R_EVENT))
		return -EBADMSG;
	out->type = (enum proto_type)h.type;
	out->number = h.number;
	out->mask = h.mask;
	out->status = (enum store_status)h.status;
	if (h.mask & PROTO_R_MESSAGE) {
		size_t n;
		const uint8_t *m = get_bytes(&r, &n, STORE_MESSAGE_MAX - 1);

		if (m && (memchr(m, 0, n) || !utf8_valid(m, n)))
			return -EBADMSG;
		if (m)
			memcpy(out->message, m, n);
	}
	if (h.mask & PROTO_R_LEASE)
		out->lease = wire_u32le(&r);
	if (h.mask & PROTO_R_TOKEN)
		wire_get(&r, out->token, sizeof(out->token));
	if (h.mask & PROTO_R_INFO)
		get_info(&r, &out->info);
	if (h.mask & PROTO_R_ATTRS)
		out->attrs = get_bytes(&r, &out->attrs_len, STORE_ATTR_MAX);
	if (h.mask & PROTO_R_LIST) {
		size_t n;

		out->cursor = wire_u64le(&r);
		n = wire_u16le(&r);
		if (n > PROTO_LIST_ENTRIES)
			return -EBADMSG;
		for (size_t i = 0; i < n && !r.failed; i++)
			get_info(&r, &out->entries[i]);
		out->n_entries = r.failed ? 0 : n;
	}
	if (h.mask & PROTO_R_SPACE) {
		out->free_bytes = wire_u64le(&r);
		out->total_bytes = wire_u64le(&r);
		out->cull_bytes = wire_u64le(&r);
		out->run_bytes = wire_u64le(&r);
		out->stop_bytes = wire_u64le(&r);
	}
	if (h.mask & PROTO_R_FREED)
		out->freed_bytes = wire_u64le(&r);
	if (h.mask & PROTO_R_EVENT) {
		uint8_t e = wire_u8(&r);

		if (e > STORE_EVENT_STOPPED)
			return -EBADMSG;
		out->event = (enum store_event)e;
	}
	return r.failed || r.left ? -EBADMSG : 0;
}
