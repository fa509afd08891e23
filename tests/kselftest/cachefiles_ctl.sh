#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# cachefilesctl with a daemon that keeps the kernel's cache alone, as the old configuration files say: each
# command, as text and as JSON; every stuck state within 5 s in the log, in status and in metrics.
# timeout: 300
# parallel: yes
# functions are called by name (within); options of start_daemon are optional
# shellcheck disable=SC2317,SC2119,SC2120
# the socket has its usual place, which is the machine's: so in a mount namespace of our own
if [ -z "${CTL_NAMESPACE:-}" ] && [ "$(id -u)" = 0 ]; then
	mkdir -p /run/cachefilesd
	CTL_NAMESPACE=1 exec unshare -m --propagation private "$0"
fi
# shellcheck source-path=SCRIPTDIR source=functions
. "$(dirname "$0")/functions"
setup
command -v jq >/dev/null || skip "needs jq"
mount -t tmpfs none /run/cachefilesd || skip "no mount here"

ctl() { "$BUILD/bin/cachefilesctl" -f "$conf" "$@"; }
trouble_is() { [ "$(ctl --json status 2>/dev/null | jq -r .trouble)" = "$1" ]; }
counted() { ctl metrics | grep -q "^cachefilesd_trouble_total{cause=\"$1\"} [1-9]"; }
# CAUSE: named within 5 s in all three places
named() {
	within 5 trouble_is "$1"
	ok "$1: in status within 5 s"
	within 2 says "state=$1" && counted "$1"
	ok "$1: in the log and in metrics"
	ctl status | grep -q "^TROUBLE .*$1 for "
	ok "$1: in words"
}
over() {
	within "${2:-8}" trouble_is none
	ok "$1: over, without an operator"
}

configure "culltable 12"
objects 0 19
mkdir "$dir/cache/Iother"
mkdir "$dir/cache/Iother/@00"
head -c 100000 /dev/urandom >"$dir/cache/Iother/@00/Elarge"
touch -a -d @900000 "$dir/cache/Iother/@00/Elarge"
control "virtual 1000 1000"
start_daemon
ok "starts without the store"
[ "$(ctl ls | wc -l)" = 21 ] && ctl ls | head -n 1 | grep -q 'kernel  Iother/@00/Elarge  unused for'
ok "ls: the kernel's objects, oldest first"
[ "$(ctl --json ls | jq -s 'length')" = 21 ] && [ "$(ctl --json ls | head -n 1 | jq -r .label)" = Iother/@00/Elarge ]
ok "ls as JSON"
ctl top | head -n 1 | grep -Eq '^kernel +1 objects +1.*kiB  used .* ago  Iother$'
ok "top: the largest volume first"
[ "$(ctl --json top | jq -s -c '[.[] | .volume, .objects]')" = '["Iother",1,"Iv",20]' ]
ok "top as JSON"
scanned() { [ "$(ctl --json status | jq .kernel_objects 2>/dev/null)" = 21 ]; }
within 5 scanned
ctl status >"$work/status"
grep -Eq '^  bcull +7% .*culling begins below; now .* above it' "$work/status" && grep -q '21 objects seen' "$work/status"
ok "status: each limit with its distance; what was seen"
ctl --json status | jq -e '.kernel and (.store | not) and .trouble == "none"' >/dev/null
ok "status as JSON"
ctl metrics | grep -q '^cachefilesd_cull_wanted 0'
ok "metrics"
[ "$(ctl --json cull --dry-run | head -n 2 | jq -r .label | tr '\n' ' ')" = 'Iother/@00/Elarge Iv/@00/D0 ' ]
ok "dry run as JSON: what would go first"
! ctl cull --free 1000TiB >"$work/said" 2>"$work/error" && grep -q '^21 objects removed.*nothing more can go' "$work/said" &&
	grep -q 'not enough could be removed' "$work/error"
ok "cull --free of what cannot be: everything goes, and it says that it was not enough"
[ "$(ctl --json cull --free 1 | jq -c '[.objects, .enough]')" = '[0,true]' ] &&
	[ "$(ctl --json cull --free 1000TiB 2>/dev/null | jq -c '[.objects, .enough]')" = '[0,false]' ]
ok "cull --free as JSON"
[ "$(ctl --json evictions | jq -s 'length')" = 21 ] && [ "$(ctl --json evictions | tail -n 1 | jq -r .reason)" = asked ]
ok "evictions as JSON"
ctl --json doctor | jq -s -e 'map(select(.what == "device")) | length == 1' >/dev/null
ok "doctor as JSON"
[ -z "$(ctl ls)$(ctl top)" ]
ok "nothing is left to list"

# VOLUME FIRST LAST: objects that are there all at once
volume() {
	local real=$dir
	dir=$work/stage
	mkdir -p "$dir"
	objects "$2" "$3"
	dir=$real
	mv "$work/stage/cache/Iv" "$dir/cache/$1"
}
control "free 1000 20"
named nothing-cullable
volume Ione 0 19
over nothing-cullable

control "free 1000 1000"
volume Itwo 100 119
control inuse-all
control "free 1000 20"
named all-busy
control release-all
over all-busy

control "free 1000 1000"
volume Ithree 200 219
control "eio 100000"
control "free 1000 20"
named refused
control "eio 0"
over refused 15

control "free 1000 1000"
mv "$dir/graveyard" "$work/g" && touch "$dir/graveyard"
control die
named cache-dead
rm "$dir/graveyard" && mv "$work/g" "$dir/graveyard"
over cache-dead 25

kill -STOP "$(worker)"
sleep 6 # not a wait: more than the 5 s that count as starved is what is tested
kill -CONT "$(worker)"
within 5 says "did not run for" && counted starved
ok "starved: said as soon as it can, and counted"
over starved
stop_daemon
finish
