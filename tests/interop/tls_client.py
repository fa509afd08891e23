#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""tls_client - gRPC's own TLS at a dfdaemon that wants certificates.

    tls_client HOST:PORT ID CA CERT KEY

Without a certificate, and in plaintext, every call fails; with one of the CA the caller is trusted like
a peer: it deletes task ID.
"""
import sys

import grpc
from dragonfly_api import dfdaemon_pb2 as dfdaemon
from dragonfly_api.dfdaemon_pb2_grpc import DfdaemonUploadStub


def read(path):
    with open(path, "rb") as f:
        return f.read()


def delete(channel, task):
    DfdaemonUploadStub(channel).DeletePersistentCacheTask(
        dfdaemon.DeletePersistentCacheTaskRequest(task_id=task), timeout=10)


def refused(channel, task):
    try:
        delete(channel, task)
    except grpc.RpcError as e:
        assert e.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED), e
        return
    raise AssertionError("it was served")


def main():
    target, task, ca, cert, key = sys.argv[1:]
    refused(grpc.insecure_channel(target), task)
    refused(grpc.secure_channel(target, grpc.ssl_channel_credentials(read(ca))), task)
    delete(grpc.secure_channel(target, grpc.ssl_channel_credentials(
        read(ca), read(key), read(cert))), task)
    print("ok")


main()
