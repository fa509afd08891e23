#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""crash_paths - exports to a path, dfdaemon-broker being killed at one system call after the other.

    crash_paths SOCKET ID NEW N-FILE [OLD] [hardlink]

N-FILE tells the broker's wrapper at which call to kill it. With OLD the output is that file at first
and is replaced. Whatever happens, the output is the old file, the new one, or absent. Ends with
the first export that the broker survives; prints how many it did not.
"""
import filecmp
import os
import sys

import grpc
from dragonfly_api import dfdaemon_pb2 as dfdaemon
from dragonfly_api.dfdaemon_pb2_grpc import DfdaemonDownloadStub


def main():
    socket, task_id, new, n_file, *rest = sys.argv[1:]
    link = "hardlink" in rest
    old = next((a for a in rest if a != "hardlink"), None)
    stub = DfdaemonDownloadStub(grpc.insecure_channel("unix:" + socket))
    directory = os.path.abspath("crash-" + str(os.getpid()))
    out = os.path.join(directory, "out")
    os.mkdir(directory)
    n = 0
    failed = True
    while failed:
        n += 1
        for name in os.listdir(directory):
            os.unlink(os.path.join(directory, name))
        if old:
            with open(old, "rb") as f, open(out, "wb") as t:
                t.write(f.read())
        with open(n_file, "w") as f:
            f.write(str(n))
        try:
            for _ in stub.DownloadPersistentCacheTask(dfdaemon.DownloadPersistentCacheTaskRequest(
                    task_id=task_id, output_path=out, tag="", application="",
                    overwrite=bool(old), force_hard_link=link), timeout=60):
                pass
            failed = False
        except grpc.RpcError as e:
            if e.code() == grpc.StatusCode.DEADLINE_EXCEEDED:
                sys.exit(f"call {n}: no answer in time")
        if not os.path.exists(out):
            if old:
                sys.exit(f"call {n}: the old file is gone")
            if not failed:
                sys.exit(f"call {n}: success, and no file")
        elif not filecmp.cmp(out, new, shallow=False) and \
                not (old and failed and filecmp.cmp(out, old, shallow=False)):
            sys.exit(f"call {n}: the output is neither old nor new")
        others = [x for x in os.listdir(directory) if x != "out" and not x.startswith(".out.")]
        if others:
            sys.exit(f"call {n}: left behind: {others}")
    print(n - 1)


main()
