#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Everything in use: named within 5 s, one log line, no processor time; over within 5 s of a release.
# functions are called by name (within); options of start_daemon are optional
# shellcheck disable=SC2317,SC2119,SC2120
# shellcheck source-path=SCRIPTDIR source=functions
. "$(dirname "$0")/functions"
setup

objects 0 199
control "virtual 1000 1000"
start_daemon
for i in $(seq 0 199); do control "inuse $(object "$i" | sed "s,$dir/cache/,,")"; done
control "free 1000 20"
within 5 says "all 200 objects that could go are in use"
ok "said within 5 s, with the number"

ticks() { awk '{ print $14 + $15 }' "/proc/$(worker)/stat"; }
before=$(ticks) asked=$(counter cull_commands)
sleep 5
spent=$(($(ticks) - before))
echo "# $spent ticks of 1/$(getconf CLK_TCK) s in 5 s, $(($(counter cull_commands) - asked)) culls tried"
[ "$spent" -le $((5 * $(getconf CLK_TCK) / 100)) ]
ok "less than 1 % of a processor"
[ "$(grep -c 'in use' "$out")" = 1 ]
ok "one line in the log"

# a single object: the old daemon waits for five (a full cache makes no new ones, so for ever)
control "release $(object 42 | sed "s,$dir/cache/,,")"
within 5 test ! -e "$(object 42)"
ok "one released object is culled within 5 s"
[ "$(n_objects)" = 199 ]
ok "and no other"

for i in $(seq 0 41); do control "release $(object "$i" | sed "s,$dir/cache/,,")"; done
for i in $(seq 43 199); do control "release $(object "$i" | sed "s,$dir/cache/,,")"; done
within 5 counter_is culling 0
ok "all released: enough is culled"
says "going on again"
ok "and it says so"
stop_daemon
finish
