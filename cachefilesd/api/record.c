/* SPDX-License-Identifier: GPL-2.0-or-later */
/* record.c — header fields by offset:
 *   0 magic[8]  8 u16 version  10 u16 flags  12 u32 crc  16 u64 sequence  24 u64 length
 *   32 u32 piece_length  36 u32 n_pieces  40 u64 created  48 u64 expires  56 u64 generation
 *   64 u64 recorded  72 u32 uid  76 u32 attrs_len  80 fingerprint[16]  96 token[16]  112 boot[16]
 *   128 u8 id_len  129 id[64]  193.. zero up to 256, then the attributes
 * The CRC-32 is over header (with its own field zero) and attributes.
 */
#include "cachefilesd/api/record.h"

#include <errno.h>
#include <string.h>

#include "cachefilesd/api/proto.h"
#include "common/digest.h"
#include "common/fd.h"
#include "common/wire.h"

static const uint8_t magic[8] = {'D', 'F', 'C', 'R', 'E', 'C', '\r', '\n'};

#define VERSION_NOW     1
#define FLAG_COMPLETE   1u
#define FLAG_PINNED     2u
#define OFF_CRC         12
#define OFF_RESERVED    (129 + STORE_ID_MAX)
#define ENTRY_TAG       0x45434950u /* "PICE" */
#define ENTRIES_AT_ONCE 256

static uint32_t slot_crc(const uint8_t *slot, size_t attrs_len)
{
	static const uint8_t zero[4];
	uint32_t crc = digest_crc32(0, slot, OFF_CRC);

	crc = digest_crc32(crc, zero, sizeof(zero));
	return digest_crc32(crc, slot + OFF_CRC + 4, RECORD_HEADER_SIZE - OFF_CRC - 4 + attrs_len);
}

/* pieces that a task of this shape has; UINT64_MAX when the shape makes no sense */
static uint64_t pieces_of(uint64_t length, uint32_t piece_length)
{
	if (!length)
		return 0;
	if (!piece_length)
		return UINT64_MAX;
	return length / piece_length + !!(length % piece_length);
}

int record_decode(const uint8_t *slot, size_t len, struct record *r)
{
	struct wire_rd w = wire_rd(slot, len);
	uint8_t m[8];
	uint16_t version, flags;
	uint32_t crc, attrs_len;
	uint8_t id_len;

	*r = (struct record){0};
	wire_get(&w, m, sizeof(m));
	version = wire_u16le(&w);
	flags = wire_u16le(&w);
	crc = wire_u32le(&w);
	if (w.failed || memcmp(m, magic, sizeof(m)) != 0)
		return -EBADMSG;
	r->sequence = wire_u64le(&w);
	r->info.length = wire_u64le(&w);
	r->info.piece_length = wire_u32le(&w);
	r->info.n_pieces = wire_u32le(&w);
	r->info.created_ns = wire_u64le(&w);
	r->info.expires_ns = wire_u64le(&w);
	r->info.generation = wire_u64le(&w);
	r->recorded_ns = wire_u64le(&w);
	r->info.uid = wire_u32le(&w);
	attrs_len = wire_u32le(&w);
	wire_get(&w, r->info.fingerprint, sizeof(r->info.fingerprint));
	wire_get(&w, r->token, sizeof(r->token));
	wire_get(&w, r->boot, sizeof(r->boot));
	id_len = wire_u8(&w);
	if (w.failed || attrs_len > STORE_ATTR_MAX || len < RECORD_HEADER_SIZE + attrs_len ||
		id_len > STORE_ID_MAX)
		return -EBADMSG;
	if (crc != slot_crc(slot, attrs_len))
		return -EBADMSG;
	if (version != VERSION_NOW)
		return -ENOTSUP;
	/* from here on the bytes are what some version of us wrote: still believe nothing that
	 * would reach a path or an allocation */
	if (id_len && !proto_id_ok((const char *)slot + 129, id_len))
		return -EBADMSG;
	if (flags & ~(FLAG_COMPLETE | FLAG_PINNED) || (flags & FLAG_COMPLETE && !id_len))
		return -EBADMSG;
	if (r->info.n_pieces > STORE_MAX_PIECES ||
		pieces_of(r->info.length, r->info.piece_length) != r->info.n_pieces)
		return -EBADMSG;
	memcpy(r->info.id, slot + 129, id_len);
	r->info.state = flags & FLAG_COMPLETE ? STORE_COMPLETE : STORE_PARTIAL;
	r->info.n_present = flags & FLAG_COMPLETE ? r->info.n_pieces : 0;
	r->pinned = r->info.pinned = flags & FLAG_PINNED;
	r->attrs_len = attrs_len;
	memcpy(r->attrs, slot + RECORD_HEADER_SIZE, attrs_len);
	return 0;
}

