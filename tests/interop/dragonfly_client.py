#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""dragonfly_client - small questions to real daemons and schedulers, by the published schemas.

    dragonfly_client host SCHEDULER HOST-ID      exit 0 when the scheduler lists that host; prints it
    dragonfly_client holds SOCKET ID             exit 0 when the copy there is complete and persistent
    dragonfly_client list SOCKET -               exit 0 when it answers
    dragonfly_client copies SCHEDULER ID         prints the persistent and all replicas, and the state
    dragonfly_client delete SCHEDULER ID         deletes the task
    dragonfly_client fetch SOCKET ID             has the daemon get it, without an output
"""
import sys

import grpc
from dragonfly_api import dfdaemon_pb2 as dfdaemon
from dragonfly_api import scheduler_pb2 as scheduler
from dragonfly_api.dfdaemon_pb2_grpc import DfdaemonDownloadStub
from dragonfly_api.scheduler_pb2_grpc import SchedulerStub


def local(path):
    # the authority that grpcio makes of a path is refused by theirs
    return DfdaemonDownloadStub(grpc.insecure_channel(
        "unix:" + path, options=[("grpc.default_authority", "localhost")]))


def main():
    command, where, name = sys.argv[1:4]
    timeout = 20
    try:
        if command == "host":
            stub = SchedulerStub(grpc.insecure_channel(where))
            hosts = stub.ListHosts(scheduler.ListHostsRequest(), timeout=timeout).hosts
            found = [h for h in hosts if h.id == name]
            if not found:
                sys.exit("not among " + " ".join(h.id for h in hosts))
            print(found[0])
        elif command == "holds":
            task = local(where).StatLocalPersistentCacheTask(
                dfdaemon.StatLocalPersistentCacheTaskRequest(task_id=name), timeout=timeout)
            if not (task.HasField("finished_at") and task.persistent):
                sys.exit("not complete, or not persistent: " + str(task))
        elif command == "list":
            local(where).ListLocalPersistentCacheTasks(
                dfdaemon.ListLocalPersistentCacheTasksRequest(), timeout=timeout)
        elif command == "copies":
            task = SchedulerStub(grpc.insecure_channel(where)).StatPersistentCacheTask(
                scheduler.StatPersistentCacheTaskRequest(host_id="test", task_id=name), timeout=timeout)
            print(task.current_persistent_replica_count, task.current_replica_count, task.state)
        elif command == "fetch":
            for _ in local(where).DownloadPersistentCacheTask(
                    dfdaemon.DownloadPersistentCacheTaskRequest(task_id=name), timeout=600):
                pass
        elif command == "delete":
            SchedulerStub(grpc.insecure_channel(where)).DeletePersistentCacheTask(
                scheduler.DeletePersistentCacheTaskRequest(host_id="test", task_id=name), timeout=timeout)
        else:
            sys.exit(__doc__)
    except grpc.RpcError as e:
        sys.exit(f"{e.code().name} {e.details()}")


main()
