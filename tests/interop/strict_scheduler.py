#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""strict_scheduler - plays a Dragonfly scheduler that takes no ttl below five minutes.

    strict_scheduler ADDRESS [CA CERT KEY]     prints "ready" when it listens on ADDRESS, HOST:PORT;
                                               with files, by mutual TLS

Made of the published schemas and gRPC's own code. It knows hosts, and the beginning, end and failure
of an import, all in its memory; all else is UNIMPLEMENTED. As the real one, it takes imports only of
hosts that it was told of, and each id once.
"""
import sys
from concurrent import futures

import grpc
from dragonfly_api import common_pb2 as common
from dragonfly_api import scheduler_pb2_grpc as scheduler_grpc
from google.protobuf.empty_pb2 import Empty


class Strict(scheduler_grpc.SchedulerServicer):
    def __init__(self):
        self.hosts, self.tasks = set(), {}

    def AnnounceHost(self, request, context):
        self.hosts.add(request.host.id)
        print("host", request.host.id, flush=True)
        return Empty()

    def DeleteHost(self, request, context):
        self.hosts.discard(request.host_id)
        print("gone", request.host_id, flush=True)
        return Empty()

    def UploadPersistentCacheTaskStarted(self, request, context):
        print("trace", dict(context.invocation_metadata()).get("traceparent"), flush=True)
        if request.ttl.seconds < 300:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "ttl must be at least 5 minutes here")
        if request.host_id not in self.hosts:
            context.abort(grpc.StatusCode.NOT_FOUND, "host %s not found" % request.host_id)
        if request.task_id in self.tasks:
            context.abort(grpc.StatusCode.ALREADY_EXISTS, "task %s is %s cannot upload" % (
                request.task_id, self.tasks[request.task_id].state))
        self.tasks[request.task_id] = common.PersistentCacheTask(
            id=request.task_id, state="Uploading", persistent_replica_count=1,
            current_persistent_replica_count=1, piece_length=request.piece_length,
            content_length=request.content_length, piece_count=request.piece_count)
        return Empty()

    def UploadPersistentCacheTaskFinished(self, request, context):
        self.tasks[request.task_id].state = "Succeeded"
        return self.tasks[request.task_id]

    def UploadPersistentCacheTaskFailed(self, request, context):
        self.tasks.pop(request.task_id, None)
        return Empty()

    def StatPersistentCacheTask(self, request, context):
        if request.task_id not in self.tasks:
            context.abort(grpc.StatusCode.NOT_FOUND, "task %s not found" % request.task_id)
        return self.tasks[request.task_id]


def health():
    """grpc.health.v1: a HealthCheckResponse that says SERVING"""
    return grpc.method_handlers_generic_handler("grpc.health.v1.Health", {
        "Check": grpc.unary_unary_rpc_method_handler(lambda request, context: b"\x08\x01")})


def main():
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=8))
    scheduler_grpc.add_SchedulerServicer_to_server(Strict(), server)
    server.add_generic_rpc_handlers((health(),))
    if len(sys.argv) > 2:
        ca, cert, key = (open(path, "rb").read() for path in sys.argv[2:5])
        port = server.add_secure_port(sys.argv[1], grpc.ssl_server_credentials(
            [(key, cert)], root_certificates=ca, require_client_auth=True))
    else:
        port = server.add_insecure_port(sys.argv[1])
    if not port:
        sys.exit("cannot listen on " + sys.argv[1])
    server.start()
    print("ready", flush=True)
    server.wait_for_termination()


main()
