#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""fdstore.py - as much of a service manager as keeps descriptors.

    fdstore.py DIRECTORY COMMAND...

Reads one word a line from standard input: start, kill, term, wait, forget (drop the descriptors, as
systemd does when a unit has ended for good), quit. COMMAND gets NOTIFY_SOCKET, and what is stored as
LISTEN_FDS. DIRECTORY/stored lists the names stored, DIRECTORY/said what was sent, DIRECTORY/status
the exit status of the last process; each word, once done, is appended to DIRECTORY/done.
"""
import array
import os
import select
import signal
import socket
import sys

top, command = sys.argv[1], sys.argv[2:]
path = os.path.join(top, "notify.sock")
sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
sock.bind(path)
stored = []  # (name, descriptor)
child = None


def write(name, text, mode="w"):
    with open(os.path.join(top, name), mode, encoding="utf-8") as f:
        f.write(text)


def publish():
    write("stored", "".join(name + "\n" for name, _ in sorted(stored)))


def receive():
    data, ancillary, _, _ = sock.recvmsg(4096, socket.CMSG_SPACE(4 * 16))
    fds = array.array("i")
    for level, kind, payload in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(payload[: len(payload) - len(payload) % fds.itemsize])
    values = dict(line.split("=", 1) for line in data.decode().splitlines() if "=" in line)
    write("said", data.decode().replace("\n", " ") + "\n", "a")
    name = values.get("FDNAME", "stored")
    if values.get("FDSTORE") == "1":
        for fd in fds:
            stored.append((name, fd))
    elif values.get("FDSTOREREMOVE") == "1":
        for entry in [x for x in stored if x[0] == name]:
            os.close(entry[1])
            stored.remove(entry)
    else:
        for fd in fds:  # BARRIER=1: closing says that we got here
            os.close(fd)
    publish()


def start():
    env = dict(os.environ, NOTIFY_SOCKET=path)
    names = ":".join(name for name, _ in stored)
    fds = [fd for _, fd in stored]
    pid = os.fork()
    if pid:
        return pid
    # out of the way first, then to 3, 4, …
    high = [os.dup2(fd, 100 + i, inheritable=False) for i, fd in enumerate(fds)]
    for i, fd in enumerate(high):
        os.dup2(fd, 3 + i)
    if fds:
        env.update(LISTEN_FDS=str(len(fds)), LISTEN_PID=str(os.getpid()), LISTEN_FDNAMES=names)
    os.execvpe(command[0], command, env)


def do(word):
    global child
    if word == "start":
        child = start()
    elif word == "kill":
        os.kill(child, signal.SIGKILL)
    elif word == "term":
        os.kill(child, signal.SIGTERM)
    elif word == "wait":
        while True:  # what it says while it ends must be heard
            pid, status = os.waitpid(child, os.WNOHANG)
            if pid:
                break
            if select.select([sock], [], [], 0.02)[0]:
                receive()
        write("status", f"{os.waitstatus_to_exitcode(status)}\n")
    elif word == "forget":
        while stored:
            os.close(stored.pop()[1])
        publish()
    elif word == "quit":
        sys.exit(0)
    write("done", word + "\n", "a")


publish()
buffered = b""
while True:
    ready = select.select([sock, 0], [], [])[0]
    if sock in ready:
        receive()
    if 0 in ready:
        got = os.read(0, 4096)
        if not got:
            sys.exit(0)
        buffered += got
        while b"\n" in buffered:
            line, buffered = buffered.split(b"\n", 1)
            do(line.decode().strip())
