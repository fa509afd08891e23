#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The descriptor store of systemd (played by fdstore.py) keeps the cache over a crash, a restart and
# an upgrade; when the unit ends for good, the cache ends.
# functions are called by name (within); options of start_daemon are optional
# shellcheck disable=SC2317,SC2119,SC2120
# shellcheck source-path=SCRIPTDIR source=functions
. "$(dirname "$0")/functions"
setup
command -v python3 >/dev/null || skip "needs python3"

mkdir "$work/manager" && mkfifo "$work/orders"
CACHEFILESD_DEVICE=$dev/cachefiles python3 "$(dirname "$0")/fdstore.py" "$work/manager" \
	"$DAEMON" -n -s -f "$conf" -p "$work/pid" <"$work/orders" >"$out" 2>&1 &
manager=$!
exec 9>"$work/orders"
n_orders=0
done_with() { [ "$(wc -l <"$work/manager/done" 2>/dev/null)" = "$n_orders" ]; }
order() {
	n_orders=$((n_orders + 1))
	echo "$1" >&9
	within 10 done_with
}
stored() { tr '\n' ' ' <"$work/manager/stored"; }
all='cachefiles-bound cachefiles-cache cachefiles-device cachefiles-graveyard cachefiles-root '
has_all() { [ "$(stored)" = "$all" ]; }
started() { [ "$(grep -c 'Daemon Started' "$out")" = "$1" ]; }

control "virtual 1000 1000"
objects 0 99
order start
within 10 started 1 && within 5 has_all
ok "five descriptors are stored, with names"
[ "$(daemons | wc -l)" = 1 ]
ok "and there is no holder process beside it"
grep -q 'FDPOLL=0' "$work/manager/said" && grep -q 'READY=1' "$work/manager/said"
ok "with FDPOLL=0, and readiness is told"

order kill && order wait
counter_is bound 1 && counter_is withdrawn 0
ok "SIGKILL: the cache stays"
order start
within 10 started 2 && says "still bound" && counter_is opens 1 && counter_is binds 1
ok "the next one goes on with it, without opening or binding"
control "free 1000 60"
within 10 counter_is culling 0
! [ -e "$(object 0)" ] && [ -e "$(object 50)" ]
ok "and culls"

order term && order wait
[ "$(cat "$work/manager/status")" = 0 ] && counter_is bound 1 && has_all
ok "SIGTERM as a part of a restart: exit 0, the descriptors stay"
sed -i 's/^brun .*/brun 99%/; s/^bcull .*/bcull 98%/; s/^tag .*/tag other/' "$conf"
order start
within 10 started 3 && says "brun: bound is '10%', configured is '99%'" && says "tag: bound is 'mycache'"
ok "a change that needs a stop is named, with both values"
none_left() { [ "$(n_objects)" = 0 ]; }
within 10 none_left
ok "but culling goes by the new limits at once"

# the cache dies: systemd's copies have to go before the device can be opened again
control die
rebound() { counter_is binds 2 && counter_is bound 1 && counter_is dead 0; }
within 8 rebound && within 5 has_all
ok "a dead cache is bound anew, and the new descriptors are stored"
order kill && order wait && counter_is bound 1 && order start && within 10 started 4 && counter_is opens 2
ok "those outlive a crash, too"

order term && order wait && order forget && within 5 counter_is bound 0 && counter_is withdrawn 2
ok "a stop for good withdraws the cache"
echo quit >&9
exec 9>&-
wait "$manager" 2>/dev/null
finish
