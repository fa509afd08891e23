#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# dfcache: where a setting comes from, and what is refused
# shellcheck disable=SC2154,SC2164,SC2119 # bats sets stderr, and stops at a failed cd

bats_require_minimum_version 1.5.0

setup()
{
	unset DFCACHE_CONFIG
	conf=$BATS_TEST_TMPDIR/dfcache.conf
	cat >"$conf" <<-END
		[peer]
		port = 4000
		[dfcache]
		endpoint = /from/file
		ttl = 2h
		tag = from-file
		console = yes
	END
}

setting() # COMMAND NAME: value and origin
{
	dfcache config "$1" | awk -v n="$2" '$1 == n { v = $2; sub(/.*# /, ""); print v " " $0 }'
}

@test "option, environment, file, default" {
	export DFCACHE_CONFIG=$conf
	[ "$(setting import endpoint)" = "/from/file $conf:4" ]
	[ "$(setting stat endpoint)" = "/from/file $conf:4" ]
	[ "$(setting import ttl)" = "2h $conf:5" ]
	[ "$(setting import timeout)" = "30m default" ]
	[ "$(setting import application)" = "- unset" ]
	DFCACHE_IMPORT_TTL=3h run -0 setting import ttl
	[ "$output" = "3h environment DFCACHE_IMPORT_TTL" ]
	# the option wins: the socket named by it is the one that is not there
	DFCACHE_STAT_DFDAEMON_ENDPOINT=/from/env run -7 --separate-stderr dfcache stat 1 -e /from/option --log-dir=
	[[ $stderr == *"/from/option"* ]]
	DFCACHE_STAT_DFDAEMON_ENDPOINT=/from/env run -7 --separate-stderr dfcache stat 1 --log-dir=
	[[ $stderr == *"/from/env"* ]]
	run -7 --separate-stderr dfcache stat 1 --log-dir=
	[[ $stderr == *"/from/file"* ]]
	run -7 --separate-stderr env -u DFCACHE_CONFIG dfcache stat 1 --log-dir= --config "$conf"
	[[ $stderr == *"/from/file"* ]]
}

@test "the environment of the documented tool is taken, spelling and all" {
	local v
	for v in IMPORT_CONTENT_FOR_CALCULATING_TASK_ID IMPORT_PERSISTENT_REPLICA_COUNT IMPORT_PIECE_LENGTH \
		IMPORT_APPLICATION IMPORT_TAG IMPORT_TTL IMPORT_TIMEOUT IMPORT_DFDAEMON_ENDPOINT \
		IMPORT_NO_PROGRESS IMPORT_LOG_LEVEL IMPORT_CONSOLE EXPORT_TRANSFER_FROM_DFDAEMON \
		EXPORT_OVERWRITE EXPORT_FORCE_HARD_LINK EXPORT_APPLICATION EXPORT_TAG EXPORT_TIMEOUT \
		EXPORT_DFDAEMON_ENDPOINT EXPORT_NO_PROGRESS EXPORT_LOG_LEVEL EXPORT_CONSOLE \
		STAT_DFDAEMON_ENDPOINT STAT_LOG_LEVEL STAT_CONSOLE; do
		dfcache "$(tr '[:upper:]' '[:lower:]' <<<"${v%%_*}")" --help | tr -s ' \n' ' ' | grep -qF "[env: DFCACHE_$v]"
	done
	run -2 --separate-stderr env DFCACHE_IMPORT_CONSOLE=yes dfcache import x
	[[ $stderr == *"DFCACHE_IMPORT_CONSOLE: true or false"* ]]
}

@test "a wrong file is refused with file and line, whatever the command" {
	echo 'import_timeout = soon' >>"$conf"
	echo 'colour = red' >>"$conf"
	run -2 --separate-stderr dfcache stat 1 --config "$conf"
	[[ $stderr == *"$conf:8: import_timeout = soon: "* ]]
	[[ $stderr == *"$conf:9: unknown key \"colour\""* ]]
	run -2 --separate-stderr dfcache stat 1 --config "$BATS_TEST_TMPDIR/none"
	[[ $stderr == *"cannot read the configuration file $BATS_TEST_TMPDIR/none"* ]]
}

@test "config --json is JSON with value and origin" {
	dfcache config --json --config "$conf" | "${PYTHON:-python3}" -c '
import json, sys
c = json.load(sys.stdin)
assert c["import"]["ttl"] == {"value": "2h", "origin": sys.argv[1] + ":5"}, c["import"]["ttl"]
assert c["import"]["console"] == {"value": True, "origin": sys.argv[1] + ":7"}
assert c["export"]["timeout"] == {"value": "2h", "origin": "default"}
assert c["export"]["output"] == {"value": None, "origin": "unset"}
' "$conf"
	run -2 dfcache config nonsense
}

@test "the shipped file has every key of the table with its default, and no other" {
	local c
	# key = default, from the long help of all commands
	for c in import export stat ls; do
		dfcache "$c" --help
	done | awk -v RS= '/\[file:/ {
		gsub(/[ \n]+/, " ")
		key = $0; sub(/.*\[file: /, "", key); sub(/\].*/, "", key)
		def = ""
		if (/\[default: /) { def = $0; sub(/.*\[default: /, " = ", def); sub(/\].*/, "", def) }
		print key def
	}' | sort -u >"$BATS_TEST_TMPDIR/table"
	sed -n '/^\[dfcache\]/,$ s/^;\([a-z_]* =.*\)/\1/p' "$TOP/conf/dfcache.conf" |
		sed -E 's/ = false$//; s/ =$//' | sort >"$BATS_TEST_TMPDIR/file"
	diff "$BATS_TEST_TMPDIR/table" "$BATS_TEST_TMPDIR/file"
	# and all of it is accepted, but for what is empty
	sed -n '/^\[dfcache\]/,$ p' "$TOP/conf/dfcache.conf" | sed '/=$/d; s/^;//' >"$BATS_TEST_TMPDIR/all.conf"
	run -0 dfcache config --config "$BATS_TEST_TMPDIR/all.conf"
	[[ $output == *"all.conf:"* ]]
}
