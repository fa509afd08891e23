#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""guide.py - the commands of docs/operations.md, executed.

    guide.py check FILE             every "sh" block says where it is run, or why it is not
    guide.py script HOST FILE       the blocks of one host as one script (for the guest)
    guide.py run FILE STAGE WORK    the blocks of node-a and node-b, in order, as TAP (root)

A block begins with ```sh and one of
    host=node-a | host=node-b       run here: two hosts made of namespaces, each with the installed files
    host=guest                      run in the guest with the real kernel (tests/vm/scenarios/guide.sh)
    not-run="reason"
STAGE is a directory filled by make install; WORK is on a disk file system.
"""
import os
import re
import shutil
import signal
import subprocess
import sys
import time

HOSTS = ("node-a", "node-b")
BLOCK = re.compile(r"^```(\S*)[ \t]*(.*)$")


def blocks(path):
    """(line, language, info, text) of every fenced block"""
    inside, found = None, []
    for n, line in enumerate(open(path, encoding="utf-8"), 1):
        m = BLOCK.match(line.rstrip("\n"))
        if inside is None and m:
            inside = [n, m.group(1), m.group(2), []]
        elif inside is not None and line.startswith("```"):
            found.append((inside[0], inside[1], inside[2], "".join(inside[3])))
            inside = None
        elif inside is not None:
            inside[3].append(line)
    if inside:
        sys.exit(f"{path}:{inside[0]}: this block has no end")
    return found


def place(info):
    m = re.fullmatch(r"host=(\S+)", info)
    if m:
        return m.group(1), None
    m = re.fullmatch(r'not-run="([^"]{10,})"', info)
    return (None, m.group(1)) if m else (None, None)


def check(path):
    bad = n_run = n_not = 0
    for line, language, info, _text in blocks(path):
        if language in ("text", "ini", "yaml", "json", "promql"):
            continue
        host, reason = place(info)
        if language != "sh" or not (host in HOSTS + ("guest",) or reason):
            print(f'{path}:{line}: the block is neither run (host=...) nor marked (not-run="reason")')
            bad += 1
        elif reason:
            print(f"{path}:{line}: not run: {reason}")
            n_not += 1
        else:
            n_run += 1
    print(f"{n_run} blocks are run, {n_not} are not, for the reasons above")
    return 1 if bad or not n_run else 0


def script(host, path):
    for line, language, info, text in blocks(path):
        if language == "sh" and place(info)[0] == host:
            print(f"block={line}")
            print(text)
    return 0


INIT = r"""
set -e
name=$1 dir=$2 stage=$3 lib=$4
mount --make-rprivate /
mkdir -p "$dir/upper/etc" "$dir/work" "$dir/root" "$dir/cache" "$dir/data"
chmod 1777 "$dir/data"
cp -a "$stage/." "$dir/upper/"
cp /etc/passwd /etc/group "$dir/upper/etc/"
echo 'dragonfly:x:990:990::/:/usr/sbin/nologin' >>"$dir/upper/etc/passwd"
echo 'alice:x:7777:7777::/home/alice:/bin/bash' >>"$dir/upper/etc/passwd"
echo 'dragonfly:x:990:' >>"$dir/upper/etc/group"
echo 'alice:x:7777:' >>"$dir/upper/etc/group"
printf '127.0.0.1 localhost\n10.77.0.1 node-a\n10.77.0.2 node-b\n' >"$dir/upper/etc/hosts"
mkdir -p "$dir/upper/usr/local/bin"
for p in systemctl journalctl; do
	cp "$lib/systemctl.py" "$dir/upper/usr/local/bin/$p"
	chmod 755 "$dir/upper/usr/local/bin/$p"
done
mount -t overlay overlay -o "lowerdir=/,upperdir=$dir/upper,workdir=$dir/work" "$dir/root"
cd "$dir/root"
mount -t proc proc proc
mount --rbind /dev dev
mount -t sysfs sysfs sys
mount -t tmpfs run run
mount -t tmpfs tmp tmp
mkdir -p var/cache/fscache home/alice mnt
mount --bind "$dir/cache" var/cache/fscache
mount --bind "$dir/data" home/alice
chmod 700 var/cache/fscache
chown 7777:7777 home/alice
hostname "$name"
ip link set lo up
exec chroot . python3 -c '
import signal
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
print("up", flush=True)
while True:
    signal.pause()
'
"""


