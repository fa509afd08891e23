#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""grpc_server - gRPC's own implementation as a server for "rpc_echo call".

    grpc_server ADDRESS     ADDRESS: unix:PATH or 127.0.0.1:0; prints "ready PORT", ends at SIGTERM
"""
import signal
import sys
import threading
from concurrent import futures

import grpc


def same(x):
    return x


def unary(request, context):
    ask = dict(context.invocation_metadata()).get("x-ask")
    if ask:
        context.set_trailing_metadata([("x-answer", ask)])
    return request


def fail(request, context):
    context.abort(grpc.StatusCode.NOT_FOUND, "не найдено: 100%\n")


def stream(request, context):
    count, size = map(int, request.split())
    for i in range(count):
        yield bytes([i & 255]) * size


def bidi(requests, context):
    yield from requests


def early(requests, context):
    next(requests)
    context.abort(grpc.StatusCode.ABORTED, "enough")


def hold(request, context):
    stopped = threading.Event()
    context.add_callback(stopped.set)
    stopped.wait(30)
    return b""


METHODS = {
    "Unary": grpc.unary_unary_rpc_method_handler(unary, same, same),
    "Fail": grpc.unary_unary_rpc_method_handler(fail, same, same),
    "Hold": grpc.unary_unary_rpc_method_handler(hold, same, same),
    "Stream": grpc.unary_stream_rpc_method_handler(stream, same, same),
    "Bidi": grpc.stream_stream_rpc_method_handler(bidi, same, same),
    "Early": grpc.stream_stream_rpc_method_handler(early, same, same),
}


def main():
    server = grpc.server(futures.ThreadPoolExecutor(16), options=[
        ("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1),
        ("grpc.max_concurrent_streams", 100)])
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("test.Echo", METHODS)])
    port = server.add_insecure_port(sys.argv[1])
    server.start()
    print(f"ready {port}", flush=True)
    signal.sigwait([signal.SIGTERM])
    server.stop(5).wait()


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    main()
