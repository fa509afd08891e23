# shellcheck shell=bash disable=SC2317,SC2154,SC2086,SC2016,SC2231 # functions are called by name; variables by eval
# SPDX-License-Identifier: GPL-2.0-or-later
# systemd.sh — Debian's cachefilesd 0.10.10 runs with a populated cache and is replaced by our packages:
# the cache is found again. Then, from installed files and units: the journey, 200 kills, restart, stop.
# systemd and dpkg are those of the machine that runs the guest: its root, read-only, below an overlay.
# guest-options: --share yes --mem 3072 --disk 1024 --timeout 3000
# guest-prepare: tests/vm/systemd-prepare
# KILLS=n: fewer; UNTIL=upgrade|journey|kills: nothing after that.
# shellcheck source=tests/vm/lib.sh
. /scenario/lib.sh
KILLS=${KILLS:-200}

# ---- a root, and systemd in it ------------------------------------------------------------------------
modprobe cachefiles
modprobe overlay
modprobe 9p
modprobe 9pnet_virtio
mkdir -p /host /scratch
mount -t 9p -o trans=virtio,version=9p2000.L,msize=524288,cache=loose,ro host /host || note "no 9p"
mount -t tmpfs -o size=1500m,mode=755 scratch /scratch
mkdir /scratch/up /scratch/work /scratch/root
R=/scratch/root
mount -t overlay -o lowerdir=/host,upperdir=/scratch/up,workdir=/scratch/work root $R
ok "the root of this machine, with an overlay"
cache_disk ext4 lazytime,strictatime
mkdir -p $R/var/cache/fscache
mount --bind /var/cache/fscache $R/var/cache/fscache
mount --bind /dev $R/dev
mkdir -p /dev/pts /dev/shm
ln -s pts/ptmx /dev/ptmx 2>/dev/null
mount -t sysfs sys $R/sys
mount -t tmpfs run $R/run
mount -t tmpfs tmp $R/tmp
chmod 1777 $R/tmp
cp -r /scenario/deb /scenario/old.deb /scenario/packages_inside.sh $R/root/
rm -rf $R/etc/systemd/system $R/etc/machine-id
tar -C $R -xf /scenario/hot.tar && rm /scenario/hot.tar
# the index of all manuals, after each package: minutes under emulation
ln -sf /bin/true $R/usr/bin/mandb
# containers forbid packages to start services
rm -f $R/usr/sbin/policy-rc.d
mkdir -p $R/etc/systemd/system
echo 0123456789abcdef0123456789abcdef >$R/etc/machine-id
for u in $R/lib/systemd/system/sysinit.target.wants/* $R/lib/systemd/system/sockets.target.wants/* \
	$R/lib/systemd/system/timers.target.wants/* $R/lib/systemd/system/local-fs.target.wants/*; do
	case ${u##*/} in
	systemd-journald* | systemd-tmpfiles-setup.service) ;;
	*) ln -s /dev/null "$R/etc/systemd/system/${u##*/}" ;;
	esac
done
for u in modprobe@ systemd-udevd systemd-remount-fs systemd-sysctl; do
	ln -sf /dev/null "$R/etc/systemd/system/$u.service"
done
cat >/scratch/boot <<END
mount --make-rprivate /
mount -t proc proc $R/proc
mount -t cgroup2 cgroup $R/sys/fs/cgroup
# the initial root cannot be pivoted away from: ours is moved over it
cd $R && mount --move . / &&
exec env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot . \
	/lib/systemd/systemd --system --unit=basic.target --show-status=no --log-target=null
