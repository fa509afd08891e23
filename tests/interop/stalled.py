#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""stalled - readers that ask for the content of a task over the socket, and then take nothing.

    stalled SOCKET TASK N socket    they do not read
    stalled SOCKET TASK N window    they read, but the windows of their streams stay closed

Prints "ready" when all have asked; goes when standard input ends. Needs no packages.
"""
import selectors
import socket
import struct
import sys


def frame(kind, flags, stream, payload):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + \
        struct.pack(">I", stream) + payload


def text(s):
    return bytes([len(s)]) + s.encode()


def request(task):
    headers = b"".join(b"\0" + text(k) + text(v) for k, v in (
        (":method", "POST"), (":scheme", "http"), (":authority", "x"),
        (":path", "/dfdaemon.v2.DfdaemonDownload/DownloadPersistentCacheTask"),
        ("content-type", "application/grpc"), ("te", "trailers")))
    body = b"\x0a" + text(task) + b"8\x01"  # task_id, need_piece_content
    return headers, b"\0" + struct.pack(">I", len(body)) + body


def ask(path, task, window):
    s = socket.socket(socket.AF_UNIX)
    s.connect(path)
    headers, message = request(task)
    out = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    if window:
        out += frame(4, 0, 0, b"")
    else:
        out += frame(4, 0, 0, struct.pack(">HI", 4, 0x7fffffff))
        out += frame(8, 0, 0, struct.pack(">I", 0x7fff0000))
    out += frame(1, 4, 1, headers) + frame(0, 1, 1, message)
    s.sendall(out)
    return s


def main(path, task, n, kind):
    window = kind == "window"
    sockets = [ask(path, task, window) for _ in range(int(n))]
    print("ready", flush=True)
    with selectors.DefaultSelector() as sel:
        sel.register(sys.stdin.buffer, selectors.EVENT_READ)
        for s in sockets if window else ():
            sel.register(s, selectors.EVENT_READ)
        while True:
            for key, _ in sel.select():
                if key.fileobj is sys.stdin.buffer:
                    return
                if not key.fileobj.recv(65536):
                    sel.unregister(key.fileobj)


main(*sys.argv[1:])
