/* SPDX-License-Identifier: GPL-2.0-or-later */
/* limits.c — the limits of rpc.h and their defaults */
#include "common/rpc/rpc.h"

const struct rpc_limits rpc_limits_default = {
	.max_message_bytes = (size_t)64 << 20,
	.max_buffered_bytes = (size_t)96 << 20,
	.max_total_bytes = (size_t)256 << 20,
	.max_connections = 256,
	.max_calls = 100,
	.max_fds = 4,
	.handshake_ns = UINT64_C(5) * 1000000000,
	.idle_ns = UINT64_C(600) * 1000000000,
	.keepalive_ns = UINT64_C(300) * 1000000000,
};

/* or_default - a limit that the caller left at zero */
#define OR_DEFAULT(l, field) ((l).field = (l).field ? (l).field : rpc_limits_default.field)

void rpc_limits_complete(struct rpc_limits *l)
{
	OR_DEFAULT(*l, max_message_bytes);
	OR_DEFAULT(*l, max_buffered_bytes);
	OR_DEFAULT(*l, max_total_bytes);
	OR_DEFAULT(*l, max_connections);
	OR_DEFAULT(*l, max_calls);
	OR_DEFAULT(*l, handshake_ns);
	OR_DEFAULT(*l, idle_ns);
	OR_DEFAULT(*l, keepalive_ns);
}
