#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""path_client - a client that knows paths only, made of the published schemas and gRPC's own code.

    path_client SOCKET import PATH [TTL-SECONDS]     prints the task id
    path_client SOCKET export ID PATH [overwrite] [hardlink] [digest=D]
    path_client SOCKET stat ID                       prints state and length

On failure prints "STATUS message" on standard error and exits 1.
"""
import os
import sys

import grpc
from dragonfly_api import dfdaemon_pb2 as dfdaemon
from dragonfly_api.dfdaemon_pb2_grpc import DfdaemonDownloadStub
from google.protobuf.duration_pb2 import Duration


def main():
    socket, command, *args = sys.argv[1:]
    stub = DfdaemonDownloadStub(grpc.insecure_channel("unix:" + socket))
    try:
        if command == "import":
            ttl = Duration(seconds=int(args[1]) if len(args) > 1 else 3600)
            task = stub.UploadPersistentCacheTask(dfdaemon.UploadPersistentCacheTaskRequest(
                path=os.path.abspath(args[0]), persistent_replica_count=1, ttl=ttl), timeout=60)
            print(task.id)
        elif command == "export":
            digest = [a[7:] for a in args[2:] if a.startswith("digest=")]
            request = dfdaemon.DownloadPersistentCacheTaskRequest(
                task_id=args[0], output_path=os.path.abspath(args[1]), tag="", application="",
                overwrite="overwrite" in args[2:], force_hard_link="hardlink" in args[2:])
            if digest:
                request.digest = digest[0]
            for _ in stub.DownloadPersistentCacheTask(request, timeout=60):
                pass
        elif command == "stat":
            task = stub.StatPersistentCacheTask(
                dfdaemon.StatPersistentCacheTaskRequest(task_id=args[0]), timeout=15)
            print(task.state, task.content_length)
        else:
            sys.exit(__doc__)
    except grpc.RpcError as e:
        print(e.code().name, e.details(), file=sys.stderr)
        sys.exit(1)


main()
