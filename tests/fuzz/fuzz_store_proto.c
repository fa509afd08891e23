/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fuzz_store_proto.c — any bytes as a request and as a reply; what is taken encodes to itself */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "cachefilesd/api/proto.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct store_info entries[PROTO_LIST_ENTRIES];
	static uint8_t again[PROTO_MESSAGE_MAX];
	static struct proto_request rq;
	struct proto_reply r = {.entries = entries};
	const char *why = NULL;
	int n;

	if (!proto_request_decode(data, size, &rq, &why)) {
		n = proto_request_encode(&rq, again, sizeof(again));
		if (n != (int)size || memcmp(again, data, size) != 0)
			abort();
	} else if (!why || !*why) {
		abort();
	}
	if (!proto_reply_decode(data, size, &r)) {
		n = proto_reply_encode(&r, again, sizeof(again));
		if (n != (int)size || memcmp(again, data, size) != 0)
			abort();
	}
	return 0;
}
