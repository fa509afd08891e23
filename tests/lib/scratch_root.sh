# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# scratch_root.sh - a copy of this machine's root (an overlay, changed only in memory) in which packages
# are installed, programs run, and systemd is started as the first process. For tests of packages and
# units; root only. Everything ends with the script: it lives in namespaces of its own.
#
#   scratch_enter "$@"         call first: runs the script again in its namespaces (mounts, network)
#   scratch_make DIR           the root is DIR/root, what was changed in it below DIR/up
#   scratch_run COMMAND...     in it, with no service manager
#   scratch_boot SECONDS SCRIPT  systemd in it, with SCRIPT (a file in it) as a service; its exit status
#   scratch_end                  takes it down: before DIR is removed
#   scratch_can_boot           or false, with the reason on standard output

scratch_enter()
{
	if [ -z "${SCRATCH_INSIDE:-}" ]; then
		[ "$(id -u)" = 0 ] || scratch_skip "needs root"
		unshare -m -n true 2>/dev/null || scratch_skip "namespaces cannot be made here"
		SCRATCH_CGROUP=''
		local top
		for top in /sys/fs/cgroup/unified /sys/fs/cgroup; do
			if [ "$(stat -f -c %T "$top" 2>/dev/null)" = cgroup2fs ] &&
				mkdir "$top/dfcachefiles-test-$$" 2>/dev/null; then
				SCRATCH_CGROUP=$top/dfcachefiles-test-$$
				break
			fi
		done
		export SCRATCH_CGROUP
		# not exec: the group is taken away afterwards
		SCRATCH_INSIDE=1 unshare -m -n --propagation private "$0" "$@"
		local status=$?
		[ -z "$SCRATCH_CGROUP" ] || find "$SCRATCH_CGROUP" -depth -type d -exec rmdir {} + 2>/dev/null
		exit $status
	fi
	ip link set lo up
}

scratch_skip()
{
	echo "$1"
	exit 4
}

scratch_make()
{
	local d
	SCRATCH=$1
	mkdir -p "$SCRATCH"
	mount -t tmpfs -o size=2g,mode=755 scratch "$SCRATCH" || return 1
	mkdir "$SCRATCH/up" "$SCRATCH/work" "$SCRATCH/root"
	R=$SCRATCH/root
	mount -t overlay -o "lowerdir=/,upperdir=$SCRATCH/up,workdir=$SCRATCH/work" root "$R" ||
		return 1
	mount -t proc proc "$R/proc"
	mount -t sysfs -o ro sys "$R/sys"
	mount -t tmpfs -o mode=1777 tmp "$R/tmp"
	mount -t tmpfs -o mode=755 run "$R/run"
	mount -t tmpfs -o mode=755 dev "$R/dev"
	for d in null zero full random urandom tty; do
		: >"$R/dev/$d"
		mount --bind "/dev/$d" "$R/dev/$d"
	done
	if [ -c /dev/fuse ]; then
		: >"$R/dev/fuse"
		mount --bind /dev/fuse "$R/dev/fuse"
	fi
	mkdir "$R/dev/pts" "$R/dev/shm"
	: >"$SCRATCH/console"
	: >"$R/dev/console"
	mount --bind "$SCRATCH/console" "$R/dev/console"
	ln -s /proc/self/fd "$R/dev/fd"
	ln -s pts/ptmx "$R/dev/ptmx"
	mount -t tmpfs -o mode=1777 shm "$R/dev/shm"
	# an exchange with the test, and no package starts anything outside of systemd
	mkdir -p "$SCRATCH/out" "$R/mnt"
	mount --bind "$SCRATCH/out" "$R/mnt"
	printf '#!/bin/sh\nexit 101\n' >"$R/usr/sbin/policy-rc.d"
	chmod 755 "$R/usr/sbin/policy-rc.d"
	# nor makes an index of all manuals
	[ ! -e "$R/usr/bin/mandb" ] || ln -sf /bin/true "$R/usr/bin/mandb"
}

# scratch_end: before anything of the directory is removed
scratch_end()
{
	[ -z "${SCRATCH:-}" ] || umount -l "$SCRATCH"
	SCRATCH=''
}

scratch_run()
{
	env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
		chroot "$R" "$@"
}

scratch_can_boot()
{
	[ -n "$SCRATCH_CGROUP" ] || { echo "no cgroup2 hierarchy may be used here"; return 1; }
	[ -x /lib/systemd/systemd ] || { echo "systemd is not installed"; return 1; }
	[ "$(systemctl --version | sed -n '1s/systemd \([0-9]*\).*/\1/p')" -ge 247 ] ||
		{ echo "systemd here is older than 247"; return 1; }
}

scratch_boot()
{
	local seconds=$1 script=$2 unit
	rm -f "$R/usr/sbin/policy-rc.d"
	# nothing of this machine's own runs, and nothing touches its kernel
	mkdir -p "$R/etc/systemd/system"
	for unit in "$R"/lib/systemd/system/{sysinit,basic,sockets,timers,local-fs,multi-user}.target.wants/* \
		"$R"/etc/systemd/system/*.wants/*; do
		unit=${unit##*/}
		case $unit in
		systemd-journald* | systemd-tmpfiles-setup.service | cachefilesd.service | dfdaemon*) ;;
		*.target | '*') ;;
		*) ln -sf /dev/null "$R/etc/systemd/system/$unit" ;;
		esac
	done
	for unit in systemd-sysctl systemd-modules-load systemd-remount-fs systemd-udevd modprobe@; do
		ln -sf /dev/null "$R/etc/systemd/system/$unit.service"
	done
	rm -f "$R/etc/machine-id"
	echo 0123456789abcdef0123456789abcdef >"$R/etc/machine-id"
	cat >"$R/etc/systemd/system/scratch.service" <<-EOF2
		[Unit]
		SuccessAction=exit
		FailureAction=exit
		[Service]
		Type=oneshot
		StandardOutput=append:/mnt/out
		StandardError=append:/mnt/out
		Environment=LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive
		ExecStart=/bin/bash $script
		TimeoutStartSec=$seconds
	EOF2
	cat >"$R/etc/systemd/system/scratch.target" <<-EOF2
		[Unit]
		Requires=basic.target
		Wants=scratch.service
		AllowIsolate=yes
	EOF2
	cat >"$SCRATCH/boot" <<-EOF2
		umount -l "$R/proc"
		mount -t proc proc "$R/proc" && mount -t cgroup2 cgroup "$R/sys/fs/cgroup" &&
		mount --bind "$R/proc/sys" "$R/proc/sys" && mount -o remount,bind,ro "$R/proc/sys" &&
		cd "$R" && pivot_root . . && umount -l . &&
		exec env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin \
			/lib/systemd/systemd --system --unit=scratch.target --show-status=no --log-target=console
	EOF2
	(
		echo "$BASHPID" >"$SCRATCH_CGROUP/cgroup.procs"
		exec timeout -k 5 "$((seconds + 60))" unshare -m -p -f -i -u -C --kill-child bash "$SCRATCH/boot" </dev/null
	) >"$SCRATCH/console" 2>&1
}