int record_encode(const struct record *r, uint8_t slot[RECORD_SLOT_SIZE])
{
	struct wire_wr w = wire_wr(slot, RECORD_HEADER_SIZE);
	size_t id_len = strnlen(r->info.id, STORE_ID_MAX + 1);
	bool complete = r->info.state == STORE_COMPLETE;
	uint32_t crc;

	if ((id_len && !proto_id_ok(r->info.id, id_len)) || (complete && !id_len) ||
		r->attrs_len > STORE_ATTR_MAX || r->info.n_pieces > STORE_MAX_PIECES ||
		pieces_of(r->info.length, r->info.piece_length) != r->info.n_pieces)
		return -EINVAL;
	memset(slot, 0, RECORD_HEADER_SIZE);
	wire_put(&w, magic, sizeof(magic));
	wire_put_u16le(&w, VERSION_NOW);
	wire_put_u16le(
		&w, (uint16_t)((complete ? FLAG_COMPLETE : 0) | (r->pinned ? FLAG_PINNED : 0)));
	wire_put_u32le(&w, 0);
	wire_put_u64le(&w, r->sequence);
	wire_put_u64le(&w, r->info.length);
	wire_put_u32le(&w, r->info.piece_length);
	wire_put_u32le(&w, r->info.n_pieces);
	wire_put_u64le(&w, r->info.created_ns);
	wire_put_u64le(&w, r->info.expires_ns);
	wire_put_u64le(&w, r->info.generation);
	wire_put_u64le(&w, r->recorded_ns);
	wire_put_u32le(&w, (uint32_t)r->info.uid);
	wire_put_u32le(&w, (uint32_t)r->attrs_len);
	wire_put(&w, r->info.fingerprint, sizeof(r->info.fingerprint));
	wire_put(&w, r->token, sizeof(r->token));
	wire_put(&w, r->boot, sizeof(r->boot));
	wire_put_u8(&w, (uint8_t)id_len);
	wire_put(&w, r->info.id, id_len);
	if (w.failed)
		return -EINVAL;
	memcpy(slot + RECORD_HEADER_SIZE, r->attrs, r->attrs_len);
	crc = slot_crc(slot, r->attrs_len);
	w = wire_wr(slot + OFF_CRC, 4);
	wire_put_u32le(&w, crc);
	return RECORD_HEADER_SIZE + (int)r->attrs_len;
}

static uint32_t entry_check(const struct record *r, uint32_t number, const uint8_t *entry)
{
	uint8_t n[4];
	struct wire_wr w = wire_wr(n, sizeof(n));
	uint32_t crc = digest_crc32(0, r->token, sizeof(r->token));

	wire_put_u32le(&w, number);
	crc = digest_crc32(crc, n, sizeof(n));
	return digest_crc32(crc, entry, RECORD_ENTRY_SIZE - 4);
}

struct record_piece record_piece_decode(
	const struct record *r, uint32_t number, const uint8_t entry[RECORD_ENTRY_SIZE])
{
	struct wire_rd w = wire_rd(entry, RECORD_ENTRY_SIZE);
	uint32_t tag = wire_u32le(&w), crc = wire_u32le(&w);

	(void)wire_u32le(&w); /* when: for people */
	if (tag != ENTRY_TAG || wire_u32le(&w) != entry_check(r, number, entry))
		return (struct record_piece){0};
	return (struct record_piece){.present = true, .crc32 = crc};
}

void record_piece_encode(const struct record *r, uint32_t number, uint32_t crc32, uint64_t now_ns,
	uint8_t entry[RECORD_ENTRY_SIZE])
{
	struct wire_wr w = wire_wr(entry, RECORD_ENTRY_SIZE);
	uint64_t age_s =
		now_ns > r->info.created_ns ? (now_ns - r->info.created_ns) / 1000000000u : 0;

	wire_put_u32le(&w, ENTRY_TAG);
	wire_put_u32le(&w, crc32);
	wire_put_u32le(&w, age_s < UINT32_MAX ? (uint32_t)age_s : UINT32_MAX);
	wire_put_u32le(&w, entry_check(r, number, entry));
}

