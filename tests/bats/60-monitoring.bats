#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# docs/monitoring: Prometheus takes the rules, each alert fires when it should and only then, and every
# figure that rules, dashboard and guide name is one that the daemons export
# shellcheck disable=SC2030,SC2031

bats_require_minimum_version 1.5.0
load ../lib/nodes

setup()
{
	cd "$TOP/docs/monitoring"
}

teardown()
{
	nodes_end
	[ -z "${daemon:-}" ] || { kill "$daemon"; wait "$daemon" || :; }
	[ -z "${fake:-}" ] || { kill "$fake"; wait "$fake" 2>/dev/null || :; }
}

promtool()
{
	run "$TOP/scripts/promtool" "$@"
	[ "$status" != 4 ] || skip "$output"
	echo "$output"
	[ "$status" = 0 ]
}

# every expression of the dashboard with its variables filled in, as a file of recording rules
dashboard_rules()
{
	python3 - <<-'PY'
		import json
		d = json.load(open("dashboard.json"))
		ids = [p["id"] for p in d["panels"]]
		assert len(ids) == len(set(ids)), "panel ids are not unique"
		print("groups:\n- name: dashboard\n  rules:")
		n = 0
		for p in d["panels"]:
		    g = p["gridPos"]
		    assert 0 <= g["x"] and g["x"] + g["w"] <= 24, p["title"]
		    assert p["type"] == "row" or p["targets"], p["title"]
		    for t in p.get("targets", []):
		        n += 1
		        print(f"  - record: panel{n}\n    expr: {json.dumps(t['expr'].replace('$instance', '.*'))}")
		assert n > 20
	PY
}

# names of metrics in what is piped in
names()
{
	grep -oE '\b(cachefilesd|dfcachefiles|dragonfly_client)_[a-z_]*[a-z]\b' | grep -v '^cachefilesd_prom$' | sort -u
}

exported() # PAGE: names with histogram suffixes, as samples have them
{
	sed -n 's/^\([a-z_]*\)[{ ].*/\1/p' "$1" | sort -u
}

@test "promtool takes the rules, the example of a configuration, and the dashboard's expressions" {
	dashboard_rules >"$BATS_TEST_TMPDIR/dashboard.yml"
	promtool check rules alerts.yml "$BATS_TEST_TMPDIR/dashboard.yml"
	promtool check config prometheus.yml
}

@test "each alert fires when it should, and none when all is well" {
	promtool test rules alerts-test.yml
	local n
	n=$(grep -c -- '- alert:' alerts.yml)
	[ "$(grep -c 'alertname:' alerts-test.yml)" = "$n" ]
	grep -q "value: $n}" alerts-test.yml
	# and each one says what to do
	[ "$(grep -c 'description: ' alerts.yml)" = "$n" ]
}

@test "every figure that is named is exported" {
	local page=$BATS_TEST_TMPDIR/page dir=$BATS_TEST_TMPDIR/cache dev=$BATS_TEST_TMPDIR/dev
	nodes_begin "$BATS_TEST_TMPDIR/nodes"
	nodes_start 1
	# histograms appear with their first sample
	seq 100000 >"$BATS_TEST_TMPDIR/f"
	on 1 export "$(on 1 import --log-dir= --persistent-replica-count 1 "$BATS_TEST_TMPDIR/f")" \
		--log-dir= -O "$BATS_TEST_TMPDIR/g"
	exec 5<>"/dev/tcp/$(node_ip 1)/4002"
	printf 'GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n' >&5
	tr -d '\r' <&5 >"$page"
	exec 5>&-
	cachefilesctl -S "$(node_dir 1)/store.sock" metrics >>"$page"
	cat alerts.yml dashboard.json ../operations.md | names >"$BATS_TEST_TMPDIR/named"
	exported "$page" | comm -13 - "$BATS_TEST_TMPDIR/named" >"$BATS_TEST_TMPDIR/missing"
	# those of the kernel's cache need a device
	run grep -v '^cachefilesd_kernel_' "$BATS_TEST_TMPDIR/missing"
	[ -z "$output" ] || { echo "named and not exported: $output"; false; }
	if [ "$(id -u)" = 0 ] && [ -c /dev/fuse ] && [ -x "$BUILD/tests/bin/fakedev" ] &&
		[ "$(stat -f -c %T "$BATS_TEST_TMPDIR")" != tmpfs ]; then
		mkdir -p "$dev" "$dir"
		"$BUILD/tests/bin/fakedev" -l "$BATS_TEST_TMPDIR/log" "$dev" 3>&- &
		fake=$!
		wait_until 20 test -e "$dev/control"
		printf 'dir %s\nsocket %s\n' "$dir" "$dir.sock" >"$BATS_TEST_TMPDIR/conf"
		CACHEFILESD_DEVICE=$dev/cachefiles cachefilesd -n -s -f "$BATS_TEST_TMPDIR/conf" 2>"$dir.log" 3>&- &
		daemon=$!
		wait_until 20 grep -q 'Daemon Started' "$dir.log"
		cachefilesctl -S "$dir.sock" metrics >>"$page"
		kill "$daemon"
		wait "$daemon" || :
		daemon=
		umount -l "$dev"
		exported "$page" | comm -13 - "$BATS_TEST_TMPDIR/named" >"$BATS_TEST_TMPDIR/missing"
		run cat "$BATS_TEST_TMPDIR/missing"
		[ -z "$output" ] || { echo "named and not exported: $output"; false; }
	fi
}
