# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
# lib.sh — for scenarios inside the guest: TAP, waiting, a loopback NFS server, a cache disk.

n_tests=0
n_failed=0

# ok WHAT: did the last command succeed? No command substitution in WHAT: it would replace the status
# that is judged; use check for that.
ok()
{
	local status=$?
	n_tests=$((n_tests + 1))
	if [ $status = 0 ]; then
		echo "ok $n_tests - $1"
	else
		echo "not ok $n_tests - $1"
		n_failed=$((n_failed + 1))
	fi
	return 0
}

is() # GOT WANTED WHAT
{
	if [ "$1" = "$2" ]; then
		true
		ok "$3"
	else
		echo "# got '$1', wanted '$2'"
		false
		ok "$3"
	fi
}

check() # WHAT COMMAND...
{
	local what=$1
	shift
	"$@"
	ok "$what"
}

note()
{
	echo "# $*"
}

finish()
{
	echo "1..$n_tests"
	[ "$n_failed" = 0 ] && [ "$n_tests" -gt 0 ]
	exit
}

# wait_for SECONDS COMMAND... : until it succeeds; 1 when the time is over
wait_for()
{
	local end=$(($(date +%s) + $1))
	shift
	until "$@" >/dev/null 2>&1; do
		[ "$(date +%s)" -ge "$end" ] && return 1
		usleep 50000
	done
}

# cache_disk FSTYPE [MOUNT-OPTIONS [MKFS-OPTIONS...]]: /dev/vda on /var/cache/fscache
cache_disk()
{
	local fs=$1 opts=${2:-}
	shift
	[ $# -gt 0 ] && shift
	modprobe "$fs" 2>/dev/null
	wipe
	case $fs in
	ext4) mkfs.ext4 -q -F -m 0 "$@" /dev/vda ;;
	xfs) mkfs.xfs -q -f "$@" /dev/vda ;;
	btrfs) mkfs.btrfs -q -f "$@" /dev/vda ;;
	esac || return 1
	mkdir -p /var/cache/fscache
	mount -t "$fs" ${opts:+-o "$opts"} /dev/vda /var/cache/fscache
}

wipe()
{
	dd if=/dev/zero of=/dev/vda bs=1M count=1 2>/dev/null
}

# nfs_server DIR: export DIR to this host (NFS 4.2, no grace period)
nfs_server()
{
	modprobe nfsd
	modprobe nfsv4
	mount -t nfsd nfsd /proc/fs/nfsd 2>/dev/null
	mkdir -p /var/lib/nfs/rpc_pipefs /var/lib/nfs/v4recovery
	mount -t rpc_pipefs rpc /var/lib/nfs/rpc_pipefs 2>/dev/null
	: >/var/lib/nfs/etab
	: >/var/lib/nfs/rmtab
	exportfs -o rw,fsid=0,no_root_squash,no_subtree_check,insecure "127.0.0.1:$1" || return 1
	rpc.mountd -N 3
	rpc.nfsd -N 3 -V 4.2 4 || return 1
	echo Y >/proc/fs/nfsd/v4_end_grace 2>/dev/null
	return 0
}

nfs_mount() # DIR
{
	mkdir -p "$1"
	mount -t nfs4 -o vers=4.2,fsc 127.0.0.1:/ "$1"
}

server_bytes_read() # bytes the NFS server has sent since its start
{
	awk '$1 == "io" { print $2 }' /proc/net/rpc/nfsd
}

cache_state() # state letter of the bound cache, empty when none
{
	awk 'NR > 2 { print $5; exit }' /proc/fs/fscache/caches
}

fscache_stat() # LINE FIELD, for example: fscache_stat NoSpace nwr
{
	sed -n "s/^ *$1 *:.* $2=\([0-9]*\).*/\1/p" /proc/fs/fscache/stats | head -n 1
}

bound()
{
	grep -q ' A ' /proc/fs/fscache/caches
}

withdrawn()
{
	! bound
}

# start_daemon ours|old CONFIG [OPTIONS...]: in the foreground of a background job; $daemon_pid
start_daemon()
{
	local which=$1 config=$2 program
	shift 2
	case $which in
	ours) program=/usr/sbin/cachefilesd ;;
	old)
		program=/usr/libexec/old-cachefilesd
		# it aborts at random with address space randomisation
		echo 0 >/proc/sys/kernel/randomize_va_space
		;;
	esac
	"$program" -n -s -f "$config" "$@" 2>>"/results/$which.log" &
	# shellcheck disable=SC2034 # for the scenario
	daemon_pid=$!
	wait_for 20 bound
}

# stop_daemon: an orderly stop of ours (the one that works and the one that keeps the descriptors)
stop_daemon()
{
	killall -TERM cachefilesd
	wait_for 20 withdrawn && wait_for 10 gone cachefilesd
}

gone() # PROGRAM
{
	! pidof "$1"
}

free_at_least() # PERCENT
{
	[ "$(free_percent)" -ge "$1" ]
}

# limits_config RUN CULL STOP FILE [LINE...]: the same percentages for blocks and files
limits_config()
{
	local run=$1 cull=$2 stop=$3 file=$4
	shift 4
	{
		echo 'dir /var/cache/fscache'
		echo 'tag test'
		echo "brun $run%"
		echo "bcull $cull%"
		echo "bstop $stop%"
		echo 'frun 7%'
		echo 'fcull 5%'
		echo 'fstop 1%'
		[ $# = 0 ] || printf '%s\n' "$@"
	} >"$file"
}

# objects: names of the kernel's visible data objects, one a line
objects()
{
	find /var/cache/fscache/cache -type f | sed 's|.*/||' | sort
}

free_percent()
{
	stat -f -c '%a %b' /var/cache/fscache | awk '{ printf "%d\n", $1 * 100 / $2 }'
}

# synthetic N DIR: N empty objects named as the kernel would, the access time of number i is i
# seconds after the year 2020 began; numbered by their names' hex
synthetic()
{
	local n=$1 dir=$2
	mkdir -p "$dir"
	awk -v n="$n" 'BEGIN { for (i = 0; i < n; i++) printf "@%02x/T%08x,\n", i % 256, i }' >/tmp/names
	(
		cd "$dir" || exit 1
		for i in $(seq 0 255); do printf '@%02x\n' "$i"; done | xargs mkdir -p
		xargs touch <"/tmp/names"
	)
}
