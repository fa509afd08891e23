#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# common/rpc against another implementation of gRPC, in both directions, and against strangers who
# mean it badly
# timeout: 600

bats_require_minimum_version 1.5.0

setup_file()
{
	export PYTHON=${PYTHON-$TOP/build/venv/bin/python}
	if [ -z "$PYTHON" ] || [ ! -x "$PYTHON" ]; then
		return 0
	fi
	cd "$BATS_FILE_TMPDIR" || return 1
	"$BUILD/tests/rpc_echo" serve "unix:$PWD/epoll" epoll >epoll.out 2>epoll.err 3>&- &
	echo $! >epoll.pid
	"$BUILD/tests/rpc_echo" serve tcp:0 auto >tcp.out 2>tcp.err 3>&- &
	echo $! >tcp.pid
	"$PYTHON" "$TOP/tests/interop/grpc_server.py" "unix:$PWD/python" >python.out 2>python.err 3>&- &
	echo $! >python.pid
	wait_ready epoll
	wait_ready tcp
	wait_ready python
}

teardown_file()
{
	local f pid
	for f in "$BATS_FILE_TMPDIR"/*.pid; do
		[ -e "$f" ] || continue
		pid=$(cat "$f")
		kill "$pid" 2>/dev/null || true
		wait "$pid" 2>/dev/null || true
	done
}

setup()
{
	if [ -z "$PYTHON" ] || [ ! -x "$PYTHON" ]; then
		skip "${PYTHON_REASON:-no Python environment}"
	fi
	cd "$BATS_FILE_TMPDIR" || return 1
}

wait_ready() # NAME
{
	local i
	for ((i = 0; i < 400; i++)); do
		grep -q '^ready' "$1.out" && return 0
		sleep 0.05
	done
	echo "$1 is not ready" && cat "$1.err"
	return 1
}

client() # CASE...: grpcio is the client, over a unix socket (epoll) and over TCP (auto)
{
	timeout 120 "$PYTHON" "$TOP/tests/interop/grpc_client.py" "unix:$PWD/epoll" "$@" &&
		timeout 120 "$PYTHON" "$TOP/tests/interop/grpc_client.py" \
			"127.0.0.1:$(cut -d' ' -f2 tcp.out)" "$@"
}

call() # METHOD [key=value...]: ours is the client, on both loops
{
	local loop status=0
	for loop in epoll io_uring; do
		timeout 60 "$BUILD/tests/rpc_echo" call "unix:$PWD/python" "/test.Echo/$1" \
			"${@:2}" "loop=$loop" || status=$?
		[ $status = 4 ] || [ $status = 0 ] || return $status # 4: no io_uring here
	done
}

hostile() # CASE...
{
	timeout 120 "$PYTHON" "$TOP/tests/interop/hostile.py" "$PWD/epoll" "$(cat epoll.pid)" "$@"
}

# every line that says how a call ended says so
all_lines_have() # TEXT
{
	local n=0 line
	while IFS= read -r line; do
		[[ "$line" == status=* ]] || continue
		n=$((n + 1))
		[[ "$line" == *"$1"* ]] || return 1
	done <<<"$output"
	[ $n -ge 1 ]
}

@test "their client: unary, empty message, 40 MiB, metadata" {
	client unary empty metadata big
}

@test "their client: 50 messages of 1 MiB, no message, empty messages" {
	client stream empty_stream empty_messages
}

@test "their client: errors, unknown method, bad protobuf" {
	client error unknown bad_protobuf
}

@test "their client: deadline, too large, cancel amid a stream" {
	client deadline too_large cancel
}

@test "their client: ping-pong with half-close, big messages both ways" {
	client bidi bidi_big
}

@test "their client: answer before half-close, headers before messages" {
	client early headers_first
}

@test "their client: 8 threads, 500 calls at once" {
	client threads at_once
}

@test "their client: gzip is UNIMPLEMENTED, and the connection lives on" {
	client compressed
}

@test "their client: health" {
	client health
}

@test "their server: unary, metadata, empty message, 40 MiB" {
	run -0 call Unary text=hello ask=x
	all_lines_have "status=OK messages=1 bytes=5 crc=3610a686 ok=1 answer=x"
	run -0 call Unary size=0
	all_lines_have "status=OK messages=1 bytes=0"
	run -0 call Unary size=41943040
	all_lines_have "status=OK messages=1 bytes=41943040 crc=6dfd610f"
}

@test "their server: errors, unknown method, deadline" {
	run -0 call Fail text=x
	all_lines_have "status=NOT_FOUND messages=0 bytes=0 crc=00000000 ok=0 answer= message=не найдено: 100% "
	run -0 call Nope text=x
	all_lines_have "status=UNIMPLEMENTED"
	run -0 call Hold text=x timeout_ms=300
	all_lines_have "status=DEADLINE_EXCEEDED"
}

@test "their server: streams, cancel amid one" {
	run -0 call Stream "text=50 1048576"
	all_lines_have "status=OK messages=50 bytes=52428800 crc=3d656594"
	run -0 call Stream "text=0 0"
	all_lines_have "status=OK messages=0"
	run -0 call Stream "text=1000 1048576" cancel_after=2
	all_lines_have "status=CANCELLED messages=2"
}

@test "their server: both ways, answer before half-close" {
	run -0 call Bidi count=20 size=1000000
	all_lines_have "status=OK messages=20 bytes=20000000"
	run -0 call Early count=20 size=1000000
	all_lines_have "status=ABORTED messages=0 bytes=0 crc=00000000 ok=0 answer= message=enough"
}

@test "their server: 2000 calls at once where 100 are allowed" {
	run -0 call Unary size=10 calls=2000
	all_lines_have "status=OK messages=2000 bytes=20000"
	all_lines_have "ok=2000"
}

@test "no server: the sentence says where and why" {
	run -0 "$BUILD/tests/rpc_echo" call "unix:$PWD/nobody" /test.Echo/Unary text=x
	all_lines_have "status=UNAVAILABLE"
	all_lines_have "message=cannot connect to unix:$PWD/nobody: No such file or directory"
}

@test "floods end the connection and cost no memory" {
	hostile rapid_reset continuation many_streams ping_unread ping settings empty_data priority \
		unknown_frames
}

@test "malformed bytes are refused in the right words" {
	hostile garbage oversize_frame missing_path not_post wrong_type huge_prefix truncated \
		two_messages no_message bad_timeout large_headers
}

@test "what one peer makes us hold is bounded" {
	hostile unread_answers unfinished_requests descriptors connections
}

@test "the server is still small, and stops when asked" {
	local pid kib
	pid=$(cat epoll.pid)
	kib=$(awk '/^Private/ { n += $2 } END { print n }' "/proc/$pid/smaps_rollup")
	echo "private: $kib KiB"
	[ "$kib" -lt 8192 ]
	kill "$pid"
	for ((i = 0; i < 200; i++)); do
		[ -e "/proc/$pid" ] || break
		[[ "$(cut -d' ' -f3 "/proc/$pid/stat" 2>/dev/null)" != Z ]] || break
		sleep 0.05
	done
	[ "$i" -lt 200 ] || { echo "still running after SIGTERM" && false; }
}