class Host:
    def __init__(self, name, work, stage):
        self.name = name
        self.proc = subprocess.Popen(
            ["unshare", "--mount", "--net", "--uts", "--ipc", "--pid", "--fork", "--kill-child=KILL",
             "bash", "-c", INIT, "init", name, os.path.join(work, name), stage,
             os.path.dirname(os.path.abspath(__file__))], stdout=subprocess.PIPE, text=True)
        if self.proc.stdout.readline() != "up\n":
            sys.exit(f"{name} does not come up")
        children = open(f"/proc/{self.proc.pid}/task/{self.proc.pid}/children").read().split()
        self.pid = int(children[0])

    def enter(self, *argv, net_only=False):
        what = ["-n"] if net_only else ["-m", "-n", "-u", "-i", "-p", "-r", "-w"]
        return ["nsenter", "-t", str(self.pid)] + what + list(argv)

    def run(self, text):
        r = subprocess.run(self.enter("env", "-i", "PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                                      "HOME=/root", "bash", "-eo", "pipefail", "-c", text),
                           text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                           stdin=subprocess.DEVNULL, timeout=180)
        return r.returncode, r.stdout

    def stop(self):
        try:
            os.kill(self.pid, signal.SIGKILL)
        except OSError:
            pass
        self.proc.wait()


def cable(a, b):
    for command in (
            a.enter("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns",
                    str(b.pid), net_only=True),
            a.enter("ip", "address", "add", "10.77.0.1/24", "dev", "eth0", net_only=True),
            b.enter("ip", "address", "add", "10.77.0.2/24", "dev", "eth0", net_only=True),
            a.enter("ip", "link", "set", "eth0", "up", net_only=True),
            b.enter("ip", "link", "set", "eth0", "up", net_only=True)):
        subprocess.run(command, check=True)


def run(path, stage, work):
    hosts, failed, n = {}, 0, 0
    os.makedirs(work, exist_ok=True)
    try:
        for name in HOSTS:
            hosts[name] = Host(name, work, stage)
        cable(*hosts.values())
        for line, language, info, text in blocks(path):
            where, _reason = place(info)
            if language != "sh" or where not in hosts:
                continue
            n += 1
            began = time.monotonic()
            try:
                status, said = hosts[where].run(text)
            except subprocess.TimeoutExpired:
                status, said = "none after three minutes", ""
            first = text.strip().splitlines()[0]
            print(f"{'ok' if status == 0 else 'not ok'} {n} - {path}:{line} on {where}: {first}"
                  f" ({time.monotonic() - began:.1f} s)", flush=True)
            if status != 0 or os.environ.get("GUIDE_VERBOSE"):
                print("".join(f"# {l}\n" for l in [f"status {status}"] + said.splitlines()), end="")
            if status != 0:
                failed += 1
                for h in hosts.values():
                    logs = h.run("tail -n 15 /run/units/*.log 2>/dev/null || true")[1]
                    print("".join(f"# {h.name}: {l}\n" for l in logs.splitlines()), end="")
                break
    finally:
        for h in hosts.values():
            h.stop()
        shutil.rmtree(work, ignore_errors=True)
    print(f"1..{n}")
    return 1 if failed or not n else 0


def main():
    if len(sys.argv) == 3 and sys.argv[1] == "check":
        return check(sys.argv[2])
    if len(sys.argv) == 4 and sys.argv[1] == "script":
        return script(sys.argv[2], sys.argv[3])
    if len(sys.argv) == 5 and sys.argv[1] == "run":
        return run(*sys.argv[2:])
    sys.exit(__doc__)


if __name__ == "__main__":
    sys.exit(main())
