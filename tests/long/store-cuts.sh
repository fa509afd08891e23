#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# timeout: 7200
# store-cuts.sh - CUTS (5) real power cuts on each of FILESYSTEMS ("ext4 xfs"): a guest that works on the piece store
# is killed (SIGKILL of qemu) in the middle, boots again from the same disk, and compares the store with
# what had been acknowledged over the serial line (TAP). The disk has cache=writethrough: what the guest was told is on the
# disk is there, what was in its memory or on its way is lost. (A disk's own cache that loses writes is
# the business of store-powerloss.sh.) KERNEL (6.12), SEED (1).
set -u
cuts=${CUTS:-5}
RANDOM=${SEED:-1}
dir=$(mktemp -d)
guest=
trap '[ -z "$guest" ] || kill -TERM "$guest" 2>/dev/null; wait; rm -rf "$dir"' EXIT
read -r -a systems <<<"${FILESYSTEMS:-ext4 xfs}"
echo "1..$(((cuts + 1) * ${#systems[@]}))"
n=0 bad=0

life() # FS OPS SEED [--env FRESH=1]: in the background, as $guest; prints to $dir/out
{
	local fs=$1 ops=$2 seed=$3 adds=()
	shift 3
	[ ! -s "$dir/$fs.journal" ] || adds=(--add "$dir/$fs.journal:journal")
	rm -f "$dir/pid" "$dir/tap"
	: >"$dir/tap"
	"$TOP/tests/vm/guest" run "${KERNEL:-6.12}" powercut --disk 64 --timeout 900 \
		--drive "$dir/$fs.disk,cache=writethrough" --tap "$dir/tap" --pidfile "$dir/pid" \
		--add "$BUILD/tests/bin/storetool:usr/sbin/storetool" "${adds[@]}" \
		--env "FS=$fs" --env "OPS=$ops" --env "SEED=$seed" "$@" >"$dir/out" 2>&1 &
	guest=$!
}

acknowledged()
{
	tr -d '\r' <"$dir/tap" | grep -Ec '^(have|keep|gone) '
}

for fs in "${systems[@]}"; do
	truncate -s 0 "$dir/$fs.disk"
	truncate -s 400M "$dir/$fs.disk"
	for ((cut = 0; cut <= cuts; cut++)); do
		n=$((n + 1))
		fresh=()
		[ $cut -gt 0 ] || fresh=(--env FRESH=1)
		if [ $cut = "$cuts" ]; then
			life "$fs" 0 0
			wait "$guest"
			status=$?
		else
			life "$fs" 100000 $((cut + 1)) "${fresh[@]}"
			after=$((20 + RANDOM % 60))
			# the moment is one of the workload's, not of the clock's
			while kill -0 "$guest" 2>/dev/null && [ "$(acknowledged)" -lt "$after" ]; do
				read -r -t 0.0$((RANDOM % 9 + 1)) <> <(:) || :
			done
			status=0
			if [ -s "$dir/pid" ] && kill -0 "$guest" 2>/dev/null; then
				kill -KILL "$(cat "$dir/pid")"
			else
				status=1
			fi
			wait "$guest"
		fi
		guest=
		if tail -n 1 "$dir/out" | grep -q '^SKIP'; then
			tail -n 1 "$dir/out"
			exit 4
		fi
		tr -d '\r' <"$dir/tap" | grep -E '^(try|have|keep|loose|rm|gone|cull) [^ ]+$' >>"$dir/$fs.journal"
		if [ $status = 0 ] && ! grep -q '^not ok' "$dir/tap"; then
			echo "ok $n - $fs, life $((cut + 1)): $(acknowledged) acknowledgements, then $([ $cut = "$cuts" ] && echo the end || echo a cut); $(sed -n 's/^# verify: //p' "$dir/tap" | tail -n 1 | tr -d '\r')"
		else
			sed 's/^/# /' "$dir/out" | tail -40
			echo "not ok $n - $fs, life $((cut + 1))"
			bad=1
		fi
	done
done
exit $bad
