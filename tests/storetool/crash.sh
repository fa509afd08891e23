#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# crash.sh - kill cachefilesd at every STEP-th system call from FIRST to LAST while a random workload
# runs, start it again, and check the store against what had been acknowledged. The store is kept
# from one trial to the next.
#
#   crash.sh DIR FIRST LAST STEP       prints "N trials, V violations"; exit status 1 if V > 0
set -u
dir=$1 first=$2 last=$3 step=$4
tool=$BUILD/tests/bin/storetool sock=$dir/sock conf=$dir/conf journal=$dir/journal
trials=0 violations=0 beyond=0
mkdir -p "$dir/c"
cat >"$conf" <<END
dir $dir/c
nokernel
grace 0s
socket $sock
brun 3%
bcull 2%
bstop 1%
frun 3%
fcull 2%
fstop 1%
END

wait_gone_or_socket() # PID
{
	local i
	for ((i = 0; i < 400; i++)); do
		[ -S "$sock" ] && return 0
		kill -0 "$1" 2>/dev/null || return 1
		read -r -t 0.01 <> <(:) || :
	done
	return 1
}

check() # what the next life of the daemon finds
{
	local pid
	rm -f "$sock"
	cachefilesd -n -s -f "$conf" 2>"$dir/check.log" &
	pid=$!
	if wait_gone_or_socket "$pid" && "$tool" "$sock" verify "$journal" >"$dir/verify" 2>&1; then
		:
	else
		violations=$((violations + 1))
		echo "# point $1:"
		sed 's/^/#   /' "$dir/verify" "$dir/check.log" | tail -20
	fi
	if grep -q 'does not verify' "$dir/check.log" && grep -q 'a task does not verify' "$dir/check.log"; then
		violations=$((violations + 1))
		echo "# point $1: a complete task was torn"
	fi
	kill -TERM "$pid" 2>/dev/null
	wait "$pid"
	rm -f "$dir/verify"
	# nothing is kept that belongs to nobody
	if [ -n "$(ls -A "$dir/c/pieces/trash" 2>/dev/null)" ] && [ $((trials % 50)) = 0 ]; then
		echo "# point $1: note: trash is not empty yet"
	fi
}

for ((n = first; n <= last; n += step)); do
	rm -f "$sock"
	"$BUILD/tests/tools/killat" "$n" cachefilesd -n -s -f "$conf" 2>"$dir/killat.log" &
	killer=$!
	if wait_gone_or_socket "$killer"; then
		STORETOOL_WAIT=2 "$tool" "$sock" work "$n" 200 "$journal" >"$dir/work.log" 2>&1
		if [ $? = 1 ]; then
			violations=$((violations + 1))
			sed 's/^/#   /' "$dir/work.log"
		fi
	fi
	if kill -0 "$killer" 2>/dev/null; then
		# the workload was over first
		beyond=$((beyond + 1))
		for child in $(pgrep -P "$killer"); do
			kill -KILL "$child" 2>/dev/null
		done
	fi
	wait "$killer" 2>/dev/null
	trials=$((trials + 1))
	check "$n"
	# the journal would grow, and with it the time of each check
	if [ $((trials % 100)) = 0 ]; then
		rm -rf "$dir/c/pieces" "$journal"
	fi
done
echo "$trials trials ($beyond beyond the end of the workload), $violations violations"
[ "$violations" = 0 ]
