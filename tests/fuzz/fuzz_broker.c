/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fuzz_broker.c — a request as the privileged broker reads it, a reply as dfdaemon reads it; what is
 * accepted comes out of the encoder as it came in */
#include <stdlib.h>
#include <string.h>

#include "p2p/broker/proto.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	uint8_t out[BROKER_REPLY_MAX];
	struct broker_request rq;
	struct broker_reply re;

	if (broker_request_parse(p, n, &rq) == 0) {
		size_t k = broker_request_encode(
			out, sizeof(out), rq.operation, rq.overwrite, rq.path);

		if (k != n || memcmp(out, p, n) != 0)
			abort();
	}
	if (broker_reply_parse(p, n, &re) == 0) {
		size_t k = broker_reply_encode(out, sizeof(out), re.status, re.text);

		if (k != n || memcmp(out, p, n) != 0)
			abort();
	}
	return 0;
}
