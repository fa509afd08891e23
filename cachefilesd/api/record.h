/* SPDX-License-Identifier: GPL-2.0-or-later */
/* record.h — the meta record beside each data file: bytes <-> struct. Pure.
 *
 * Layout (little endian): a fixed header with magic, version, lengths and checksum; the opaque
 * attributes; the piece table (n_pieces entries of fixed size, updated in place, each with its own
 * check so that a torn entry is "not present", never wrong). The exact layout stands in record.c
 * and ARCHITECTURE.md. A reader that holds only the record descriptor (a lease) uses
 * record_read_pieces().
 */
#ifndef CACHEFILESD_API_RECORD_H
#define CACHEFILESD_API_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cachefilesd/api/store.h"

struct record {
	struct store_info info;
	uint8_t attrs[STORE_ATTR_MAX];
	size_t attrs_len;
	bool pinned;
};

struct record_piece {
	bool present;
	uint32_t crc32;
};

/* record_read - header and attributes from an open record. 0, -EBADMSG (checksum, magic, bounds),
 * -ENOTSUP (a newer version), or -errno of the read. */
int record_read(int fd, struct record *r);
/* record_read_pieces - entries [first, first+n) of the table; same errors */
int record_read_pieces(
	int fd, const struct record *r, uint32_t first, uint32_t n, struct record_piece *out);

#endif
