#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""scheduler_client.py - foreign peers, made of the published package, at our embedded scheduler.

    scheduler_client.py ADDRESS:PORT

They announce themselves, one imports, the other is asked for a replica, a third party fetches,
reschedules and finishes; statuses and counts are those of the protocol; a deletion reaches them by
RPC, because they know no tombstones. Prints what was done, "ok" at the end; exit status 1 otherwise.
"""
import queue
import sys
import time
from concurrent import futures

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.empty_pb2 import Empty
from google.protobuf.timestamp_pb2 import Timestamp

from dragonfly_api import common_pb2 as common
from dragonfly_api import dfdaemon_pb2 as dfdaemon
from dragonfly_api import dfdaemon_pb2_grpc as dfdaemon_grpc
from dragonfly_api import scheduler_pb2 as scheduler
from dragonfly_api import scheduler_pb2_grpc as scheduler_grpc

MIB = 1 << 20


class Peer(dfdaemon_grpc.DfdaemonUploadServicer):
    """One foreign dfdaemon: what the scheduler asks of it is remembered."""

    def __init__(self, name, stub):
        self.id = f"127.0.0.1-{name}"
        self.name = name
        self.stub = stub
        self.asked = queue.Queue()
        self.server = grpc.server(futures.ThreadPoolExecutor(4))
        dfdaemon_grpc.add_DfdaemonUploadServicer_to_server(self, self.server)
        self.port = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()

    def host(self):
        return common.Host(
            id=self.id, type=0, hostname=self.name, ip="127.0.0.1", port=self.port,
            download_port=self.port, os="linux", network=common.Network(max_tx_bandwidth=10**9),
            disk=common.Disk(total=10**12, free=9 * 10**11), build=common.Build(git_version="2.3.8"))

    def announce(self):
        self.stub.AnnounceHost(scheduler.AnnounceHostRequest(host=self.host(), interval=Duration(seconds=60)))

    # what a scheduler calls
    def DownloadPersistentCacheTask(self, request, context):
        assert request.persistent and not request.HasField("output_path"), request
        fetch(self, request.task_id, persistent=True)
        self.asked.put(("download", request.task_id))
        yield dfdaemon.DownloadPersistentCacheTaskResponse(
            host_id=self.id, task_id=request.task_id, peer_id=f"{self.id}-replica",
            download_persistent_cache_task_started_response=
            dfdaemon.DownloadPersistentCacheTaskStartedResponse(content_length=9 * MIB))

    def DeletePersistentCacheTask(self, request, context):
        self.asked.put(("delete", request.task_id))
        return Empty()


def fetch(peer, task, persistent=False, reschedule=False):
    """The announce stream of one download, as the reference client makes it. Returns the parents seen."""
    out = queue.Queue()
    peer_id = f"{peer.id}-{'replica' if persistent else 'child'}"

    def send(**kind):
        out.put(scheduler.AnnouncePersistentCachePeerRequest(
            host_id=peer.id, task_id=task, peer_id=peer_id, **kind))

    send(register_persistent_cache_peer_request=scheduler.RegisterPersistentCachePeerRequest(
        persistent=persistent, piece_length=4 * MIB, concurrent_piece_count=8, piece_count=3))
    answers = peer.stub.AnnouncePersistentCachePeer(iter(out.get, None), timeout=20)
    parents = list(next(answers).normal_persistent_cache_task_response.candidate_cache_parents)
    started = scheduler.DownloadPersistentCachePeerStartedRequest()
    send(download_persistent_cache_peer_started_request=started)
    if reschedule:  # upstream's scheduler takes the second "started" for an error
        send(reschedule_persistent_cache_peer_request=scheduler.ReschedulePersistentCachePeerRequest(
            candidate_parents=parents[:1], description="too slow"))
        parents = list(next(answers).normal_persistent_cache_task_response.candidate_cache_parents)
        send(download_persistent_cache_peer_started_request=started)
    now = Timestamp()
    now.GetCurrentTime()
    for number in range(3):
        send(download_piece_finished_request=scheduler.DownloadPieceFinishedRequest(piece=common.Piece(
            number=number, parent_id=parents[0].id, offset=number * 4 * MIB, length=4 * MIB,
            digest="crc32:1", traffic_type=common.REMOTE_PEER, cost=Duration(nanos=5), created_at=now)))
    send(download_persistent_cache_peer_finished_request=
         scheduler.DownloadPersistentCachePeerFinishedRequest())
    out.put(None)
    assert list(answers) == [], "nothing comes after finished"
    return parents


def refused(code, text, call, request):
    try:
        call(request, timeout=10)
    except grpc.RpcError as e:
        assert e.code() == code, (e.code(), e.details())
        assert text in e.details(), e.details()
        return
    raise AssertionError(f"expected {code}")


def complete(parent):
    """Everything that the Go side's validation wants in a candidate parent."""
    assert parent.id and parent.state and parent.HasField("cost") and parent.HasField("created_at")
    assert parent.task.id and parent.task.HasField("ttl") and parent.task.piece_length >= 4 * MIB
    assert parent.host.id and parent.host.ip and parent.host.port and parent.host.hostname


