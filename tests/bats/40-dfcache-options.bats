#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# dfcache: every option of every command, as the help has it: what is malformed is refused with a sentence
# and status 2, wherever it stands; and what options change that no other file looks at
# shellcheck disable=SC2154,SC2164,SC2119 # bats sets stderr, and stops at a failed cd

bats_require_minimum_version 1.5.0
load ../lib/dfcache

setup_file() { dfcache_file 1; }
teardown_file() { dfcache_file_end; }
setup() { dfcache_test; }

commands()
{
	dfcache --help | sed -n '/^Commands:/,/^$/s/^  \([a-z]*\) .*/\1/p' | grep -Ev '^(help|completion)$'
}

# "--ttl DURATION DFCACHE_IMPORT_TTL ttl", with - for what there is not
table() # COMMAND
{
	dfcache "$1" --help | awk -v RS= '/^ +(-., )?--/ {
		gsub(/[ \n]+/, " ")
		match($0, /--[a-z-]+/); name = substr($0, RSTART, RLENGTH); rest = substr($0, RSTART + RLENGTH)
		value = "-"; if (match(rest, /^ <[^>]*>/)) value = substr(rest, 3, RLENGTH - 3)
		env = "-"; if (match($0, /\[env: [A-Z_]*/)) env = substr($0, RSTART + 6, RLENGTH - 6)
		key = "-"; if (match($0, /\[file: [a-z_]*/)) key = substr($0, RSTART + 7, RLENGTH - 7)
		if (name != "--help") print name, value, env, key
	}'
}

# what is malformed for a kind of value, and the reason that must be given; nothing for what takes anything
malformed() # VALUE
{
	case $1 in
	SIZE) printf '4,5MiB\t",5MiB" is not a unit of size' ;;
	DURATION) printf '5\ta unit is needed at byte 1 of "5"' ;;
	N) printf 'x5\t' ;;
	LEVEL) printf 'loud\ta level is one of error, warn, info, debug, trace, or 1 to 5' ;;
	TEXT) printf '\xff\tit is not valid UTF-8' ;;
	ALGORITHM:VALUE) printf 'md5:1\t' ;;
	PATH) ;;
	-) printf 'maybe\ttrue or false is needed' ;;
	*) echo "a value without a malformed one in this test: $1" >&2; return 1 ;;
	esac
}

refused() # WORDS COMMAND...: without run, which costs more than dfcache
{
	local said status=0
	said=$("${@:2}" 2>&1 >printed) || status=$?
	[ "$status" -eq 2 ] && [ ! -s printed ] && [[ $said == *"$1"* ]] && return 0
	printf '%s\n' "${*:2}" "status $status: $said" "lacks: $1"
	return 1
}

@test "every option, environment variable and key is refused when malformed, missing or given twice" {
	local c name value env key bad reason words n=0 conf=$PWD/bad.conf
	for c in $(commands); do
		table "$c" >"$c.table"
		[ -s "$c.table" ]
		# as many as it wants
		mapfile -t words < <(dfcache "$c" -h | sed -n '/^Usage/p' | grep -o '<[A-Z]*>')
		while read -r name value env key <&3; do
			n=$((n + 1))
			IFS=$'\t' read -r bad reason < <(malformed "$value" && echo) || :
			if [ "$value" = - ]; then
				refused "unexpected value 'x' for '$name'" dfcache "$c" "$name=x"
				refused "'$name' cannot be used multiple times" dfcache "$c" "$name" "$name"
			else
				refused "a value is required for '$name <$value>'" dfcache "$c" "$name"
				[ -z "$bad" ] || refused "invalid value '$bad' for '$name <$value>': $reason" \
					dfcache "$c" "$name" "$bad"
			fi
			[ "$env" = - ] || [ -z "$bad" ] || refused "environment variable $env: $reason" \
				env "$env=$bad" dfcache "$c" "${words[@]}" --config /dev/null
			[ "$key" = - ] || [ -z "$bad" ] || {
				printf '[dfcache]\n%s = %s\n' "$key" "$bad" >"$conf"
				# what is not UTF-8 is refused by the file's reader already
				[ "$value" = TEXT ] || refused "$conf:2: $key = $bad: $reason" \
					dfcache "$c" "${words[@]}" --config "$conf"
				[ "$value" != TEXT ] || refused "$conf:2" dfcache "$c" "${words[@]}" --config "$conf"
			}
		done 3<"$c.table"
	done
	echo "# $n options" >&3
	[ "$n" -gt 50 ]
}

@test "import: --ttl and --piece-length are those of the task" {
	head -c 9000000 /dev/urandom >a
	id=$(on 1 import a --piece-length 8MiB --ttl 2h --persistent-replica-count 1)
	run -0 on 1 stat "$id" --json
	[ "$(jq '.piece_length, .piece_count' <<<"$output" | xargs)" = "8388608 2" ]
	left=$(jq '.expires - now | round' <<<"$output")
	[ "$left" -gt 7000 ] && [ "$left" -le 7201 ]
}

@test "the log has what --log-level lets through" {
	head -c 100000 /dev/urandom >a
	id=$(on 1 import a --log-dir logs -l error)
	[ ! -s logs/dfcache.log ]
	on 1 import a --log-dir logs -l info
	grep -q "info dfcache\[[0-9]*\]: imported id=$id " logs/dfcache.log
	on 1 export "$id" -O out --log-dir logs -l info
	grep -q "info dfcache\[[0-9]*\]: exported id=$id " logs/dfcache.log
	run -1 grep debug logs/dfcache.log
	on 1 export "$id" -O out --overwrite --log-dir logs -l debug
	grep -q "debug dfcache\[[0-9]*\]: piece id=$id " logs/dfcache.log
}

@test "sizes and durations: exactly the documented syntaxes" {
	local good bad
	: >a
	for good in 4194304 4mib 4MiB '4 MiB' $'4\tMiB' 4Mi 4.mib 4.5MiB .05gib 5mB; do
		run -0 on 1 import a --piece-length "$good"
	done
	for bad in '4MiB ' 1EiB 0x10 1e7 4,5MiB -4MiB '' ' 4MiB' 4..5MiB MiB; do
		refused "invalid value '$bad' for '--piece-length <SIZE>'" on 1 import a --piece-length "$bad"
	done
	# 4 000 000 bytes: understood, and too short
	run -3 on 1 import a --piece-length 4M
	for good in 1h30m '1h 30m' '2 hours 37min' ' 1m ' 1min30sec 7d 1w 3600000ms 1.5h; do
		run -0 on 1 import a --ttl "$good"
	done
	for bad in 1H 5m5 -1m '' '1m,' 1_000s 1.s .5h '1 m s' 90 1e3s; do
		refused "invalid value '$bad' for '--ttl <DURATION>'" on 1 import a --ttl "$bad"
	done
	# understood, and beyond 7 days
	run -3 on 1 import a --ttl 10w
}
