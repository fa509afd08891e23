/* SPDX-License-Identifier: GPL-2.0-or-later */
/* record.h — the meta record beside each data file: bytes <-> struct. No policy.
 *
 * Layout, little endian:
 *
 *   0      slot 0: header (256 bytes), then the opaque attributes (at most 4096)
 *   8192   slot 1: the same
 *   16384  the piece table: n_pieces entries of 16 bytes
 *
 * A header carries magic, version, a sequence number and a CRC-32 over itself and the attributes.
 * It is changed by writing the *other* slot with the next sequence number: the valid slot with the
 * highest number counts, so a torn write leaves the old header. The slots are 8 KiB apart and
 * mostly holes. An entry of the table is written in place and carries its own check over number,
 * crc32, time and the token of the task: a torn, stale or misplaced entry is "not present", never
 * wrong.
 *
 * record_encode() and record_decode() are pure (and fuzzed); _read and _write do the I/O.
 */
#ifndef CACHEFILESD_API_RECORD_H
#define CACHEFILESD_API_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cachefilesd/api/store.h"

#define RECORD_SLOT_SIZE   8192
#define RECORD_HEADER_SIZE 256
#define RECORD_TABLE       (2 * RECORD_SLOT_SIZE)
#define RECORD_ENTRY_SIZE  16
#define RECORD_BOOT_SIZE   16

struct record {
	/* from the record: id, state, pinned, piece_length, n_pieces, length, created, expires,
	 * fingerprint, uid, generation, n_present (complete: n_pieces; partial: 0, count the table) */
	struct store_info info;
	uint8_t attrs[STORE_ATTR_MAX];
	size_t attrs_len;
	bool pinned; /* same as info.pinned */
	uint8_t token[STORE_TOKEN_SIZE];
	uint8_t boot[RECORD_BOOT_SIZE]; /* which boot of the machine wrote the piece table */
	uint64_t sequence;
	uint64_t recorded_ns; /* wall clock when this header was written */
};

struct record_piece {
	bool present;
	uint32_t crc32;
};

/* record_decode - one slot. 0, -EBADMSG (magic, checksum, bounds), -ENOTSUP (a newer version) */
int record_decode(const uint8_t *slot, size_t len, struct record *r);
/* record_encode - one slot; returns its length (at most RECORD_SLOT_SIZE) or -EINVAL */
int record_encode(const struct record *r, uint8_t slot[RECORD_SLOT_SIZE]);
/* record_piece_decode / _encode - entry @number of the table of @r */
struct record_piece record_piece_decode(
	const struct record *r, uint32_t number, const uint8_t entry[RECORD_ENTRY_SIZE]);
void record_piece_encode(const struct record *r, uint32_t number, uint32_t crc32, uint64_t now_ns,
	uint8_t entry[RECORD_ENTRY_SIZE]);

/* record_read - header and attributes from an open record. 0, -EBADMSG, -ENOTSUP, or -errno of the
 * read. */
int record_read(int fd, struct record *r);
/* record_read_pieces - entries [first, first+n) of the table; entries beyond the end of the file
 * are not present. -EINVAL when the range is not within n_pieces. */
int record_read_pieces(
	int fd, const struct record *r, uint32_t first, uint32_t n, struct record_piece *out);
/* record_write - the header with the next sequence number into the other slot; does not sync.
 * @r->sequence is moved on. */
int record_write(int fd, struct record *r);
/* record_write_pieces - entries for @p; consecutive numbers go in one write. Does not sync. */
int record_write_pieces(
	int fd, const struct record *r, const struct store_piece *p, size_t n, uint64_t now_ns);
/* record_clear_piece - make entry @number not present */
int record_clear_piece(int fd, uint32_t number);

#endif