END
mkdir -p /sys/fs/cgroup
mount -t cgroup2 cgroup /sys/fs/cgroup 2>/dev/null
mkdir /sys/fs/cgroup/scratch
(
	echo $BASHPID >/sys/fs/cgroup/scratch/cgroup.procs
	exec unshare -m -p -f -i -C bash /scratch/boot
) </dev/null >>/results/boot.log 2>&1 &
booted()
{
	systemd=$(pidof systemd | tr ' ' '\n' | tail -n 1)
	[ -n "$systemd" ] && inside systemctl is-system-running 2>/dev/null | grep -q 'running\|degraded\|starting'
}
inside()
{
	nsenter -t "$systemd" -m -p -i -C env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 \
		DEBIAN_FRONTEND=noninteractive DFCACHE_CONFIG=/tmp/dfcache.conf "$@"
}
# timed SECONDS COMMAND...: in the root; when the time is over, what runs there
timed()
{
	local seconds=$1 pid end
	shift
	inside "$@" &
	pid=$!
	end=$(($(date +%s) + seconds))
	while kill -0 $pid 2>/dev/null; do
		if [ "$(date +%s)" -ge "$end" ]; then
			note "not done after $seconds s: $*"
			look
			kill -KILL $pid
		fi
		usleep 100000
	done
	wait $pid
}
look()
{
	{
		ps -o pid,ppid,stat,args | sed '/ \[/d'
		timeout 20 /usr/bin/nsenter -t "$systemd" -m -p -i -C systemctl --no-pager list-jobs
		timeout 20 /usr/bin/nsenter -t "$systemd" -m -p -i -C systemctl --no-pager status cachefilesd
		for p in $(pidof cachefilesd); do cat "/proc/$p/stack"; done
		tail -n 20 $R/root/dpkg.log
		dmesg | tail -n 20
	} 2>&1 | sed 's/^/#   /'
}
until_here() # PART: is that enough?
{
	[ "${UNTIL-}" = "$1" ] || return 0
	[ "$n_failed" = 0 ] || look
	inside systemctl exit
	finish
}
check "systemd is the first process of a root" wait_for 120 booted
[ "$n_failed" = 0 ] || {
	sed 's/^/# /' /results/boot.log
	finish
}

