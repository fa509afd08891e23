#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# timeout: 300
# metrics and health pages say what happened

bats_require_minimum_version 1.5.0
load ../lib/nodes

setup()
{
	nodes_begin "$BATS_TEST_TMPDIR/nodes"
	f=$BATS_TEST_TMPDIR/f
}

teardown()
{
	[ -n "$BATS_TEST_COMPLETED" ] || nodes_show
	nodes_end
}

page() # I PORT PATH: status line, then the body
{
	exec 5<>"/dev/tcp/$(node_ip "$1")/$2"
	printf 'GET %s HTTP/1.1\r\nHost: x\r\n\r\n' "$3" >&5
	tr -d '\r' <&5
	exec 5>&-
}

metric() # I NAME-WITH-LABELS
{
	page "$1" 4002 /metrics | grep -F -- "$2 " | grep -o '[0-9]*$'
}

@test "traffic, journeys and replicas are counted" {
	local id size=9000000
	nodes_start 2
	head -c $size /dev/urandom >"$f"
	id=$(on 1 import --persistent-replica-count 1 "$f")
	on 2 export "$id" -O "$f.1"
	on 2 export "$id" -O "$f.2"
	run ! on 2 export 4711 -O "$f.3"
	[ "$(metric 1 'dragonfly_client_upload_task_total{type="2",tag="",app=""}')" = 1 ]
	[ "$(metric 1 dragonfly_client_upload_traffic)" -ge $size ]
	[ "$(metric 2 'dragonfly_client_download_traffic{type="REMOTE_PEER"}')" = $size ]
	[ "$(metric 2 'dragonfly_client_download_traffic{type="LOCAL_PEER"}')" = $size ]
	[ "$(metric 2 'dragonfly_client_download_task_total{type="2",tag="",app="",priority="0"}')" = 3 ]
	[ "$(metric 2 'dragonfly_client_download_task_failure_total{type="2",tag="",app="",priority="0"}')" = 1 ]
	[ "$(metric 1 dfcachefiles_peers_live)" = 1 ]
	[ "$(metric 1 dfcachefiles_tasks)" = 1 ]
	[ "$(metric 1 'dragonfly_client_upload_task_duration_milliseconds_count{task_type="2",task_size_level="4"}')" = 1 ]
	[ "$(metric 1 dragonfly_client_disk_space_total)" -gt 0 ]
	[[ "$(page 1 4002 /other)" == "HTTP/1.1 404 "* ]]
	# every sample is preceded by its type, and no line is anything else
	page 1 4002 /metrics | sed '1,/^$/d' | awk '
		/^# TYPE / { type[$3] = 1; next }
		/^# HELP / { next }
		{ n = $1; sub(/[{ ].*/, "", n); b = n; sub(/_(bucket|sum|count)$/, "", b)
		  if (!(n in type) && !(b in type) || $NF !~ /^[0-9]+$/) { print "bad: " $0; bad = 1 } }
		END { exit bad }'
	# by tag and application, of the task or of the export
	on 1 import --persistent-replica-count 1 --tag night --application train "$f"
	on 2 export "$id" -O "$f.4" --tag day
	run ! on 2 export 4711 -O "$f.5" --tag day --timeout 20s
	[ "$(metric 1 'dragonfly_client_upload_task_total{type="2",tag="night",app="train"}')" = 1 ]
	[ "$(metric 2 'dragonfly_client_download_task_total{type="2",tag="day",app="",priority="0"}')" = 2 ]
	[ "$(metric 2 'dragonfly_client_download_task_failure_total{type="2",tag="day",app="",priority="0"}')" = 1 ]
	[ "$(metric 2 'dragonfly_client_download_task_total{type="2",tag="",app="",priority="0"}')" = 3 ]
}

@test "the health page is 200 while the store answers, else 503 with the reason" {
	nodes_start 1
	[[ "$(page 1 4003 /healthy)" == "HTTP/1.1 200 "* ]]
	node_end_process 1 cachefilesd KILL
	store_is_missed() { [[ "$(page 1 4003 /healthy)" == "HTTP/1.1 503 "*cachefilesd* ]]; }
	wait_until 20 store_is_missed
	rm -f "$(node_dir 1)/store.sock"
	node_start_store 1
	is_well() { [[ "$(page 1 4003 /healthy)" == "HTTP/1.1 200 "* ]]; }
	wait_until 20 is_well
}

@test "the trace of a caller is in the line of each journey, and at the parent" {
	local id
	nodes_start 2
	head -c 9000000 /dev/urandom >"$f"
	export TRACEPARENT=00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01
	id=$(on 1 import --persistent-replica-count 1 "$f")
	in_log 1 dfdaemon "import: done id=$id .* trace=$TRACEPARENT"
	on 2 export "$id" -O "$f.1"
	in_log 2 dfdaemon "fetch: done id=$id .* trace=$TRACEPARENT"
	in_log 2 dfdaemon "export: done id=$id .* trace=$TRACEPARENT"
	in_log 1 dfdaemon "a child asks for pieces id=$id .* trace=$TRACEPARENT"
	run ! on 2 export 4711 -O "$f.2"
	in_log 2 dfdaemon "export: failed id=4711 .* trace=$TRACEPARENT"
	# a wrong one is none
	TRACEPARENT=00-0AF7 on 2 export "$id" -O "$f.3"
	run -1 in_log 2 dfdaemon "trace=00-0AF7"
}
