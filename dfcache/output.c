/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "dfcache/output.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/num.h"

#define NS ((uint64_t)1000000000)

void output_time(int64_t seconds, char out[32])
{
	time_t t = (time_t)seconds;
	struct tm tm;

	out[0] = '\0';
	if (seconds && localtime_r(&t, &tm))
		strftime(out, 32, "%Y-%m-%d %H:%M:%S", &tm);
}

static uint64_t duration_ns(const Google__Protobuf__Duration *d)
{
	uint64_t ns;

	if (!d || d->seconds < 0 || d->nanos < 0 ||
		__builtin_mul_overflow((uint64_t)d->seconds, NS, &ns))
		return 0;
	return ns + (uint64_t)d->nanos;
}

/* columns - of text as a terminal counts them: one for each character of UTF-8 */
static size_t columns(const char *s)
{
	size_t n = 0;

	for (; *s; s++)
		n += ((unsigned char)*s & 0xc0) != 0x80;
	return n;
}

static void pad(struct buf *out, size_t n)
{
	buf_addf(out, "%*s", (int)n, "");
}

/* printable - @s without what a terminal would obey; a daemon's word is not trusted with that */
static void add_printable(struct buf *out, const char *s)
{
	for (; *s; s++)
		buf_addc(out, (unsigned char)*s < ' ' || *s == 0x7f ? '?' : *s);
}

void output_stat_table(const Common__V2__PersistentCacheTask *t, struct buf *out)
{
	static const char *const headers[] = {"ID", "STATE", "CONTENT LENGTH", "PIECE LENGTH",
		"PERSISTENT REPLICA COUNT", "TTL", "CREATED", "UPDATED"};
	char length[NUM_TEXT], piece[NUM_TEXT], replicas[NUM_TEXT], ttl[NUM_TEXT], created[32],
		updated[32];
	const char *cells[ARRAY_SIZE(headers)] = {t->id ? t->id : "", t->state ? t->state : "",
		length, piece, replicas, ttl, created, updated};
	size_t width[ARRAY_SIZE(headers)];

	num_format_size(t->content_length, length, sizeof(length));
	num_format_size(t->piece_length, piece, sizeof(piece));
	snprintf(replicas, sizeof(replicas), "%" PRIu64, t->persistent_replica_count);
	/* whole seconds: a daemon that computes it from two times of its own has a remainder */
	num_format_duration((duration_ns(t->ttl) + NS / 2) / NS * NS, ttl, sizeof(ttl));
	output_time(t->created_at ? t->created_at->seconds : 0, created);
	output_time(t->updated_at ? t->updated_at->seconds : 0, updated);
	for (size_t i = 0; i < ARRAY_SIZE(headers); i++) {
		size_t w = columns(cells[i]);

		width[i] = w > strlen(headers[i]) ? w : strlen(headers[i]);
	}
	for (size_t i = 0; i < ARRAY_SIZE(headers); i++) {
		size_t room = width[i] - strlen(headers[i]);

		pad(out, (i ? 2 : 1) + room / 2);
		buf_adds(out, headers[i]);
		pad(out, room - room / 2 + 1);
	}
	buf_addc(out, '\n');
	for (size_t i = 0; i < ARRAY_SIZE(headers); i++) {
		pad(out, i ? 2 : 1);
		add_printable(out, cells[i]);
		pad(out, width[i] - columns(cells[i]) + 1);
	}
	buf_addc(out, '\n');
}

void output_json_text(struct buf *out, bool first, const char *name, const char *value)
{
	buf_addf(out, "%s\"%s\": ", first ? "" : ", ", name);
	if (value)
		buf_json_string(out, value);
	else
		buf_adds(out, "null");
}

void output_json_number(struct buf *out, bool first, const char *name, uint64_t value)
{
	buf_addf(out, "%s\"%s\": %" PRIu64, first ? "" : ", ", name, value);
}

static void add_bool(struct buf *out, const char *name, bool value)
{
	buf_addf(out, ", \"%s\": %s", name, value ? "true" : "false");
}

/* add_seconds - a time since the Epoch in ns as seconds, or null for 0 */
static void add_seconds(struct buf *out, const char *name, uint64_t ns)
{
	if (ns)
		buf_addf(out, ", \"%s\": %" PRIu64 ".%03u", name, ns / NS,
			(unsigned)(ns % NS / 1000000));
	else
		buf_addf(out, ", \"%s\": null", name);
}