# ---- the old one, with a cache in use -------------------------------------------------------------------
mkdir -p /srv/files
mount -t tmpfs -o size=200m srv /srv/files
for i in $(seq 24); do dd if=/dev/urandom of=/srv/files/$i bs=64k count=4 2>/dev/null; done
check "an NFS server" nfs_server /srv/files
printf 'RUN=yes\nDAEMON_OPTS=""\n' >$R/etc/default/cachefilesd
echo 0 >/proc/sys/kernel/randomize_va_space
timed 200 sh -c 'dpkg --force-unsafe-io --force-confold -i /root/old.deb >/root/dpkg.log 2>&1'
sed -i 's/^brun .*/brun 11%/' $R/etc/cachefilesd.conf
cp $R/etc/cachefilesd.conf /scratch/conf
inside systemctl restart cachefilesd
check "cachefilesd 0.10.10 of Debian runs, by its init script" wait_for 60 bound
read_all() { cat /mnt/* | md5sum >/scratch/sum; }
uncached() # bytes that the server had to send for all files
{
	local before
	before=$(server_bytes_read)
	echo 3 >/proc/sys/vm/drop_caches
	read_all
	server_bytes=$(($(server_bytes_read) - before))
}
nfs_mount /mnt
uncached
note "cold: $server_bytes bytes from the server"
[ "$server_bytes" -ge 6000000 ]
ok "the first reading comes from the server"
cp /scratch/sum /scratch/sum.cold
umount /mnt
nfs_mount /mnt
uncached
is "$server_bytes" 0 "the second from the cache"

# ---- ours takes its place -------------------------------------------------------------------------------
old_pid=$(pidof cachefilesd)
start=$(date +%s)
timed 200 sh -c 'dpkg --force-unsafe-io --force-confold -i /root/deb/*.deb >>/root/dpkg.log 2>&1'
ok "dpkg installs our packages over it"
note "in $(($(date +%s) - start)) s"
check "the cache is bound again" wait_for 120 bound
echo 2 >/proc/sys/kernel/randomize_va_space
[ -n "$old_pid" ] && ! [ -d "/proc/$old_pid" ]
ok "the old one is gone"
is "$(inside systemctl show -P Type,FragmentPath cachefilesd | tr '\n' ' ')" \
	"notify /lib/systemd/system/cachefilesd.service " "our unit took over"
check "the configuration is as it was" cmp $R/etc/cachefilesd.conf /scratch/conf
uncached
is "$server_bytes" 0 "what the old one had cached is read from the cache, without remounting"
umount /mnt
nfs_mount /mnt
uncached
is "$server_bytes" 0 "and after remounting"
check "byte for byte" cmp /scratch/sum /scratch/sum.cold
unregistered() { dmesg | grep -c 'File cache on .* unregister'; }
is "$(inside systemctl show -P NFileDescriptorStore cachefilesd)" 5 "five descriptors are in systemd's store"
until_here upgrade

# ---- journey: store and dfdaemon from their units ---------------------------------------------------------
printf 'store\nsocket_group dragonfly\nstore_user dragonfly\n' >>$R/etc/cachefilesd.conf
printf '[host]\nip = 127.0.0.1\n' >$R/etc/dragonfly/dfcache.conf
before=$(unregistered)
inside systemctl restart cachefilesd
check "a restart with the store" wait_for 60 inside test -S /run/cachefilesd/store.sock
inside systemctl start dfdaemon
ok "dfdaemon starts"
cat >$R/root/journey <<'END'
. /root/packages_inside.sh
journey
echo "$journey_id" >/root/id
END
inside bash /root/journey >/results/journey 2>&1
while read -r line; do
	case $line in
	"ok - "*) true && ok "journey: ${line#ok - }" ;;
	"not ok - "*) false || ok "journey: ${line#not ok - }" ;;
	*) note "$line" ;;
	esac
done </results/journey

until_here journey

# ---- 200 kills ------------------------------------------------------------------------------------------
# looked at from outside: systemctl through 9p takes seconds. A new one is there when its store answers.
started_by_systemd()
{
	local p
	for p in $(pidof cachefilesd); do
		grep -q "^PPid:.$systemd\$" "/proc/$p/status" 2>/dev/null && echo "$p"
	done
}
serves_anew()
{
	now=$(started_by_systemd)
	[ -n "$now" ] && [ "$now" != "$old_pid" ] && cachefilesctl -S $R/run/cachefilesd/store.sock status
}
old_pid=''
check "one process, which systemd started, serves the store" wait_for 60 serves_anew
restarts=$(inside systemctl show -P NRestarts cachefilesd)
killed=0 start=$(date +%s)
for i in $(seq "$KILLS"); do
	old_pid=$now
	kill -KILL "$old_pid"
	if wait_for 60 serves_anew; then
		killed=$((killed + 1))
	else
		note "kill $i: no new one"
		inside systemctl --no-pager status cachefilesd | sed 's/^/# /'
		break
	fi
done
note "$killed kills in $(($(date +%s) - start)) s"
is "$killed" "$KILLS" "SIGKILL, $KILLS times: each time there was another"
is "$(($(inside systemctl show -P NRestarts cachefilesd) - restarts)) $(inside systemctl is-active cachefilesd)" \
	"$KILLS active" "systemd counts as many restarts, and no limit"
is "$(unregistered)" "$before" "the kernel's cache was never withdrawn"
check "it is active" bound
uncached
is "$server_bytes" 0 "and used: 0 bytes from the server"
check "byte for byte" cmp /scratch/sum /scratch/sum.cold
again() { inside sh -c 'dfcache export $(cat /root/id) -O /tmp/again --overwrite && cmp /tmp/again /tmp/journey/in'; }
check "the piece cache has what was imported" wait_for 60 again

until_here kills

# ---- restart, upgrade to the same, stop -------------------------------------------------------------------
inside systemctl restart cachefilesd
is "$(unregistered)" "$before" "a restart keeps the cache"
timed 300 sh -c 'dpkg --force-unsafe-io --force-confold -i /root/deb/cachefilesd.deb >>/root/dpkg.log 2>&1'
check "bound after an upgrade from ours to ours" bound
is "$(unregistered)" "$before" "which keeps the cache, too"
umount /mnt
inside systemctl stop cachefilesd
check "a stop withdraws it" wait_for 60 withdrawn
inside journalctl --no-pager >/results/journal 2>/dev/null
[ "$n_failed" = 0 ] || { tail -n 40 /results/journal; tail -n 30 $R/root/dpkg.log; tail -n 5 /results/boot.log; } | sed 's/^/# /'
inside systemctl exit
finish