int record_read(int fd, struct record *r)
{
	_cleanup_free_ uint8_t *buf = malloc(2 * RECORD_SLOT_SIZE);
	_cleanup_free_ struct record *other = malloc(sizeof(*other));
	int first, second;
	ssize_t n;

	if (!buf || !other)
		return -ENOMEM;
	n = fd_pread_full(fd, buf, RECORD_SLOT_SIZE + RECORD_HEADER_SIZE + STORE_ATTR_MAX, 0);
	if (n < 0)
		return (int)n;
	first = record_decode(buf, n < RECORD_SLOT_SIZE ? (size_t)n : RECORD_SLOT_SIZE, r);
	second = n > RECORD_SLOT_SIZE ? record_decode(buf + RECORD_SLOT_SIZE,
						(size_t)n - RECORD_SLOT_SIZE, other)
				      : -EBADMSG;
	if (!second && (first || other->sequence > r->sequence)) {
		*r = *other;
		return 0;
	}
	/* a newer version in either slot is worth saying, rather than "corrupt" */
	return first && second == -ENOTSUP ? second : first;
}

int record_read_pieces(
	int fd, const struct record *r, uint32_t first, uint32_t n, struct record_piece *out)
{
	uint8_t buf[ENTRIES_AT_ONCE * RECORD_ENTRY_SIZE];

	if (first > r->info.n_pieces || n > r->info.n_pieces - first)
		return -EINVAL;
	while (n) {
		uint32_t k = n < ENTRIES_AT_ONCE ? n : ENTRIES_AT_ONCE;
		ssize_t got = fd_pread_full(fd, buf, (size_t)k * RECORD_ENTRY_SIZE,
			RECORD_TABLE + (uint64_t)first * RECORD_ENTRY_SIZE);

		if (got < 0)
			return (int)got;
		for (uint32_t i = 0; i < k; i++) {
			*out = (struct record_piece){0};
			if ((size_t)got >= (size_t)(i + 1) * RECORD_ENTRY_SIZE)
				*out = record_piece_decode(
					r, first + i, buf + (size_t)i * RECORD_ENTRY_SIZE);
			out++;
		}
		first += k;
		n -= k;
	}
	return 0;
}

int record_write(int fd, struct record *r)
{
	_cleanup_free_ uint8_t *slot = malloc(RECORD_SLOT_SIZE);
	int len, rc;

	if (!slot)
		return -ENOMEM;
	r->sequence++;
	len = record_encode(r, slot);
	rc = len < 0 ? len
		     : fd_pwrite_full(fd, slot, (size_t)len, (r->sequence & 1) * RECORD_SLOT_SIZE);
	/* after a failure the next attempt must hit the same slot: the other one is the good one */
	if (rc)
		r->sequence--;
	return rc;
}

int record_write_pieces(
	int fd, const struct record *r, const struct store_piece *p, size_t n, uint64_t now_ns)
{
	uint8_t buf[ENTRIES_AT_ONCE * RECORD_ENTRY_SIZE];

	while (n) {
		size_t k = 0;
		int rc;

		do {
			if (p[k].number >= r->info.n_pieces)
				return -EINVAL;
			record_piece_encode(
				r, p[k].number, p[k].crc32, now_ns, buf + k * RECORD_ENTRY_SIZE);
			k++;
		} while (k < n && k < ENTRIES_AT_ONCE && p[k].number == p[k - 1].number + 1);
		rc = fd_pwrite_full(fd, buf, k * RECORD_ENTRY_SIZE,
			RECORD_TABLE + (uint64_t)p->number * RECORD_ENTRY_SIZE);
		if (rc)
			return rc;
		p += k;
		n -= k;
	}
	return 0;
}

int record_clear_piece(int fd, uint32_t number)
{
	static const uint8_t zero[RECORD_ENTRY_SIZE];

	return fd_pwrite_full(
		fd, zero, sizeof(zero), RECORD_TABLE + (uint64_t)number * RECORD_ENTRY_SIZE);
}
