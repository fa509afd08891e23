#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""peer_client - dfdaemon's services as the published schemas and gRPC's own code see them.

    peer_client parent HOST:PORT ID FILE       be an upstream child: announcements, then pieces over
                                               Vortex TCP (era C); compare with FILE
    peer_client stream SOCKET ID FILE [local|remote]
                                               export with content in the stream; compare
    peer_client refused HOST:PORT ID           what the TCP service must refuse to everybody
    peer_client stranger HOST:PORT ID          what it must refuse to those it does not know
    peer_client trusted HOST:PORT ID           what it does for those it knows: hold, pin, delete
    peer_client nonsense SOCKET                requests that make no sense are told so
"""
import socket
import struct
import sys
import zlib

import grpc
from dragonfly_api import common_pb2 as common
from dragonfly_api import dfdaemon_pb2 as dfdaemon
from dragonfly_api.dfdaemon_pb2_grpc import DfdaemonDownloadStub, DfdaemonUploadStub
from google.protobuf.duration_pb2 import Duration

UPLOAD = dfdaemon.UploadPersistentCacheTaskRequest
DOWNLOAD = dfdaemon.DownloadPersistentCacheTaskRequest


def receive(s, n):
    out = b""
    while len(out) < n:
        part = s.recv(n - len(out))
        assert part, "the connection ended %d bytes early" % (n - len(out))
        out += part
    return out


def vortex(address, task, number):
    """One piece as the reference client asks: one connection, one request, then its end."""
    with socket.create_connection(address, timeout=10) as s:
        value = task.encode().ljust(64, b"\0") + struct.pack(">I", number)
        s.sendall(struct.pack(">BBI", 0x94, 4, len(value)) + value)
        _, tag, length = struct.unpack(">BBI", receive(s, 6))
        value = receive(s, length)
        if tag == 255:
            return None, value[0], value[1:].decode()
        assert tag == 5, tag
        meta, got, offset, size, digest_len = struct.unpack(">IIQQI", value[:28])
        assert meta == length - 4 and got == number
        digest = value[28:28 + digest_len].decode()
        parent_len = struct.unpack(">I", value[28 + digest_len:32 + digest_len])[0]
        assert meta == 45 + digest_len + parent_len
        assert value[32 + digest_len + parent_len] == 1
        content = receive(s, size)
        assert s.recv(1) == b"", "bytes after the content"
        return content, offset, digest


def parent(target, task, file):
    data = open(file, "rb").read()
    stub = DfdaemonUploadStub(grpc.insecure_channel(target))
    stat = stub.StatPersistentCacheTask(
        dfdaemon.StatPersistentCacheTaskRequest(task_id=task), timeout=10)
    assert stat.content_length == len(data) and stat.state == "Succeeded", stat
    wanted = list(range(stat.piece_count))
    seen = {}
    for m in stub.SyncPersistentCachePieces(dfdaemon.SyncPersistentCachePiecesRequest(
            host_id="10.0.0.1-foreign", task_id=task, interested_piece_numbers=wanted), timeout=20):
        assert m.HasField("tcp_port") and m.ip
        assert m.offset == m.number * stat.piece_length
        seen[m.number] = m
    assert sorted(seen) == wanted, sorted(seen)
    for number, m in seen.items():
        content, offset, digest = vortex((m.ip, m.tcp_port), task, number)
        assert content == data[m.offset:m.offset + m.length] and len(content) == m.length
        assert offset == m.offset and digest == "crc32:%d" % zlib.crc32(content)
    none, code, text = vortex((m.ip, m.tcp_port), task, stat.piece_count)
    assert none is None and code == 2 and "not found" in text, (code, text)
    none, code, text = vortex((m.ip, m.tcp_port), "0" * 64, 0)
    assert none is None and code == 2, (code, text)
    host = next(stub.SyncHost(dfdaemon.SyncHostRequest(host_id="h", peer_id="p"), timeout=10))
    assert host.network.HasField("tx_bandwidth")
    missing = stub.SyncPersistentCachePieces(dfdaemon.SyncPersistentCachePiecesRequest(
        host_id="h", task_id="4711", interested_piece_numbers=[0]), timeout=10)
    expect(lambda: list(missing), "NOT_FOUND", "4711")


def stream(path, task, file, where):
    data = open(file, "rb").read()
    stub = DfdaemonDownloadStub(grpc.insecure_channel(
        "unix:" + path, options=[("grpc.max_receive_message_length", -1)]))
    kind = common.LOCAL_PEER if where == "local" else common.REMOTE_PEER
    out = bytearray(len(data))
    numbers = []
    ids = set()
    events = stub.DownloadPersistentCacheTask(
        DOWNLOAD(task_id=task, need_piece_content=True), timeout=60)
    for n, e in enumerate(events):
        ids.add((e.host_id, e.task_id, e.peer_id))
        if n == 0:
            assert e.download_persistent_cache_task_started_response.content_length == len(data)
            continue
        p = e.download_piece_finished_response.piece
        assert len(p.content) == p.length and p.traffic_type == kind, p.traffic_type
        assert p.digest == "crc32:%d" % zlib.crc32(p.content)
        assert p.HasField("cost") and p.HasField("created_at")
        out[p.offset:p.offset + p.length] = p.content
        numbers.append(p.number)
    assert out == data
    assert sorted(numbers) == list(range(len(numbers))) and len(ids) == 1
    if where == "local":
        assert numbers == sorted(numbers)


def expect(call, code, *words):
    try:
        call()
    except grpc.RpcError as e:
        assert e.code().name == code, (e.code(), e.details())
        for w in words:
            assert w in e.details(), e.details()
        print("#", e.code().name, e.details())
        return
    raise AssertionError("not refused: " + code)


def refused(target, task):
    stub = DfdaemonUploadStub(grpc.insecure_channel(target))
    for request in (DOWNLOAD(task_id=task, output_path="/tmp/never"),
                    DOWNLOAD(task_id=task, need_piece_content=True)):
        expect(lambda: list(stub.DownloadPersistentCacheTask(request, timeout=10)),
               "PERMISSION_DENIED", "network")
    local = DfdaemonDownloadStub(grpc.insecure_channel(target))
    expect(lambda: local.UploadPersistentCacheTask(UPLOAD(path="/etc/passwd"), timeout=10),
           "UNIMPLEMENTED")


def stranger(target, task):
    stub = DfdaemonUploadStub(grpc.insecure_channel(target))
    expect(lambda: list(stub.DownloadPersistentCacheTask(DOWNLOAD(task_id=task), timeout=10)),
           "PERMISSION_DENIED", "configured")
    expect(lambda: stub.DeletePersistentCacheTask(
        dfdaemon.DeletePersistentCacheTaskRequest(task_id=task), timeout=10), "PERMISSION_DENIED")
    expect(lambda: stub.UpdatePersistentCacheTask(dfdaemon.UpdatePersistentCacheTaskRequest(
        task_id=task, persistent=False), timeout=10), "PERMISSION_DENIED")


def trusted(target, task):
    stub = DfdaemonUploadStub(grpc.insecure_channel(target))
    events = list(stub.DownloadPersistentCacheTask(
        DOWNLOAD(task_id=task, persistent=True), timeout=30))
    assert len(events) > 1 and not events[1].download_piece_finished_response.piece.content
    for persistent in (False, True):
        stub.UpdatePersistentCacheTask(dfdaemon.UpdatePersistentCacheTaskRequest(
            task_id=task, persistent=persistent), timeout=10)
    stub.DeletePersistentCacheTask(
        dfdaemon.DeletePersistentCacheTaskRequest(task_id=task), timeout=10)
    stub.DeletePersistentCacheTask(  # again: it is done already
        dfdaemon.DeletePersistentCacheTaskRequest(task_id=task), timeout=10)


def nonsense(path):
    stub = DfdaemonDownloadStub(grpc.insecure_channel("unix:" + path))
    good = {"path": "/etc/hostname", "persistent_replica_count": 1, "ttl": Duration(seconds=3600)}
    for change, word in (({"path": "relative"}, "absolute"), ({"path": ""}, "absolute"),
                         ({"persistent_replica_count": 0}, "replica count"),
                         ({"persistent_replica_count": 1 << 40}, "replica count"),
                         ({"piece_length": 1 << 20}, "piece length"),
                         ({"piece_length": 1 << 40}, "piece length"),
                         ({"ttl": Duration(seconds=1)}, "ttl"),
                         ({"ttl": Duration(seconds=-5)}, "ttl"),
                         ({"ttl": Duration(seconds=1 << 50)}, "ttl"),
                         ({"tag": "x" * 2000}, "tag")):
        expect(lambda: stub.UploadPersistentCacheTask(UPLOAD(**{**good, **change}), timeout=10),
               "INVALID_ARGUMENT", word)
    for change, word in (({"task_id": "../../etc"}, "task id"), ({"task_id": ""}, "task id"),
                         ({"task_id": "a" * 65}, "task id"),
                         ({"task_id": "1", "output_path": "out"}, "absolute"),
                         ({"task_id": "1", "digest": "md5:1"}, "digest"),
                         ({"task_id": "1", "force_hard_link": True}, "path")):
        expect(lambda: list(stub.DownloadPersistentCacheTask(DOWNLOAD(**change), timeout=10)),
               "INVALID_ARGUMENT", word)
    expect(lambda: stub.StatPersistentCacheTask(
        dfdaemon.StatPersistentCacheTaskRequest(task_id="a/b"), timeout=10), "INVALID_ARGUMENT")
    expect(lambda: stub.StatLocalPersistentCacheTask(
        dfdaemon.StatLocalPersistentCacheTaskRequest(task_id="4711"), timeout=10),
           "NOT_FOUND", "4711")
    assert not stub.ListLocalPersistentCacheTasks(
        dfdaemon.ListLocalPersistentCacheTasksRequest(), timeout=10).tasks


{"parent": parent, "stream": stream, "refused": refused, "stranger": stranger,
 "trusted": trusted, "nonsense": nonsense}[sys.argv[1]](*sys.argv[2:])
print("ok")
