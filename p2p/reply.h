/* SPDX-License-Identifier: GPL-2.0-or-later */
/* reply.h — what both services of dfdaemon answer alike: a task, an empty message, an error.
 */
#ifndef P2P_REPLY_H
#define P2P_REPLY_H

#include <stdbool.h>
#include <stdint.h>

#include "p2p/api/common.pb-c.h"
#include "p2p/sched.h"

struct rpc_call;

/* reply_message - pack @m, send it and end the call with OK; frees nothing */
void reply_message(struct rpc_call *c, ProtobufCMessage *m);
void reply_empty(struct rpc_call *c);
/* reply_task - common.v2.PersistentCacheTask of @t, with ttl and times */
void reply_task(struct rpc_call *c, const struct sched_task *t);
/* reply_undecodable - the request is not the message of this method */
void reply_undecodable(struct rpc_call *c);

/* reply_duration_ns - a protobuf duration as nanoseconds; -EINVAL when negative, not normal, or more
 * than 292 years. NULL is 0. */
int reply_duration_ns(const Google__Protobuf__Duration *d, uint64_t *ns);
void reply_set_duration(Google__Protobuf__Duration *d, uint64_t ns);
void reply_set_timestamp(Google__Protobuf__Timestamp *t, uint64_t ns);

#endif
