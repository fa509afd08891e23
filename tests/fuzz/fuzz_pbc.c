/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fuzz_pbc.c — one byte chooses a message, the rest are its bytes; what is accepted packs, and what was
 * packed packs to the same bytes */
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/rpc/health.pb-c.h"
#include "common/rpc/pbc.h"
#include "p2p/api/dfcachefiles.pb-c.h"
#include "p2p/api/dfdaemon.pb-c.h"
#include "p2p/api/scheduler.pb-c.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static const ProtobufCMessageDescriptor *const messages[] = {
	&grpc__health__v1__health_check_request__descriptor,
	&dfdaemon__v2__upload_persistent_cache_task_request__descriptor,
	&dfdaemon__v2__download_persistent_cache_task_request__descriptor,
	&dfdaemon__v2__download_persistent_cache_task_response__descriptor,
	&dfdaemon__v2__list_local_persistent_cache_tasks_response__descriptor,
	&scheduler__v2__announce_host_request__descriptor,
	&scheduler__v2__announce_persistent_cache_peer_request__descriptor,
	&scheduler__v2__announce_persistent_cache_peer_response__descriptor,
	&dfcachefiles__v1__exchange_request__descriptor,
};

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	_cleanup_buf_ struct buf once = {0}, twice = {0};
	const ProtobufCMessageDescriptor *d;
	ProtobufCMessage *m;

	if (!n)
		return 0;
	d = messages[p[0] % ARRAY_SIZE(messages)];
	m = pbc_unpack(d, p + 1, n - 1);
	if (!m)
		return 0;
	if (pbc_pack(m, &once))
		abort();
	protobuf_c_message_free_unpacked(m, NULL);
	m = pbc_unpack(d, (const uint8_t *)buf_str(&once), once.len);
	if (!m)
		return 0; /* protobuf-c takes an unknown field 0 only in a long-winded form */
	if (pbc_pack(m, &twice))
		abort();
	protobuf_c_message_free_unpacked(m, NULL);
	if (once.len != twice.len || (once.len && memcmp(once.data, twice.data, once.len) != 0))
		abort();
	return 0;
}