static const char *holder_state(Dfcachefiles__V1__TaskState s)
{
	const ProtobufCEnumValue *v = protobuf_c_enum_descriptor_get_value(
		&dfcachefiles__v1__task_state__descriptor, (int)s);

	return v ? v->name : "UNKNOWN";
}

static void add_holders(struct buf *out, const Dfcachefiles__V1__Task *t)
{
	buf_adds(out, ", \"holders\": [");
	for (size_t i = 0; i < t->n_holders; i++) {
		const Dfcachefiles__V1__Holder *h = t->holders[i];

		buf_adds(out, i ? ", {" : "{");
		output_json_text(out, true, "host_id", h->host_id);
		output_json_text(out, false, "hostname", h->hostname);
		output_json_text(out, false, "ip", h->ip);
		output_json_number(out, false, "port", (uint64_t)h->port);
		output_json_text(out, false, "peer_id", h->peer_id);
		add_bool(out, "persistent", h->persistent);
		output_json_text(out, false, "state", holder_state(h->state));
		add_bool(out, "local", h->is_local);
		buf_addc(out, '}');
	}
	buf_addc(out, ']');
}

/* add_local - what only this node's daemon of our kind can say */
static void add_local(struct buf *out, const Dfcachefiles__V1__Task *t)
{
	output_json_text(out, false, "state_here", t->state);
	output_json_number(out, false, "pieces_here", t->pieces_present);
	output_json_number(out, false, "bytes_on_disk", t->bytes_on_disk);
	add_bool(out, "pinned", t->pinned);
	add_bool(out, "leased", t->leased);
	if (t->has_uid)
		output_json_number(out, false, "uid", t->uid);
	add_seconds(out, "used", t->used_ns);
	add_seconds(out, "expires", t->expires_ns);
	output_json_number(out, false, "generation", t->generation);
	buf_adds(out, ", \"fingerprint\": \"");
	for (size_t i = 0; t->has_fingerprint && i < t->fingerprint.len; i++)
		buf_addf(out, "%02x", t->fingerprint.data[i]);
	buf_addc(out, '"');
	add_holders(out, t);
	output_json_text(out, false, "owner", t->owner && *t->owner ? t->owner : NULL);
	output_json_text(out, false, "note", t->note && *t->note ? t->note : NULL);
}

void output_task_json(const Dfcachefiles__V1__Task *t, struct buf *out)
{
	buf_addc(out, '{');
	output_json_text(out, true, "id", t->id ? t->id : "");
	output_json_text(
		out, false, "state", t->task_state && *t->task_state ? t->task_state : NULL);
	output_json_number(out, false, "content_length", t->content_length);
	output_json_number(out, false, "piece_length", t->piece_length);
	output_json_number(out, false, "piece_count", t->piece_count);
	output_json_text(out, false, "tag", t->tag);
	output_json_text(out, false, "application", t->application);
	output_json_number(out, false, "replicas_wanted", t->wanted_replicas);
	output_json_number(out, false, "replicas", t->persistent_replicas);
	output_json_number(out, false, "copies", t->replicas);
	add_seconds(out, "created", t->created_ns);
	add_local(out, t);
	buf_addc(out, '}');
}

static uint64_t timestamp_ns(const Google__Protobuf__Timestamp *t)
{
	return t && t->seconds > 0 ? (uint64_t)t->seconds * NS + (uint64_t)t->nanos : 0;
}

void output_stat_json(const Common__V2__PersistentCacheTask *t, const Dfcachefiles__V1__Task *local,
	struct buf *out)
{
	uint64_t ttl = duration_ns(t->ttl);

	buf_addc(out, '{');
	output_json_text(out, true, "id", t->id ? t->id : "");
	output_json_text(out, false, "state", t->state);
	output_json_number(out, false, "content_length", t->content_length);
	output_json_number(out, false, "piece_length", t->piece_length);
	output_json_number(out, false, "piece_count", t->piece_count);
	output_json_text(out, false, "tag", t->tag);
	output_json_text(out, false, "application", t->application);
	output_json_number(out, false, "replicas_wanted", t->persistent_replica_count);
	output_json_number(out, false, "replicas", t->current_persistent_replica_count);
	output_json_number(out, false, "copies", t->current_replica_count);
	output_json_number(out, false, "ttl_seconds", ttl / NS);
	add_seconds(out, "created", timestamp_ns(t->created_at));
	add_seconds(out, "updated", timestamp_ns(t->updated_at));
	if (local)
		add_local(out, local);
	buf_adds(out, "}\n");
}
