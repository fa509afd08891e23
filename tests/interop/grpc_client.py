#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""grpc_client - gRPC's own implementation as a client of rpc_echo.

    grpc_client ADDRESS CASE        ADDRESS: unix:PATH or 127.0.0.1:PORT
"""
import sys
import threading

import grpc

MIB = 1 << 20
OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


def same(x):
    return x


class Echo:
    def __init__(self, address):
        self.channel = grpc.insecure_channel(address, options=OPTIONS)

    def unary(self, name, **kw):
        return self.channel.unary_unary("/test.Echo/" + name, same, same, **kw)

    def stream(self, name):
        return self.channel.unary_stream("/test.Echo/" + name, same, same)

    def bidi(self, name):
        return self.channel.stream_stream("/test.Echo/" + name, same, same)


def status_of(function):
    try:
        function()
    except grpc.RpcError as e:
        return e.code(), e.details()
    return grpc.StatusCode.OK, ""


def expect(got, want):
    assert got == want, f"got {got!r}, want {want!r}"


def unary(e):
    expect(e.unary("Unary")(b"hello", timeout=5), b"hello")


def empty(e):
    expect(e.unary("Unary")(b"", timeout=5), b"")


def metadata(e):
    answer, call = e.unary("Unary").with_call(b"x", timeout=5, metadata=[("x-ask", "a b=c")])
    expect(answer, b"x")
    expect(dict(call.trailing_metadata())["x-answer"], "a b=c")


def big(e):
    data = bytes(range(256)) * (40 * MIB // 256)
    expect(e.unary("Unary")(data, timeout=60) == data, True)


def stream(e):
    sizes = [len(m) for m in e.stream("Stream")(b"50 %d" % MIB, timeout=60)]
    expect(sizes, [MIB] * 50)


def empty_stream(e):
    expect(list(e.stream("Stream")(b"0 0", timeout=5)), [])


def empty_messages(e):
    expect(list(e.stream("Stream")(b"100 0", timeout=5)), [b""] * 100)


def error(e):
    code, text = status_of(lambda: e.unary("Fail")("море".encode(), timeout=5))
    expect(code, grpc.StatusCode.NOT_FOUND)
    expect(text, "не найдено: 100% of море")


def unknown(e):
    code, text = status_of(lambda: e.unary("Nope")(b"", timeout=5))
    expect((code, text), (grpc.StatusCode.UNIMPLEMENTED, "unknown method /test.Echo/Nope"))


def deadline(e):
    for name in ("Silent", "Hold"):
        code, _ = status_of(lambda n=name: e.unary(n)(b"", timeout=0.3))
        expect(code, grpc.StatusCode.DEADLINE_EXCEEDED)


def too_large(e):
    code, text = status_of(lambda: e.unary("Small")(b"x" * 1025, timeout=5))
    expect(code, grpc.StatusCode.RESOURCE_EXHAUSTED)
    expect(text, "message of 1025 bytes is larger than the limit of 1024")
    code, _ = status_of(lambda: e.unary("Small")(b"x" * (20 * MIB), timeout=5))
    expect(code, grpc.StatusCode.RESOURCE_EXHAUSTED)
    code, _ = status_of(lambda: e.unary("Unary")(b"x" * (65 * MIB), timeout=20))
    expect(code, grpc.StatusCode.RESOURCE_EXHAUSTED)


def cancel(e):
    call = e.stream("Stream")(b"100000 %d" % MIB, timeout=60)
    next(call)
    call.cancel()
    code, _ = status_of(lambda: list(call))
    expect(code, grpc.StatusCode.CANCELLED)
    unary(e)


def bad_protobuf(e):
    code, text = status_of(lambda: e.unary("Parse")(b"\xff\xff", timeout=5))
    expect((code, text), (grpc.StatusCode.INVALID_ARGUMENT, "not a HealthCheckRequest"))
    code, _ = status_of(lambda: e.unary("Parse")(b"\x0a\x02\xc3\x28", timeout=5))
    expect(code, grpc.StatusCode.INVALID_ARGUMENT)  # a string that is not UTF-8
    expect(status_of(lambda: e.unary("Parse")(b"\x0a\x02ok", timeout=5))[0], grpc.StatusCode.OK)


def bidi(e):
    ready = threading.Semaphore(1)
    n_sent = 0

    def requests():
        nonlocal n_sent
        for i in range(50):
            ready.acquire()  # ping-pong: the next one only after the answer
            n_sent += 1
            yield b"%d" % i

    answers = []
    for m in e.bidi("Bidi")(requests(), timeout=20):
        answers.append(m)
        expect(n_sent, len(answers))
        ready.release()
    expect(answers, [b"%d" % i for i in range(50)])


def bidi_big(e):
    data = bytes(range(256)) * (3 * MIB // 256)
    answers = list(e.bidi("Bidi")(iter([data] * 8), timeout=60))
    expect(answers == [data] * 8, True)


def early(e):
    release = threading.Event()

    def requests():
        yield b"one"
        release.wait(20)

    call = e.bidi("Early")(requests(), timeout=20)
    answers = []
    code, text = status_of(lambda: answers.extend(call))
    release.set()
    expect((code, text), (grpc.StatusCode.ABORTED, "enough"))


def headers_first(e):
    call = e.stream("Hold")(b"", timeout=5)
    expect(dict(call.initial_metadata()).get("grpc-accept-encoding", "identity"), "identity")
    call.cancel()


def threads(e):
    wrong = []

    def work(k):
        for i in range(50):
            text = b"%d %d" % (k, i)
            if e.unary("Unary")(text, timeout=20) != text:
                wrong.append(text)

    ts = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for t in ts:
        t.start()
    for t in ts:
        t.join()
    expect(wrong, [])


def at_once(e):
    calls = [e.unary("Unary").future(b"%d" % i, timeout=20) for i in range(500)]
    expect([c.result() for c in calls], [b"%d" % i for i in range(500)])


def compressed(e):
    code, text = status_of(
        lambda: e.unary("Unary")(b"x" * 1000, timeout=5, compression=grpc.Compression.Gzip))
    expect(code, grpc.StatusCode.UNIMPLEMENTED)
    unary(e)


def health(e):
    check = e.channel.unary_unary("/grpc.health.v1.Health/Check", same, same)
    expect(check(b"", timeout=5), b"\x08\x01")
    expect(check(b"\x0a\x09test.Echo", timeout=5), b"\x08\x01")
    expect(status_of(lambda: check(b"\x0a\x04nope", timeout=5))[0], grpc.StatusCode.NOT_FOUND)
    watch = e.channel.unary_stream("/grpc.health.v1.Health/Watch", same, same)
    call = watch(b"\x0a\x04nope", timeout=5)
    expect(next(call), b"\x08\x03")
    call.cancel()


CASES = {f.__name__: f for f in (
    unary, empty, metadata, big, stream, empty_stream, empty_messages, error, unknown, deadline,
    too_large, cancel, bad_protobuf, bidi, bidi_big, early, headers_first, threads, at_once,
    compressed, health)}


def main():
    if len(sys.argv) == 2 and sys.argv[1] == "--list":
        print("\n".join(CASES))
        return
    e = Echo(sys.argv[1])
    for name in sys.argv[2:]:
        try:
            CASES[name](e)
        except Exception as x:
            print(f"{name}: {type(x).__name__}: {x}")
            sys.exit(1)
    e.channel.close()


if __name__ == "__main__":
    main()
