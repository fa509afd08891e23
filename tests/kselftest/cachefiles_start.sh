#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Starting: what is accepted that the old daemon refused, what is refused and with which words.
# functions are called by name (within); options of start_daemon are optional
# shellcheck disable=SC2317,SC2119,SC2120
# shellcheck source-path=SCRIPTDIR source=functions
. "$(dirname "$0")/functions"
setup

run_once() { # a start that fails; its status, its words in $out
	CACHEFILESD_DEVICE=${device:-$dev/cachefiles} timeout 20 "$DAEMON" -n -s -f "$conf" -p "$work/pid" >"$out" 2>&1
}

configure "nocull" "resume_thresholds - 5"
objects 0 99
mkdir -p "$dir/graveyard/old"
control "virtual 1000 1000"
start_daemon
ok "nocull and resume_thresholds start"
control "free 1000 20"
within 5 test ! -e "$dir/graveyard/old" && sleep 1.5 && [ "$(n_objects)" = 100 ] && counter_is cull_commands 0
ok "nocull: no cull, but the graveyard is reaped"
kill -0 "$(worker)"
ok "and it lives"

run_once
[ $? = 1 ] && says "errno 16" && says "held by cachefilesd (pid "
ok "a second daemon: exit 1, errno 16, and who holds the device"
stop_daemon

start_daemon -N
control "free 1000 20"
sleep 1
[ "$(n_objects)" = 100 ] && counter_is cull_commands 0
ok "option -N: no cull"
stop_daemon

printf 'dir %s\nbstop 1%%\nbrun 5%%\nbcull 3%%\n' "$dir" >"$conf"
start_daemon
ok "percentages in an order that the kernel alone would refuse"
stop_daemon

configure "secctx system_u:system_r:cachefiles_kernel_t:s0"
if [ ! -e /sys/fs/selinux/enforce ]; then
	start_daemon && says "secctx is skipped"
	ok "secctx without SELinux: a warning, not an error"
	stop_daemon
fi

printf 'dir /nonexistent/cache\n' >"$conf"
run_once
[ $? = 1 ] && says "errno 2"
ok "no such directory: exit 1, errno 2"
ln -s "$dir" "$work/link"
printf 'dir %s\n' "$work/link" >"$conf"
run_once
[ $? = 1 ] && says "symbolic link"
ok "a symbolic link is refused with the reason"
printf 'dir /proc\n' >"$conf"
run_once
[ $? = 1 ] && says "cannot hold a cache"
ok "a file system that cannot hold a cache"
configure
device=/nonexistent/cachefiles run_once
[ $? = 1 ] && says "errno 2"
ok "no device: exit 1, errno 2"

# fuller than stop: the kernel would refuse to make cache/, and say ENOBUFS
rm -rf "$dir" && mkdir "$dir"
control "free 10 10"
run_once
[ $? = 1 ] && says "errno 105"
ok "a full file system at the first start: errno 105 with advice"
control "free 1000 1000"

mkdir "$dir/cache" && touch "$dir"/cache/letter{1..9}
run_once
[ $? = 1 ] && says "is this the right directory" && [ -e "$dir/cache/letter9" ]
ok "somebody's own directory called cache is not erased"
configure "allow_foreign"
start_daemon
ok "unless it is said so"
stop_daemon
rm -rf "$dir/cache"

configure
ulimit -n "$(ulimit -Hn)"
begin=$(date +%s%N)
start_daemon
[ $(($(date +%s%N) - begin)) -lt 2000000000 ]
ok "starts at once with $(ulimit -n) descriptors allowed"
kill -HUP "$daemon_pid"
within 5 says "configuration read again"
ok "SIGHUP reads the configuration"
n=$(n_objects)
objects 500 519
configure "culltable 14"
sed -i 's/^brun .*/brun 99%/; s/^bcull .*/bcull 98%/' "$conf"
kill -HUP "$daemon_pid"
fewer_objects() { [ "$(n_objects)" -lt $((n + 20)) ]; }
within 10 fewer_objects && says 'brun changed from "10" to "99"' && says "the kernel keeps those of its bind"
ok "higher limits count at once, and it says what the kernel does"
says "a change of culltable needs a restart"
ok "what needs a restart is named"
[ "$(readlink "/proc/$(worker)/cwd")" = / ]
ok "the working directory is /"
stop_daemon
finish
