# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# cachefilesd.bash - one cachefilesd without a kernel cache in $BATS_TEST_TMPDIR, waited for, stopped
# whatever happens. Sets $D (directory), $CONF, $SOCK, $LOG, $PID; $TOOL is the test client.
#   config [LINE...]   write the configuration; the lines are added
#   start [OPTION...]  in the foreground, in the background of the shell; waits until it serves
#   stop               SIGTERM, and its exit status is the result
#   open_directory     $OPEN: a directory that other users may enter
#   cleanup            for teardown()
#   ctl ..., tool ...  cachefilesctl and storetool on it

D=$BATS_TEST_TMPDIR/d CONF=$BATS_TEST_TMPDIR/conf SOCK=$BATS_TEST_TMPDIR/sock
LOG=$BATS_TEST_TMPDIR/log TOOL=$BUILD/tests/bin/storetool PID='' OPEN=''

config()
{
	mkdir -p "$D"
	{
		printf 'dir %s\nnokernel\nsocket %s\n' "$D" "$SOCK"
		# the disk of a test machine may be nearly full
		printf 'brun 3%%\nbcull 2%%\nbstop 1%%\nfrun 3%%\nfcull 2%%\nfstop 1%%\n'
		[ $# = 0 ] || printf '%s\n' "$@"
	} >"$CONF"
}

wait_until() # SECONDS COMMAND...
{
	local end=$((SECONDS + $1))
	shift
	until "$@" >/dev/null 2>&1; do
		if [ "$SECONDS" -ge "$end" ]; then
			echo "gave up waiting for: $*" >&2
			return 1
		fi
		read -r -t 0.02 <> <(:) || :
	done
}

started_or_dead()
{
	grep -q 'Daemon Started' "$LOG" || ! kill -0 "$PID"
}

start()
{
	: >"$LOG"
	cachefilesd -n -s -f "$CONF" "$@" >>"$LOG" 2>&1 3>&- &
	PID=$!
	wait_until 20 started_or_dead
	grep -q 'Daemon Started' "$LOG" || {
		cat "$LOG" >&2
		return 1
	}
}

stop()
{
	local pid=$PID
	PID=''
	kill -TERM "$pid"
	wait "$pid"
}

open_directory()
{
	OPEN=$(mktemp -d /tmp/cachefilesd.XXXXXX)
	chmod 755 "$OPEN"
}

cleanup()
{
	[ -z "$OPEN" ] || rm -rf "$OPEN"
	[ -z "$PID" ] || kill -KILL "$PID" 2>/dev/null || :
	[ -z "$PID" ] || wait "$PID" 2>/dev/null || :
}

ctl() { cachefilesctl -f "$CONF" "$@"; }
tool() { "$TOOL" "$SOCK" "$@"; }
