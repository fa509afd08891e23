#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""hostile - what a stranger may do to rpc_echo, and what it must not cost.

    hostile SOCKET PID CASE...      SOCKET: path of a unix socket; PID: the server

Each case attacks from one connection for at most SECONDS; the peak of the server's memory during
the attack is measured, and afterwards an ordinary call must work.
"""
import array
import os
import socket
import struct
import sys
import time

import grpc
from hpack import Decoder, Encoder

SECONDS = 2.0
MIB = 1 << 20
MAGIC = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONT = range(10)
END_STREAM, END_HEADERS, ACK = 1, 4, 1
CALM = 11


def frame(kind, flags=0, stream=0, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + \
        struct.pack(">I", stream) + payload


def message(data=b"x"):
    return b"\0" + struct.pack(">I", len(data)) + data


class Peer:
    """One raw connection."""

    def __init__(self, path, hello=True, reads=True):
        self.s = socket.socket(socket.AF_UNIX)
        self.s.connect(path)
        self.s.settimeout(SECONDS)
        self.encoder, self.decoder = Encoder(), Decoder()
        self.reads, self.is_closed, self.sent, self.buffer = reads, False, 0, b""
        self.stream = 1
        self.frames = []
        if hello:
            self.send(MAGIC + frame(SETTINGS))

    def headers(self, stream, flags=END_HEADERS, **change):
        fields = {":method": "POST", ":scheme": "http", ":path": "/test.Echo/Silent",
                  ":authority": "x", "te": "trailers", "content-type": "application/grpc"}
        fields.update({k.replace("_", "-"): v for k, v in change.items()})
        fields = [(k, v) for k, v in fields.items() if v is not None]
        return frame(HEADERS, flags, stream, self.encoder.encode(fields))

    def send(self, data):
        """False when the server has hung up, or does not take more."""
        try:
            self.s.sendall(data)
            self.sent += len(data)
        except socket.timeout:
            return False
        except OSError:
            self.is_closed = True
            return False
        if self.reads:
            self.poll(0)
        return not self.is_closed

    def poll(self, timeout):
        self.s.settimeout(timeout)
        try:
            while True:
                data = self.s.recv(1 << 16)
                if not data:
                    self.is_closed = True
                    break
                self.buffer += data
                if timeout:
                    break
        except (BlockingIOError, socket.timeout):
            pass
        except OSError:
            self.is_closed = True
        self.s.settimeout(SECONDS)
        while len(self.buffer) >= 9:
            n = int.from_bytes(self.buffer[:3], "big")
            if len(self.buffer) < 9 + n:
                break
            kind, flags = self.buffer[3], self.buffer[4]
            stream = int.from_bytes(self.buffer[5:9], "big")
            self.frames.append((kind, flags, stream, self.buffer[9:9 + n]))
            self.buffer = self.buffer[9 + n:]

    def wait(self, what, seconds=5):
        """Frames until what(frame) is true; None if the connection ends or time runs out."""
        end = time.monotonic() + seconds
        seen = 0
        while True:
            for f in self.frames[seen:]:
                if what(f):
                    return f
            seen = len(self.frames)
            if self.is_closed or time.monotonic() > end:
                return None
            self.poll(0.2)

    def wait_closed(self, seconds=6):
        end = time.monotonic() + seconds
        while not self.is_closed and time.monotonic() < end:
            self.poll(0.2)
        return self.is_closed

    def goaway_code(self):
        f = self.wait(lambda f: f[0] == GOAWAY, 1)
        return f and int.from_bytes(f[3][4:8], "big")

    def answer(self, stream):
        """The fields of the last header block of a stream."""
        fields = {}
        done = self.wait(lambda f: f[2] == stream and f[0] in (HEADERS, RST) and
                         (f[0] == RST or f[1] & END_STREAM))
        for kind, _, number, payload in self.frames:
            if kind == HEADERS:
                block = dict(self.decoder.decode(payload))
                if number == stream:
                    fields.update(block)
        return fields if done else None


def attack(peer, data, seconds=SECONDS):
    end = time.monotonic() + seconds
    while time.monotonic() < end and peer.send(data):
        pass
    return peer


def expect(truth, text):
    if not truth:
        raise AssertionError(text)


# ---- floods ----------------------------------------------------------------------------------


def flood(path, make, chunk=100, reads=True):
    """Until the server hangs up; it must, and soon."""
    p = Peer(path, reads=reads)
    end = time.monotonic() + SECONDS
    while time.monotonic() < end and p.send(b"".join(make(p) for _ in range(chunk))):
        pass
    expect(p.wait_closed(), f"still connected after {p.sent} bytes")
    expect(p.sent < 4 * MIB, f"the server took {p.sent} bytes")
    return p


def next_stream(p):
    p.stream += 2
    return p.stream


def rapid_reset(path):
    def make(p):
        k = next_stream(p)
        return p.headers(k) + frame(RST, 0, k, struct.pack(">I", 8))
    flood(path, make)


def continuation(path):
    p = Peer(path)
    p.send(p.headers(1, flags=0))
    attack(p, frame(CONT, 0, 1, b"\0\1a\1b" * 2000))
    expect(p.wait_closed(), f"still connected after {p.sent} bytes")
    expect(p.sent < 4 * MIB, f"the server took {p.sent} bytes")


def many_streams(path):
    """Calls beyond the limit, from somebody who does not read the refusals."""
    p = Peer(path, reads=False)
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        if not p.send(b"".join(p.headers(next_stream(p)) for _ in range(100))):
            break


def ping_unread(path):
    flood(path, lambda p: frame(PING, 0, 0, b"12345678"), 1000, reads=False)


def ping(path):
    p = flood(path, lambda p: frame(PING, 0, 0, b"12345678"), 500)
    expect(p.goaway_code() in (CALM, None), "another code than ENHANCE_YOUR_CALM")


def settings(path):
    flood(path, lambda p: frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 65535)), 500)


def empty_data(path):
    p = Peer(path)
    p.send(p.headers(1))
    attack(p, frame(DATA, 0, 1) * 500)
    expect(p.wait_closed(), f"still connected after {p.sent} bytes")
    expect(p.sent < 4 * MIB, f"the server took {p.sent} bytes")


def priority(path):
    flood(path, lambda p: frame(PRIORITY, 0, next_stream(p), b"\0\0\0\0\x10"), 500)


def unknown_frames(path):
    """RFC 9113 4.1: ignored. They cost us no more than them."""
    attack(Peer(path), frame(0x77, 0, 0, b"") * 500)


# ---- malformed -------------------------------------------------------------------------------


def garbage(path):
    tls = bytes.fromhex("16030100c8010000c40303") + os.urandom(200)
    for data in (os.urandom(100000), b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", tls, b"\0" * 5000,
                 MAGIC[:10], MAGIC + os.urandom(5000)):
        p = Peer(path, hello=False)
        p.send(data)
        if data == MAGIC[:10]:
            p.s.close()
            continue
        # random bytes behind the magic may announce a long frame: then the time limit ends it
        expect(p.wait_closed(10), f"still connected after {data[:20]!r}")


def oversize_frame(path):
    p = Peer(path)
    p.send(struct.pack(">I", 0xffffff)[1:] + b"\0\0\0\0\0\1" + b"x" * 100)
    expect(p.wait_closed(), "still connected")


def missing_path(path):
    p = Peer(path)
    p.send(p.headers(1, **{":path": None}))
    expect(p.wait(lambda f: f[0] == RST and f[2] == 1) or p.is_closed, "no reset")


def not_post(path):
    p = Peer(path)
    p.send(p.headers(1, flags=END_HEADERS | END_STREAM, **{":method": "GET"}))
    expect(p.answer(1).get(":status") == "405", "no 405")


def wrong_type(path):
    for kind in ("text/html", "application/grpc-web", None):
        p = Peer(path)
        p.send(p.headers(1, content_type=kind) + frame(DATA, END_STREAM, 1, message()))
        expect(p.answer(1).get(":status") == "415", f"no 415 for {kind}")


def huge_prefix(path):
    p = Peer(path)
    p.send(p.headers(1) + frame(DATA, 0, 1, b"\0\xff\xff\xff\xff" + b"x" * 100))
    expect(p.answer(1).get("grpc-status") == "8", "not RESOURCE_EXHAUSTED")
    # within the limit, but the bytes never come: what arrived is what is held
    p = Peer(path)
    for k in range(1, 100, 2):
        p.send(p.headers(k) + frame(DATA, 0, k, b"\0" + struct.pack(">I", 60 * MIB) + b"x" * 100))


def truncated(path):
    p = Peer(path)
    p.send(p.headers(1) + frame(DATA, END_STREAM, 1, b"\0\0\0\0\x0axyz"))
    expect(p.answer(1).get("grpc-status") == "3", "not INVALID_ARGUMENT")


def two_messages(path):
    p = Peer(path)
    p.send(p.headers(1) + frame(DATA, END_STREAM, 1, message() + message()))
    expect(p.answer(1).get("grpc-status") == "3", "not INVALID_ARGUMENT")


def no_message(path):
    p = Peer(path)
    p.send(p.headers(1, flags=END_HEADERS | END_STREAM))
    expect(p.answer(1).get("grpc-status") == "3", "not INVALID_ARGUMENT")


def bad_timeout(path):
    for text in ("5", "S", "123456789S", "-1S", "1h"):
        p = Peer(path)
        p.send(p.headers(1, grpc_timeout=text) + frame(DATA, END_STREAM, 1, message()))
        expect(p.answer(1).get("grpc-status") == "3", f"not INVALID_ARGUMENT for {text}")


def large_headers(path):
    p = Peer(path)
    p.send(p.headers(1, x_large="y" * 10000, x_more="z" * 7000))
    expect(p.answer(1).get("grpc-status") == "8", "not RESOURCE_EXHAUSTED")


# ---- what is held ----------------------------------------------------------------------------


def unread_answers(path):
    """100 streams of big answers, and a window of nothing: the queue is bounded."""
    p = Peer(path, hello=False)
    p.send(MAGIC + frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 0)))
    for k in range(1, 200, 2):
        p.send(p.headers(k, **{":path": "/test.Echo/Stream"}) +
               frame(DATA, END_STREAM, k, message(b"1000 1000000")))
    p.poll(1)
    return 140  # MiB: the limit of one connection is 96, and the allocator's part


def unfinished_requests(path):
    """100 requests of 4 MiB of which the last byte is missing."""
    p = Peer(path)
    for k in range(1, 200, 2):
        p.send(p.headers(k))
    end = time.monotonic() + 10
    for _ in range(4 * MIB // 16384):
        for k in range(1, 200, 2):
            first = b"\0" + struct.pack(">I", 4 * MIB) if _ == 0 else b""
            p.send(frame(DATA, 0, k, first + b"x" * (16384 - len(first) - (1 if first else 0))))
            if p.is_closed or time.monotonic() > end:
                return 140
    return 140


def descriptors(path, pid):
    def n_fds():
        return len(os.listdir(f"/proc/{pid}/fd"))

    before = n_fds()
    for n in (5, 200):
        p = Peer(path, hello=False)
        fds = array.array("i", [0] * n)
        p.s.sendmsg([MAGIC + frame(SETTINGS)],
                    [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
        expect(p.wait_closed(), f"still connected after {n} descriptors")
    p = Peer(path)
    for _ in range(10):
        try:
            p.s.sendmsg([frame(PING, 0, 0, b"12345678")],
                        [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0]))])
        except OSError:
            break
    expect(p.wait_closed(), "still connected after one descriptor too many")
    end = time.monotonic() + 5
    while n_fds() > before and time.monotonic() < end:
        time.sleep(0.05)
    expect(n_fds() <= before, f"{n_fds() - before} descriptors left")


def connections(path, pid):
    """More than the server takes: the surplus is closed, and idle ones are cheap."""
    first = [Peer(path) for _ in range(20)]
    for p in first:
        p.wait(lambda f: f[0] == SETTINGS)
    base = private_kib(pid)
    rest = [Peer(path) for _ in range(200)]
    for p in rest:
        p.wait(lambda f: f[0] == SETTINGS)
    each = (private_kib(pid) - base) / 200
    print(f"# {each:.1f} KiB for one idle connection")
    expect(each < 64, f"{each} KiB for one idle connection")
    everyone = first + rest + [Peer(path) for _ in range(60)]
    end = time.monotonic() + 5
    while sum(p.is_closed for p in everyone) < 24 and time.monotonic() < end:
        for p in everyone:
            p.poll(0)
    n = sum(p.is_closed for p in everyone)
    expect(n >= 24, f"of {len(everyone)} connections only {n} were closed")
    for p in everyone:
        p.s.close()


# ---- memory ----------------------------------------------------------------------------------


def private_kib(pid):
    total = 0
    with open(f"/proc/{pid}/smaps_rollup") as f:
        for line in f:
            if line.startswith("Private"):
                total += int(line.split()[1])
    return total


def status_kib(pid, key):
    with open(f"/proc/{pid}/status") as f:
        for line in f:
            if line.startswith(key):
                return int(line.split()[1])
    return 0


def reset_peak(pid):
    with open(f"/proc/{pid}/clear_refs", "w") as f:
        f.write("5")


def is_alive(path):
    channel = grpc.insecure_channel("unix:" + path)
    call = channel.unary_unary("/test.Echo/Unary", lambda x: x, lambda x: x)
    expect(call(b"alive", timeout=20, wait_for_ready=True) == b"alive", "another answer")
    channel.close()


CASES = {f.__name__: f for f in (
    rapid_reset, continuation, many_streams, ping_unread, ping, settings, empty_data, priority,
    unknown_frames, garbage, oversize_frame, missing_path, not_post, wrong_type, huge_prefix,
    truncated, two_messages, no_message, bad_timeout, large_headers, unread_answers,
    unfinished_requests, descriptors, connections)}


def main():
    if sys.argv[1:] == ["--list"]:
        print("\n".join(CASES))
        return
    path, pid = sys.argv[1], int(sys.argv[2])
    for name in sys.argv[3:]:
        f = CASES[name]
        reset_peak(pid)
        before = status_kib(pid, "VmRSS")
        try:
            limit = f(path, pid) if f in (descriptors, connections) else f(path)
            grown = (status_kib(pid, "VmHWM") - before) / 1024
            print(f"# {name}: {grown:.1f} MiB more at the peak")
            expect(grown < (limit or 16), f"{grown:.1f} MiB more memory at the peak")
            is_alive(path)
        except Exception as x:
            print(f"{name}: {type(x).__name__}: {x}")
            sys.exit(1)


if __name__ == "__main__":
    main()
