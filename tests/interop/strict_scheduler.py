#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""strict_scheduler - plays a Dragonfly scheduler that takes no ttl below five minutes.

    strict_scheduler ADDRESS [CA CERT KEY]     prints "ready" when it listens on ADDRESS, HOST:PORT;
                                               with files, by mutual TLS

Made of the published schemas and gRPC's own code. It knows hosts and the beginning, end and failure
of an import; all else is UNIMPLEMENTED.
"""
import sys
from concurrent import futures

import grpc
from dragonfly_api import common_pb2 as common
from dragonfly_api import scheduler_pb2_grpc as scheduler_grpc
from google.protobuf.empty_pb2 import Empty


class Strict(scheduler_grpc.SchedulerServicer):
    def AnnounceHost(self, request, context):
        return Empty()

    def DeleteHost(self, request, context):
        return Empty()

    def UploadPersistentCacheTaskStarted(self, request, context):
        if request.ttl.seconds < 300:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "ttl must be at least 5 minutes here")
        return Empty()

    def UploadPersistentCacheTaskFinished(self, request, context):
        return common.PersistentCacheTask(id=request.task_id, state="Succeeded",
                                          persistent_replica_count=1,
                                          current_persistent_replica_count=1)

    def UploadPersistentCacheTaskFailed(self, request, context):
        return Empty()


def main():
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=8))
    scheduler_grpc.add_SchedulerServicer_to_server(Strict(), server)
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
