#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# What the daemon culls, in which order and when it ends; what else lies around; what it never touches.
# functions are called by name (within); options of start_daemon are optional
# shellcheck disable=SC2317,SC2119,SC2120
# shellcheck source-path=SCRIPTDIR source=functions
. "$(dirname "$0")/functions"
setup

# there at the start: a graveyard with odd names, aliens, a dead volume
mkdir -p "$dir/cache/Idead/@00" "$dir/cache/Idead/@ff" "$dir/cache/alien/deep/er"
mkdir -p "$dir/graveyard/..foo/bar" "$dir/graveyard/0000000100000001/x"
touch "$dir/graveyard/directly" "$dir/graveyard/..foo/bar/D1" "$dir/cache/alien/deep/file"
mkfifo "$dir/cache/Dfifo"
mkdir "$work/elsewhere" && touch "$work/elsewhere/Dprecious"
ln -s "$work/elsewhere" "$dir/cache/Ilink"
objects 0 299
control "virtual 1000 1000"
start_daemon
ok "starts on a cache that holds strange things"

graveyard_is_empty() { [ -z "$(ls -A "$dir/graveyard")" ]; }
within 10 graveyard_is_empty
ok "what lay in the graveyard is reaped at the start"
[ "$(n_objects)" -ge 300 ]
ok "no object is culled while nothing is wanted"

control "free 1000 69"
within 10 counter_is culling 0
ok "culling ends when the limit run is reached"
within 10 test ! -e "$dir/cache/Idead"
ok "a dead volume without objects is culled as one"
! [ -e "$dir/cache/alien" ] && ! [ -e "$dir/cache/Dfifo" ] && ! [ -L "$dir/cache/Ilink" ]
ok "aliens are gone"
[ -e "$work/elsewhere/Dprecious" ]
ok "no symbolic link was followed"
culled | grep '^D[0-9]' >"$work/order"
awk '{ n = substr($1, 2); if (n != NR - 1) exit 1 } END { exit NR != 31 }' "$work/order"
ok "the oldest went first, in order, and not more than was missing"
[ -e "$(object 31)" ]
ok "what is younger is still there"

# touched after the scan: not culled, though it was next in the table
next=$(($(wc -l <"$work/order")))
touch -a "$(object $next)"
control "free 1000 60"
within 10 counter_is culling 0
[ -e "$(object $next)" ] && ! [ -e "$(object $((next + 1)))" ]
ok "an object used after the scan stays"

# vanished, busy, refused: passed over
at=$(culled | grep -c '^D[0-9]')
first=$((at + 1))
rm "$(object $first)"
control "inuse $(object $((first + 1)) | sed "s,$dir/cache/,,")"
control "eio 1"
control "free 1000 60"
within 10 counter_is culling 0
[ -e "$(object $((first + 1)))" ] && [ -e "$(object $((first + 2)))" ] && ! [ -e "$(object $((first + 3)))" ]
ok "gone, busy and refused objects are passed over"
counter_is bound 1 && counter_is binds 1
ok "one refused object is no reason to bind anew"

before=$(counter reads)
sleep 1
[ $(($(counter reads) - before)) -le 5 ]
ok "idle, it hardly asks the kernel"
counter_is violations 0 && counter_is inuse_commands "$(counter inuse_commands)"
ok "every cull was asked from inside of the cache"
stop_daemon && within 5 counter_is bound 0
ok "SIGTERM: exit 0, and the cache is withdrawn"
finish
