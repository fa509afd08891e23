#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# timeout: 5400
# fuzz.sh — every fuzz target until it has nothing new to say (TAP): at least FUZZ_RUNS executions (ten
# million), and no new edge of the code in the last tenth of them. TARGETS="kstate objname" chooses.
# The runs are without sanitizers, for speed; every input that reached something new is then run again
# under ASan and UBSan. FUZZ_KEEP=1 puts the smallest set with the same coverage into tests/fuzz/corpus.
set -u
top=${TOP:-$(cd "$(dirname "$0")/../.." && pwd)}
cd "$top" || exit 1
command -v clang >/dev/null 2>&1 || { echo "1..0 # SKIP clang is not installed, and libFuzzer is its"; exit 4; }

runs=${FUZZ_RUNS:-10000000}
# A whole connection is set up and torn down in each execution of these.
runs_slow=${FUZZ_RUNS_SLOW:-$((runs / 10))}
slow=" h2_client h2_server "
targets=${TARGETS:-$(cd tests/fuzz && printf '%s\n' fuzz_*.c | sed 's/^fuzz_//; s/\.c$//')}
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT

make_quietly() {
	MAKEFLAGS='' make -s -j"$(nproc)" "$@" >"$work/make" 2>&1 || {
		sed 's/^/# /' "$work/make" | tail -n 20
		echo "Bail out! the fuzz targets do not build"
		exit 1
	}
}
make_quietly CC=clang BUILD_SUFFIX=-fuzz FUZZ=1 fuzz-build
replays=()
for t in $targets; do replays+=("build-address-undefined/tests/replay_fuzz_$t"); done
make_quietly SAN=address,undefined "${replays[@]}"

# the execution at which the number of edges reached its last value
last_edge() {
	awk '/ cov: / {
		for (i = 1; i < NF; i++)
			if ($i == "cov:" && $(i + 1) + 0 > cov) { cov = $(i + 1) + 0; at = substr($1, 2) + 0 }
	} END { print at + 0, cov + 0 }' "$1"
}

# one TARGET: writes "ok|not ok<tab>sentence" to work/TARGET.result
one() {
	local t=$1 want=$runs dir=$work/$1 total=0 at cov last=0 began=$SECONDS n
	[[ $slow == *" $t "* ]] && want=$runs_slow
	mkdir "$dir"
	while :; do
		if ! (cd "$work" && exec "$top/build-fuzz/tests/fuzz_$t" -runs="$want" -seed=$((total + 1)) \
			-detect_leaks=0 -timeout=20 -rss_limit_mb=2048 -artifact_prefix="$work/$t-" \
			"$dir" "$top/tests/fuzz/corpus/$t") >"$work/$t.log" 2>&1; then
			{ tail -n 30 "$work/$t.log"; base64 "$work/$t"-* 2>/dev/null; } | sed "s/^/# $t: /"
			printf 'not ok\t%s: an input fails after %s executions; it is above in base64\n' "$t" "$total" \
				>"$work/$t.result"
			return
		fi
		read -r at cov < <(last_edge "$work/$t.log")
		last=$((total + at))
		total=$((total + want))
		[ "$last" -le $((total * 9 / 10)) ] && break
		# It still learns: it goes on with what it has, three times as long at most.
		[ "$total" -ge $((want * 3)) ] && break
	done
	n=$(find "$dir" -type f | wc -l)
	if ! "build-address-undefined/tests/replay_fuzz_$t" "$dir" "tests/fuzz/corpus/$t" >"$work/$t.log" 2>&1; then
		tail -n 40 "$work/$t.log" | sed "s/^/# $t: /"
		printf 'not ok\t%s: the sanitizers object to an input that was found\n' "$t" >"$work/$t.result"
		return
	fi
	if [ -n "${FUZZ_KEEP-}" ]; then
		mkdir "$work/$t.min"
		"build-fuzz/tests/fuzz_$t" -set_cover_merge=1 -detect_leaks=0 "$work/$t.min" \
			"tests/fuzz/corpus/$t" "$dir" >/dev/null 2>&1 &&
			find "$work/$t.min" -type f -size -8k -exec cp -n {} "tests/fuzz/corpus/$t/" \;
	fi
	if [ "$last" -le $((total * 9 / 10)) ]; then
		printf 'ok\t%s: %s executions, %s edges, the last new one at %s; %s inputs clean under sanitizers; %s s\n' \
			"$t" "$total" "$cov" "$last" "$n" $((SECONDS - began)) >"$work/$t.result"
	else
		printf 'not ok\t%s: %s executions, and a new edge at %s still: give it more\n' "$t" "$total" "$last" \
			>"$work/$t.result"
	fi
}

count=0
failed=0
for t in $targets; do count=$((count + 1)); done
echo "1..$count"
for t in $targets; do
	while [ "$(jobs -pr | wc -l)" -ge "$(nproc)" ]; do wait -n; done
	one "$t" &
done
wait
count=0
for t in $targets; do
	count=$((count + 1))
	IFS=$'\t' read -r verdict sentence <"$work/$t.result" || { verdict="not ok"; sentence="$t: no result"; }
	echo "$verdict $count - $sentence"
	[ "$verdict" = ok ] || failed=1
done
exit $failed
