#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# parallel: yes
# an upstream dfdaemon.yaml becomes our files, and every key of it is accounted for
# shellcheck disable=SC2154 # bats sets stderr

bats_require_minimum_version 1.5.0

setup()
{
	D=$TOP/tests/data/dfdaemon-yaml
	out=$BATS_TEST_TMPDIR/out
	mkdir "$out"
}

convert() # FILE [OPTION...]
{
	run -0 --separate-stderr dfdaemon-convert -o "$out" "$@"
}

has() # SECTION KEY VALUE in what dfdaemon makes of the file
{
	dfdaemon --config "$out/dfcache.conf" --dump-config |
		awk -v s="[$1]" -v k="$2" '/^\[/ { in_s = $0 == s } in_s && $1 == k { sub(/^[^=]*= ?/, ""); print }' |
		grep -qxF -- "$3"
}

keys() # FILE: how many values it has, by another parser where there is one
{
	"$PYTHON" - "$1" <<-'E'
		import sys, yaml
		def n(v):
		    if isinstance(v, dict): return sum(map(n, v.values())) or 1
		    if isinstance(v, list): return sum(map(n, v)) or 1
		    return 1
		print(n(yaml.safe_load(open(sys.argv[1]))))
	E
}

@test "an installation by the chart: ports, manager, limits" {
	convert "$D/helm.yaml"
	has peer scheduler dragonfly
	has manager address dragonfly-manager.dragonfly-system.svc.cluster.local:65003
	has manager cluster_id 1
	has peer announce_interval 5m
	has upload bandwidth 9765625KiB
	has metrics listen 0.0.0.0
	has tls ca_cert ""
	grep -qx "bcull 10%" "$out/cachefilesd.conf"
	grep -qx "brun 30%" "$out/cachefilesd.conf"
	grep -qx "bstop 5%" "$out/cachefilesd.conf"
	dfdaemon --config "$out/dfcache.conf" --check-config
	[[ $stderr == *"left     proxy.rules[1].useTLS = true: there is no proxy here"* ]]
	[[ $stderr == *" 0 unknown"* ]]
}

@test "cachefilesd takes the limits" {
	convert "$D/old.yaml" --dynconfig "$D/dynconfig.yaml"
	{
		printf 'dir %s\ntag x\nnokernel\nallow_foreign\nsocket %s\n' "$out" "$out/s"
		cat "$out/cachefilesd.conf"
	} >"$out/all.conf"
	# it runs until it is stopped
	run -124 timeout 3 cachefilesd -n -s -N -f "$out/all.conf"
	[[ $output != *"all.conf:"* ]]
}

@test "the older names, mutual TLS, schedulers from dynconfig.yaml; what is unknown is listed" {
	convert "$D/old.yaml" --dynconfig "$D/dynconfig.yaml"
	has host hostname node-17
	has host location "eu|hall 2|rack 17"
	has peer listen 10.1.2.17
	has peer port 65000
	has peer piece_port 65005
	has peer schedulers "10.1.2.3:8002, 10.1.2.4:8002" || has peer schedulers "10.1.2.3:8002,10.1.2.4:8002"
	has tls ca_cert /etc/pki/ca.pem
	has tls pieces no
	has scheduler_tls key /etc/pki/node.key
	has download concurrent_pieces 64
	grep -qx "bcull 15%" "$out/cachefilesd.conf"
	grep -qx "brun 20%" "$out/cachefilesd.conf"
	grep -qx "tasks_max_size 2199023255552" "$out/cachefilesd.conf"
	[[ $stderr == *"unknown  aKeyOfTomorrow[0] = one (line "* ]]
	[[ $stderr == *"unknown  aKeyOfTomorrow[1].two = 2 (line "* ]]
	[[ $stderr == *"left     upload.client.caCert = /etc/pki/ca.pem: one certificate serves both"* ]]
	[[ $stderr == *"left     clientConfig.blockList.persistentCacheTask.upload.tags[0] = secret"* ]]
}

@test "every key is in the report once" {
	local f n
	for f in helm old; do
		dfdaemon-convert "$D/$f.yaml" >/dev/null 2>"$out/report"
		n=$(grep -cE "^(taken|left|unknown) " "$out/report")
		if [ -n "${PYTHON:-}" ] && "$PYTHON" -c 'import yaml' 2>/dev/null; then
			[ "$n" = "$(keys "$D/$f.yaml")" ]
		fi
		[ "$n" -gt 25 ]
		[ "$(grep -E "^(taken|left|unknown) " "$out/report" | awk '{ print $2, $3, $4, $5 }' | sort | uniq -d)" = "" ]
	done
}

@test "an empty file gives upstream's defaults" {
	: >"$out/empty.yaml"
	convert "$out/empty.yaml"
	has peer schedulers dragonfly-scheduler:8002
	grep -qx "bcull 20%" "$out/cachefilesd.conf"
	grep -qx "brun 40%" "$out/cachefilesd.conf"
}

@test "what cannot be meant is said with its line, and nothing is written" {
	local text
	while IFS='|' read -r text want; do
		printf '%b' "$text" >"$out/bad.yaml"
		run -3 --separate-stderr dfdaemon-convert -o "$out" "$out/bad.yaml"
		[[ $stderr == *"$want"* ]]
		[ ! -e "$out/dfcache.conf" ]
	done <<-'E'
		upload:\n  server:\n    port: many\n|(line 3)
		a: &x 1\nb: *x\n|line 1: anchors and aliases
		a: 1\na: 2\n|line 2: a is there twice
		- 1\n|a list where keys should be
		a: [1\n|wrong
		gc: {policy: {diskHighThresholdPercent: 50, diskLowThresholdPercent: 60}}\n|not below the high one
		upload: {server: {caCert: /x}}\n|go together
		--- \na: 1\n---\nb: 2\n|a second document
	E
}

@test "files that exist are not overwritten" {
	convert "$D/helm.yaml"
	run -1 --separate-stderr dfdaemon-convert -o "$out" "$D/helm.yaml"
	[[ $stderr == *"File exists"* ]]
}

@test "the manual has every option, and --help too" {
	local o
	for o in $(dfdaemon-convert --help | sed -n 's/^ .*--\([a-z-]*\).*/\1/p'); do
		grep -q "Fl Fl $o" "$TOP/man/dfdaemon-convert.8"
	done
}
