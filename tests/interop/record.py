#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""record - stands between two programs and writes down what they say, for tests/data/recorded.

    record OUT WHAT LISTEN TARGET [LISTEN TARGET ...]     addresses: HOST:PORT or the path of a unix socket

One file for each connection, OUT-NUMBER.txt: lines "> HEX" from who dialled, "< HEX" from who was dialled, in
the order in which they came, after "# WHAT". Prints "ready".
"""
import os
import socket
import sys
import threading

lock = threading.Lock()
n_connections = 0


def endpoint(text):
    if "/" in text:
        return socket.AF_UNIX, text
    host, port = text.rsplit(":", 1)
    return socket.AF_INET, (host, int(port))


def pump(out, mark, source, sink):
    while True:
        try:
            data = source.recv(65536)
        except OSError:
            data = b""
        if not data:
            break
        with lock:
            out.write(mark + " " + data.hex() + "\n")
            out.flush()
        try:
            sink.sendall(data)
        except OSError:
            break
    try:
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def serve(prefix, what, listener, target):
    global n_connections
    family, address = endpoint(target)
    while True:
        dialled, _ = listener.accept()
        onward = socket.socket(family)
        onward.connect(address)
        with lock:
            n_connections += 1
            out = open("%s-%d.txt" % (prefix, n_connections), "w", encoding="ascii")
            out.write("# %s\n" % what)
        for args in ((out, ">", dialled, onward), (out, "<", onward, dialled)):
            threading.Thread(target=pump, args=args, daemon=True).start()


def main():
    prefix, what, *pairs = sys.argv[1:]
    threads = []
    for listen, target in zip(pairs[::2], pairs[1::2]):
        family, address = endpoint(listen)
        listener = socket.socket(family)
        if family == socket.AF_UNIX:
            if os.path.exists(address):
                os.unlink(address)
        else:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(64)
        threads.append(threading.Thread(target=serve, args=(prefix, what, listener, target), daemon=True))
        threads[-1].start()
    print("ready", flush=True)
    for t in threads:
        t.join()


main()
