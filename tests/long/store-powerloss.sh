#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# timeout: 14400
# store-powerloss.sh - power loss at POINTS (1000) moments of a random workload of the piece store, on ext4 and
# on xfs: the writes are recorded in a guest by dm-log-writes, replayed here to each moment (and, since a
# disk's cache keeps no order between flushes, with a random part of the last writes missing), mounted and checked (TAP).
# RECORDER=host records here, by recorddisk (FUSE) instead; so it does where no guest can run.
# JOBS (2) replays at once. KERNEL (6.12), OPS (600), SEED (1), FILESYSTEMS ("ext4 xfs"), RECORDINGS: a directory that keeps the logs,
# whose logs are used when they are there; RECORD_ONLY=1 stops after the recording.
set -u
points=${POINTS:-1000} jobs=${JOBS:-2}
dir=$(mktemp -d -p /dev/shm 2>/dev/null) || dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
if [ "$(id -u)" != 0 ]; then
	echo "1..0 # SKIP needs root (loop mounts)"
	exit 4
fi
record() # writes $log, $dir/guest and $status
{
	if [ "${RECORDER:-guest}" = host ]; then
		"$TOP/tests/storetool/recording.sh" "$dir" "$fs" "$log" "${OPS:-600}" "${SEED:-1}" >"$dir/guest" 2>&1
		status=$?
		return
	fi
	truncate -s 3G "$log"
	"$TOP/tests/vm/guest" run "${KERNEL:-6.12}" powerlog --disk 400 --drive "$log,cache=unsafe" \
		--env "FS=$fs" --env "SEED=${SEED:-1}" --env "OPS=${OPS:-600}" \
		--add "$BUILD/tests/bin/storetool:usr/sbin/storetool" --timeout 1200 >"$dir/guest"
	status=$?
	[ $status = 0 ] || rm -f "$log"
}

# $JOBS at once, each at moments of its own
replay()
{
	local j bad=0 pids=()
	rm -f "$dir"/said.*
	for ((j = 0; j < jobs; j++)); do
		mkdir -p "$dir/$fs/$j"
		truncate -s 400M "$dir/$fs/$j/disk"
		"$BUILD/tests/tools/replaylog" "$log" "$dir/$fs/$j/disk" "$dir/$fs/$j/snap" "$dir/$fs/$j/marks" \
			$(((points + jobs - 1) / jobs)) $((${SEED:-1} * 1000 + j)) "$TOP/tests/storetool/oracle.sh" \
			"$dir/$fs/$j" "$fs" "$dir/$fs/$j/snap" "$dir/$fs/$j/marks" >"$dir/said.$j" 2>&1 &
		pids+=($!)
	done
	for j in "${pids[@]}"; do wait "$j" || bad=1; done
	return $bad
}

summary()
{
	tail -q -n 1 "$dir"/said.* | awk '{e = $1; p += $3; l += $5; v += $10}
		END {print e " entries, " p " points, " l " writes lost on purpose, " v " violations"}'
}

read -r -a systems <<<"${FILESYSTEMS:-ext4 xfs}"
echo "1..$((${#systems[@]}))"
n=0 bad=0
for fs in "${systems[@]}"; do
	n=$((n + 1))
	log=${RECORDINGS:-$dir}/$fs.log
	status=0
	: >"$dir/guest"
	[ -s "$log" ] || record
	if [ $status = 4 ] && [ -z "${RECORDER:-}" ]; then
		sed 's/^/# /' "$dir/guest"
		RECORDER=host record
	fi
	if [ $status = 4 ]; then
		tail -n 1 "$dir/guest"
		exit 4
	fi
	sed 's/^/# /' "$dir/guest"
	if [ -n "${RECORD_ONLY:-}" ]; then
		echo "ok $n - $fs: recorded # SKIP replay"
		continue
	fi
	if [ $status = 0 ] && replay; then
		echo "ok $n - $fs: $(summary)"
	else
		cat "$dir"/said.* 2>/dev/null | sed 's/^/# /' | head -100
		echo "not ok $n - $fs: power loss at $points moments"
		bad=1
	fi
	rm -rf "${dir:?}/$fs" "$dir/$fs".*
done
exit $bad
