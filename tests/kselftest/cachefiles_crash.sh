#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The cache outlives its daemon: random SIGKILLs of the worker and of the holder while it culls.
# functions are called by name (within); options of start_daemon are optional
# shellcheck disable=SC2317,SC2119,SC2120
# shellcheck source-path=SCRIPTDIR source=functions
. "$(dirname "$0")/functions"
ROUNDS=${ROUNDS:-20}
setup
RANDOM=${SEED:-$$}
echo "# seed $RANDOM"

control "virtual 1000 1000"
objects 0 1999
start_daemon
ok "starts"
one_of_each() { [ "$(worker | wc -l)" = 1 ] && [ "$(holder | wc -l)" = 1 ]; }
within 5 one_of_each
ok "a worker and a holder"

bad=''
for ((i = 0; i < ROUNDS; i++)); do
	control "free 1000 $((60 + RANDOM % 10))"
	sleep "0.0$((RANDOM % 10))"
	if [ $((RANDOM % 2)) = 0 ]; then kill -9 "$(worker)"; else kill -9 "$(holder)"; fi
	within 10 one_of_each || bad="round $i: $(daemons | wc -l) processes"
	counter_is bound 1 && counter_is withdrawn 0 && counter_is opens 1 || bad="round $i: withdrawn"
	[ -n "$bad" ] && break
done
[ -z "$bad" ] || echo "# $bad"
[ -z "$bad" ]
ok "$ROUNDS SIGKILLs: never withdrawn, never opened or bound again, always replaced"
control "free 1000 60"
within 20 counter_is culling 0
ok "and it still culls"
counter_is violations 0
ok "without a cull outside of the cache"

# orderly: only the pid that the pid file or the service manager knows
kill -TERM "$(worker)"
none() { [ -z "$(daemons)" ]; }
within 10 none && counter_is withdrawn 1
ok "SIGTERM to the worker ends both and withdraws the cache"
wait "$daemon_pid" 2>/dev/null

start_daemon
kill -TERM "$(holder)"
within 10 none && counter_is withdrawn 2
ok "SIGTERM to the holder, too"
wait "$daemon_pid" 2>/dev/null
finish
