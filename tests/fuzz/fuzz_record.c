/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fuzz_record.c — any bytes as a meta record. Half of the inputs get a right checksum first, or the
 * fields behind it would never be reached. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "cachefilesd/api/proto.h"
#include "cachefilesd/api/record.h"
#include "common/digest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void repair(uint8_t *slot, size_t size)
{
	static const uint8_t zero[4];
	uint32_t attrs_len, crc;

	if (size < RECORD_HEADER_SIZE)
		return;
	memcpy(&attrs_len, slot + 76, 4);
	if (attrs_len > size - RECORD_HEADER_SIZE)
		return;
	crc = digest_crc32(0, slot, 12);
	crc = digest_crc32(crc, zero, 4);
	crc = digest_crc32(crc, slot + 16, RECORD_HEADER_SIZE - 16 + attrs_len);
	memcpy(slot + 12, &crc, 4);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t slot[RECORD_SLOT_SIZE], again[RECORD_SLOT_SIZE];
	static struct record r;

	if (size > sizeof(slot))
		return 0;
	memcpy(slot, data, size);
	for (int i = 0; i < 2; i++, repair(slot, size)) {
		if (record_decode(slot, size, &r))
			continue;
		if (r.info.n_pieces > STORE_MAX_PIECES || r.attrs_len > STORE_ATTR_MAX ||
			(r.info.id[0] && !proto_id_ok(r.info.id, strlen(r.info.id))))
			abort();
		/* what was believed can be written and is then believed again */
		if (record_encode(&r, again) < 0 ||
			record_decode(again, RECORD_HEADER_SIZE + r.attrs_len, &r))
			abort();
	}
	if (size >= RECORD_ENTRY_SIZE)
		(void)record_piece_decode(&r, 0, data);
	return 0;
}
