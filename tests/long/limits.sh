#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# timeout: 300
# limits.sh - what is set for sending and for receiving is kept within 2 % over 10 s, and control traffic
# does not wait behind it (TAP)
set -u
TOP=${TOP:-$(cd "$(dirname "$0")/../.." && pwd)}
BUILD=${BUILD:-$TOP/build}
PATH=$BUILD/bin:$PATH
# shellcheck source-path=SCRIPTDIR source=../lib/nodes.bash
. "$TOP/tests/lib/nodes.bash"
work=$(mktemp -d "${TMPDIR:-/tmp}/limits.XXXXXX")
trap 'nodes_end; rm -rf "$work"' EXIT
n=0
ok() # CONDITION-EXIT-STATUS WHAT
{
	n=$((n + 1))
	if [ "$1" = 0 ]; then echo "ok $n - $2"; else echo "not ok $n - $2"; fi
}

# what node 1 sent in 10 s from when the transfer is under way, as parts of a thousand of $2
measure() # ID BYTES-PER-SECOND
{
	python3 - "http://$(node_ip 1):4002/metrics" "$2" <<-'END'
		import sys, time, urllib.request
		def sent():
		    for l in urllib.request.urlopen(sys.argv[1], timeout=20).read().decode().splitlines():
		        if l.startswith("dragonfly_client_upload_traffic"):
		            return time.monotonic(), float(l.split()[-1])
		while sent()[1] < 2 * float(sys.argv[2]): # buffers are full
		    time.sleep(0.05)
		t0, b0 = sent()
		time.sleep(10)
		t1, b1 = sent()
		print(round((b1 - b0) / (t1 - t0) / float(sys.argv[2]) * 1000))
	END
}

head -c 400M /dev/urandom >"$work/file"
echo 1..4
for option in upload.bandwidth download.bandwidth; do
	nodes_begin "$work/$option"
	nodes_start 2 "$option=20MB" daemon.log_level=info || exit 1
	id=$(on 1 import "$work/file" --persistent-replica-count 1) || exit 1
	on 2 export "$id" -O "$work/out" >/dev/null 2>&1 &
	pid=$!
	got=$(measure "$id" 20000000)
	[ "$got" -ge 980 ] && [ "$got" -le 1020 ]
	ok $? "$option is kept: $got thousandths of it in 10 s"
	t=${EPOCHREALTIME/[.,]/}
	on 2 stat "$id" >/dev/null
	t=$(((${EPOCHREALTIME/[.,]/} - t) / 1000))
	[ "$t" -lt 1000 ]
	ok $? "$option: a question to the owner is answered meanwhile, in $t ms"
	kill "$pid"
	wait "$pid" 2>/dev/null
	nodes_end
	export NODES=""
done
