#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""idmapped.py DIRECTORY TARGET - mounts DIRECTORY once more at TARGET, with its owners shifted (mount(8) of
util-linux 2.38 cannot). Exit status 4 where the kernel or the file system has no idmapped mounts."""
import ctypes
import os
import subprocess
import sys

OPEN_TREE, MOVE_MOUNT, MOUNT_SETATTR = 428, 429, 442
AT_FDCWD, AT_EMPTY_PATH, OPEN_TREE_CLONE, MOVE_F_EMPTY, IDMAP = -100, 0x1000, 1, 4, 0x100000
libc = ctypes.CDLL(None, use_errno=True)


def call(*args):
    r = libc.syscall(*args)
    if r < 0:
        err = ctypes.get_errno()
        print(f"idmapped mounts: {os.strerror(err)}")
        sys.exit(4)
    return r


source, target = os.fsencode(sys.argv[1]), os.fsencode(sys.argv[2])
child = subprocess.Popen(["unshare", "--user", "sh", "-c", "echo; read x"],
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE)
child.stdout.readline()  # it has its user namespace
for name in ("uid_map", "gid_map"):
    with open(f"/proc/{child.pid}/{name}", "w", encoding="ascii") as f:
        f.write("0 100000 65536\n")
userns = os.open(f"/proc/{child.pid}/ns/user", os.O_RDONLY)
child.communicate(b"\n")
tree = call(OPEN_TREE, AT_FDCWD, source, OPEN_TREE_CLONE)
attr = (ctypes.c_uint64 * 4)(IDMAP, 0, 0, userns)
call(MOUNT_SETATTR, tree, b"", AT_EMPTY_PATH, attr, ctypes.sizeof(attr))
call(MOVE_MOUNT, tree, b"", AT_FDCWD, target, MOVE_F_EMPTY)
