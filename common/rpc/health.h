/* SPDX-License-Identifier: GPL-2.0-or-later */
/* health.h — grpc.health.v1.Health (Check, Watch) for any server of rpc.h.
 *
 * A daemon names its services once and says which serve; watchers hear of each change. An unknown
 * name is NOT_FOUND for Check and SERVICE_UNKNOWN for Watch. Put health_service() among the services
 * of rpc_server_new(); free the health after the server.
 * Protocol: grpc/doc/health-checking.md; the schema is health.proto.
 */
#ifndef COMMON_RPC_HEALTH_H
#define COMMON_RPC_HEALTH_H

#include <stdbool.h>

#include "common/rpc/rpc.h"

struct health;

struct health *health_new(void); /* NULL: out of memory. The empty name serves from the start. */
struct health *health_free(struct health *h);
/* health_set - @name ("" = the server as a whole) serves, or not; 0 or -ENOMEM */
int health_set(struct health *h, const char *name, bool is_serving);
/* health_stop - before rpc_server_stop(): nothing serves any more, and watching calls, which would
 * hold the server up, end */
void health_stop(struct health *h);
struct rpc_service health_service(struct health *h);

#endif
