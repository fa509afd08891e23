#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# cachefiles_order.sh — objects of the kernel's cache (the fake device's) and tasks of the piece store on one
# disk, used in turn: one order of culling, one dry run, one record. (The real kernel: tests/vm/scenarios/order.sh.)
# shellcheck disable=SC2317,SC2119,SC2120,SC2154
# shellcheck source-path=SCRIPTDIR source=functions
. "$(dirname "$0")/functions"

setup
configure store 'grace 0s' "socket $work/sock"
tool=$BUILD/tests/bin/storetool
ctl() { "$BUILD/bin/cachefilesctl" -f "$conf" "$@"; }
names() { sed -n 's/.*"label":"\([^"]*\)".*/\1/p' | sed 's/.*\///'; }

start_daemon
ok "with the kernel's cache and the store"
stop_daemon
n=20
objects 1 $((2 * n))
# two objects, then a task: D1 D2 3000000000 D3 D4 3000000001 …
"$tool" - fabricate "$dir" $n 1000002 2
for ((i = 0; i < n; i++)); do
	echo "D$((2 * i + 1))"
	echo "D$((2 * i + 2))"
	echo "task $((3000000000 + i))"
done >"$work/right"
start_daemon
ok "started again"
"$tool" "$work/sock" pin 3000000004 >"$work/said"
ok "one task is pinned"
control "inuse $(object 6 | sed "s|$dir/cache/||")"
grep -vx -e 'task 3000000004' "$work/right" >"$work/would"
ctl --json cull --dry-run | names | cmp -s - "$work/would"
ok "a dry run names both in one order; in use is found only when it is tried"
grep -vx -e D6 "$work/would" >"$work/goes"
ctl cull --free 1000TiB >"$work/said" 2>&1
ctl --json evictions | names | sed '1!G;h;$!d' | cmp -s - "$work/goes"
ok "both are culled in the order of their last use, whoever they belong to"
[ "$(find "$dir/pieces/tasks" -name data)" = "$(find "$dir/pieces/tasks" -path '*/3000000004/data')" ]
ok "the pinned task is the only one left"
[ -e "$(object 6)" ]
ok "and so is the object in use"
counter_is violations 0
ok "nothing was removed elsewhere"
stop_daemon
finish