def main():
    stub = scheduler_grpc.SchedulerStub(grpc.insecure_channel(sys.argv[1]))
    a, b, c = (Peer(n, stub) for n in ("a", "b", "c"))
    code = grpc.StatusCode
    task = "foreign-1"
    up = scheduler.UploadPersistentCacheTaskStartedRequest(
        host_id=a.id, task_id=task, peer_id="peer-a", persistent_replica_count=2, piece_length=4 * MIB,
        content_length=9 * MIB, piece_count=3, ttl=Duration(seconds=600), tag="t")
    refused(code.NOT_FOUND, f"host {a.id} not found", stub.UploadPersistentCacheTaskStarted, up)
    a.announce()
    b.announce()
    names = {h.hostname for h in stub.ListHosts(scheduler.ListHostsRequest()).hosts}
    assert {"a", "b"} <= names, names
    ids = dict(host_id=a.id, task_id=task, peer_id="peer-a")
    stat = scheduler.StatPersistentCacheTaskRequest(host_id=a.id, task_id=task)
    refused(code.NOT_FOUND, f"persistent cache task {task} not found", stub.StatPersistentCacheTask, stat)

    # a failed import does not block the next one
    stub.UploadPersistentCacheTaskStarted(up)
    stub.UploadPersistentCacheTaskFailed(scheduler.UploadPersistentCacheTaskFailedRequest(**ids))
    stub.UploadPersistentCacheTaskStarted(up)
    assert stub.StatPersistentCacheTask(stat).state == "Uploading"
    t = stub.UploadPersistentCacheTaskFinished(scheduler.UploadPersistentCacheTaskFinishedRequest(**ids))
    assert (t.id, t.state, t.current_persistent_replica_count) == (task, "Succeeded", 1), t
    assert (t.content_length, t.piece_count, t.tag, t.ttl.seconds) == (9 * MIB, 3, "t", 600), t
    refused(code.ALREADY_EXISTS, "is Succeeded cannot upload", stub.UploadPersistentCacheTaskStarted, up)
    print("imported")

    # the second replica: b is asked, since our own daemon does not share
    deadline = time.monotonic() + 60
    while stub.StatPersistentCacheTask(stat).current_persistent_replica_count < 2:
        assert time.monotonic() < deadline, "no replica was made"
        time.sleep(0.1)
    assert b.asked.get(timeout=10) == ("download", task)
    print("replicated")

    c.announce()
    parents = fetch(c, task)
    assert {p.host.id for p in parents} == {a.id, b.id}, parents
    for p in parents:
        complete(p)
    again = fetch(c, task, reschedule=True)  # the first parent was given up: the other is left
    assert len(again) == 1, again
    t = stub.StatPersistentCacheTask(stat)
    assert (t.current_replica_count, t.current_persistent_replica_count) == (3, 2), t
    p = stub.StatPersistentCachePeer(scheduler.StatPersistentCachePeerRequest(
        host_id=c.id, task_id=task, peer_id=f"{c.id}-child"))
    assert p.state == "Succeeded" and p.host.id == c.id, p
    print("fetched")

    # nonsense and strangers' ids
    refused(code.INVALID_ARGUMENT, "task_id", stub.StatPersistentCacheTask,
            scheduler.StatPersistentCacheTaskRequest(host_id="h", task_id="../x"))
    refused(code.INVALID_ARGUMENT, "host is missing", stub.AnnounceHost, scheduler.AnnounceHostRequest())
    refused(code.NOT_FOUND, "peer", stub.DeletePersistentCachePeer,
            scheduler.DeletePersistentCachePeerRequest(host_id=a.id, task_id=task, peer_id="nobody"))

    stub.DeletePersistentCacheTask(scheduler.DeletePersistentCacheTaskRequest(host_id=a.id, task_id=task))
    refused(code.NOT_FOUND, "not found", stub.StatPersistentCacheTask, stat)
    for peer in (a, b, c):
        assert peer.asked.get(timeout=10) == ("delete", task), peer.name
    for peer in (a, b, c):
        stub.DeleteHost(scheduler.DeleteHostRequest(host_id=peer.id))
    names = {h.hostname for h in stub.ListHosts(scheduler.ListHostsRequest()).hosts}
    assert not {"a", "b", "c"} & names, names
    print("deleted")
    for peer in (a, b, c):
        peer.server.stop(0)
    print("ok")


if __name__ == "__main__":
    main()
