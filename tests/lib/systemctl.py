#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""systemctl, as far as the guide's commands need it, where no systemd runs (a namespace, a guest):
starts what the installed units say (ExecStart, User, EnvironmentFile, RuntimeDirectory, ConfigurationDirectory),
waits for READY=1 of Type=notify, stops with SIGTERM. Sandboxing and restarts are not played."""
import glob
import grp
import os
import pwd
import shlex
import signal
import socket
import subprocess
import sys
import time

UNITS = ["/etc/systemd/system", "/usr/lib/systemd/system"]
STATE = "/run/units"


def read_unit(name):
    values, found = {}, False
    template = name
    paths = [f"{d}/{template}" for d in reversed(UNITS)]
    paths += sorted(p for d in UNITS for p in glob.glob(f"{d}/{template}.d/*.conf"))
    for path in paths:
        try:
            lines = open(path).read().splitlines()
        except OSError:
            continue
        found = True
        for line in lines:
            key, sep, value = line.strip().partition("=")
            if sep and not line.startswith(("#", ";")):
                values.setdefault(key, []).append(value)
                if not value:
                    values[key] = []
    if not found:
        sys.exit(f"Unit {name} not found.")
    return values


def pid_of(unit):
    try:
        pid = int(open(f"{STATE}/{unit}.pid").read())
        os.kill(pid, 0)
        with open(f"/proc/{pid}/stat") as f:
            return None if f.read().rsplit(")", 1)[1].split()[0] == "Z" else pid
    except (OSError, ValueError):
        return None


def wait_gone(pid, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            os.kill(pid, 0)
            with open(f"/proc/{pid}/stat") as f:
                if f.read().rsplit(")", 1)[1].split()[0] == "Z":
                    return
        except OSError:
            return
        time.sleep(0.02)
    sys.exit(f"process {pid} does not end")


def start(unit):
    if pid_of(unit):
        return
    values = read_unit(unit)
    for dep in " ".join(values.get("Wants", []) + values.get("Requires", [])).split():
        if any(os.path.exists(f"{d}/{dep}") for d in UNITS) and dep.startswith(("cachefilesd", "dfdaemon")):
            start(dep)
    user = (values.get("User") or ["root"])[-1]
    env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    if unit.endswith(".socket"):
        path = values["ListenSequentialPacket"][-1]
        os.makedirs(os.path.dirname(path), exist_ok=True)
        service = read_unit(unit.replace(".socket", "@.service"))
        # the manager's socket and one process a connection: the broker does both itself
        argv = shlex.split(service["ExecStart"][-1]) + ["--socket", path]
    else:
        for f in values.get("EnvironmentFile", []):
            if os.path.exists(f.lstrip("-")):
                for line in open(f.lstrip("-")):
                    key, sep, value = line.strip().partition("=")
                    if sep and not key.startswith("#"):
                        env[key] = value.strip("\"'")
        argv = []
        for word in shlex.split(values["ExecStart"][-1]):
            if word.startswith("$"):
                argv += shlex.split(env.get(word[1:].strip("{}"), ""))
            else:
                argv.append(word)
    for key, root in ("RuntimeDirectory", "/run"), ("CacheDirectory", "/var/cache"), ("LogsDirectory", "/var/log"):
        for d in " ".join(values.get(key, [])).split():
            os.makedirs(f"{root}/{d}", exist_ok=True)
            os.chown(f"{root}/{d}", pwd.getpwnam(user).pw_uid, pwd.getpwnam(user).pw_gid)
            os.chmod(f"{root}/{d}", int((values.get(key + "Mode") or ["0755"])[-1], 8))
    os.makedirs(STATE, exist_ok=True)
    wants_ready = "notify" in values.get("Type", [])
    ready = None
    if wants_ready:
        path = f"{STATE}/{unit}.notify"
        if os.path.exists(path):
            os.unlink(path)
        ready = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        ready.bind(path)
        os.chmod(path, 0o666)
        ready.settimeout(0.2)
        env["NOTIFY_SOCKET"] = path

    def become():
        if user != "root":
            p = pwd.getpwnam(user)
            os.setgroups([g.gr_gid for g in grp.getgrall() if user in g.gr_mem] + [p.pw_gid])
            os.setgid(p.pw_gid)
            os.setuid(p.pw_uid)

    with open(f"{STATE}/{unit}.log", "ab") as log:
        child = subprocess.Popen(argv, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                 preexec_fn=become, start_new_session=True, cwd="/")
    with open(f"{STATE}/{unit}.pid", "w") as f:
        f.write(f"{child.pid}\n")
    end = time.monotonic() + 60
    while True:
        if child.poll() is not None:
            sys.stderr.write(open(f"{STATE}/{unit}.log", errors="replace").read())
            sys.exit(f"Job for {unit} failed.")
        if ready:
            try:
                if b"READY=1" in ready.recv(4096):
                    return
            except TimeoutError:
                pass
        elif not unit.endswith(".socket"):
            return
        elif os.path.exists(path):
            os.chown(path, pwd.getpwnam((values.get("SocketUser") or ["root"])[-1]).pw_uid, 0)
            return
        if time.monotonic() > end:
            sys.exit(f"{unit} is not ready after a minute")
        time.sleep(0.02)


def stop(unit):
    pid = pid_of(unit)
    if pid:
        os.kill(pid, signal.SIGTERM)
        wait_gone(pid)


def main():
    words = [a for a in sys.argv[1:] if not a.startswith("-")]
    options = [a for a in sys.argv[1:] if a.startswith("-")]
    if os.path.basename(sys.argv[0]) == "journalctl":
        unit = sys.argv[sys.argv.index("-u") + 1]
        path = f"{STATE}/{unit if '.' in unit else unit + '.service'}.log"
        sys.stdout.write(open(path, errors="replace").read())
        return 0
    command, units = words[0], [u if "." in u else u + ".service" for u in words[1:]]
    status = 0
    for unit in units:
        if command == "start" or (command == "enable" and "--now" in options):
            start(unit)
        elif command == "stop" or (command == "disable" and "--now" in options):
            stop(unit)
        elif command == "restart":
            stop(unit)
            start(unit)
        elif command == "reload":
            os.kill(pid_of(unit), signal.SIGHUP)
        elif command in ("status", "is-active"):
            print(f"{unit}: {'active' if pid_of(unit) else 'inactive'}")
            status = status or (0 if pid_of(unit) else 3)
        elif command not in ("enable", "disable", "daemon-reload"):
            sys.exit(f"systemctl {command} is not played here")
    return status


if __name__ == "__main__":
    sys.exit(main())
