#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# packages_deb.sh — Debian packages: built, judged by lintian, installed over cachefilesd 0.10.10 in a copy
# of this machine's root; there, under systemd: services from their units, the journey from installed
# files as the service users, kills, a new version, removal without trace.
# timeout: 1800
# shellcheck source=/dev/null disable=SC2181,SC2154
TOP=${TOP:-$(cd "$(dirname "$0")/../.." && pwd)} BUILD=${BUILD:-$TOP/build}
. "$TOP/tests/lib/scratch_root.sh"
. "$TOP/tests/lib/packages.sh"
[ -e /etc/debian_version ] || scratch_skip "not a Debian"
for p in dpkg-buildpackage dh lintian; do
	command -v "$p" >/dev/null || scratch_skip "$p is not installed"
done
# where the guest's packages are too; inside there is no network
debs=$TOP/build/vm/debs
mkdir -p "$debs"
compgen -G "$debs/cachefilesd_0.10*.deb" >/dev/null || [ -n "${SCRATCH_INSIDE:-}" ] ||
	(cd "$debs" && apt-get -qq download cachefilesd >/dev/null 2>&1)
scratch_enter "$@"
work=$(mktemp -d "${TMPDIR:-/tmp}/packages.XXXXXX")
trap 'scratch_end; rm -rf --one-file-system "$work"' EXIT
trap 'exit 1' TERM INT

make -s -C "$TOP" deb >"$work/make" 2>&1
ok "make deb"
[ "$n_failed" = 0 ] || { sed 's/^/# /' "$work/make"; finish; }
lintian --fail-on error --allow-root "$TOP"/build/deb/*.changes >"$work/lintian" 2>&1
ok "lintian finds no error"
sed 's/^/# /' "$work/lintian"
version=$(cat "$TOP/VERSION")
for p in cachefilesd dfcache dfdaemon; do
	dpkg-deb -c "$TOP"/build/deb/${p}_"$version"-*.deb
done >"$work/list"
for f in /etc/logrotate.d/dfdaemon /usr/lib/firewalld/services/dfdaemon{,-metrics}.xml /usr/lib/sysusers.d/dfdaemon.conf \
	/usr/lib/tmpfiles.d/{cachefilesd,dfcache,dfdaemon}.conf /usr/share/dfcachefiles/sysctl.d/dfcachefiles.conf \
	/usr/share/bash-completion/completions/dfcache /usr/share/zsh/vendor-completions/_dfcache \
	/usr/share/fish/vendor_completions.d/dfcache.fish /usr/share/doc/cachefilesd/monitoring/alerts.yml; do
	grep -q "\.$f$" "$work/list" || echo "# missing: $f"
done >"$work/missing"
cat "$work/missing"
! [ -s "$work/missing" ]
ok "logrotate, firewalld, sysusers, tmpfiles, sysctl, completions, alerts are in the packages"

scratch_make "$work/root" || scratch_skip "an overlay of / cannot be made here"
mkdir "$work/disk" "$R/root/deb"
mount --bind "$work/disk" "$R/var/cache"
cp "$TOP"/build/deb/{cachefilesd,dfcache,dfdaemon}_"$version"-*.deb "$R/root/deb/"
cp "$TOP/tests/lib/packages_inside.sh" "$R/root/"
[ -x "$BUILD/tests/bin/fakedev" ] && [ -c /dev/fuse ] && cp "$BUILD/tests/bin/fakedev" "$R/root/"

# ---- over the old one, with no service manager ---------------------------------------------------
if compgen -G "$debs/cachefilesd_0.10*.deb" >/dev/null; then
	cp "$debs"/cachefilesd_0.10*.deb "$R/root/old.deb"
	scratch_run dpkg --force-unsafe-io -i /root/old.deb >"$work/log" 2>&1
	sed -i 's/^brun.*/brun 11%/' "$R/etc/cachefilesd.conf"
	echo "# mine" >>"$R/etc/cachefilesd.conf"
	mkdir -p "$R/var/cache/fscache/cache/Iold"
	echo kept >"$R/var/cache/fscache/cache/Iold/Dx"
	cp "$R/etc/cachefilesd.conf" "$work/conf"
	old=yes
else
	echo "# the old cachefilesd cannot be downloaded here: installed on an empty root instead"
	old=no
fi
scratch_run sh -c 'dpkg --force-unsafe-io --force-confold -i /root/deb/*.deb' >>"$work/log" 2>&1
ok "dpkg installs the three packages"
if [ $old = yes ]; then
	cmp "$R/etc/cachefilesd.conf" "$work/conf"
	ok "upgrade: /etc/cachefilesd.conf is as the administrator left it"
	[ "$(cat "$R/var/cache/fscache/cache/Iold/Dx")" = kept ]
	ok "upgrade: the cache on disk is untouched"
	! [ -e "$R/etc/logcheck/ignore.d.workstation/cachefilesd" ]
	ok "upgrade: what the old one alone had is gone"
	rm -rf "$R/var/cache/fscache/cache"
fi
grep -q '^RUN=yes' "$R/etc/default/cachefilesd"
ok "a file /etc/default/cachefilesd that nobody changed says RUN=yes"
[ "$(scratch_run dpkg --verify cachefilesd dfcache dfdaemon | grep -vc ' c /etc/cachefilesd.conf')" = 0 ]
ok "dpkg --verify: nothing differs but the configuration"
[ "$(scratch_run stat -c '%U:%G %a' /var/log/dragonfly/dfdaemon)" = "dragonfly:dragonfly 750" ] &&
	[ "$(scratch_run stat -c '%U %a' /var/cache/fscache)" = "root 700" ]
ok "users and directories are there"
[ "$n_failed" = 0 ] || sed 's/^/# /' "$work/log"

# ---- without systemd: the init script ---------------------------------------------------------------
cp "$R/etc/default/cachefilesd" "$work/default"
cat >"$R/root/init" <<'END'
. /root/packages_inside.sh
configure nokernel
serves() { [ -S /run/cachefilesd/store.sock ] && cachefilesctl status; }
pid() { cat /var/run/cachefilesd.pid; }
/etc/init.d/cachefilesd start && wait_for 20 serves
ok "start"
/etc/init.d/cachefilesd status
ok "status: it runs"
old=$(pid)
/etc/init.d/cachefilesd reload && kill -0 "$old"
ok "reload"
/etc/init.d/cachefilesd restart && wait_for 20 serves && [ "$(pid)" != "$old" ]
ok "restart: another process"
old=$(pid)
/etc/init.d/cachefilesd stop && ! kill -0 "$old" 2>/dev/null
ok "stop"
! /etc/init.d/cachefilesd status
ok "status: it does not run"
printf 'RUN=no\n' >/etc/default/cachefilesd
/etc/init.d/cachefilesd start >/root/said 2>&1
grep -q 'disabled: RUN=yes is not set in /etc/default/cachefilesd' /root/said && ! pid 2>/dev/null
ok "RUN=no: not started, and it says why"
END
scratch_run bash /root/init >"$work/out" 2>&1
results "$work/out" "init script: "
cp "$work/default" "$R/etc/default/cachefilesd"

# ---- under systemd ------------------------------------------------------------------------------
if ! reason=$(scratch_can_boot); then
	echo "ok $((n_tests += 1)) - services from their units # SKIP $reason"
	finish
fi
cat >"$R/root/inside" <<'END'
. /root/packages_inside.sh
active() { [ "$(systemctl is-active "$1")" = active ]; }
pid() { systemctl show -P MainPID "$1"; }
[ "$(systemctl is-enabled cachefilesd dfdaemon | tr '\n' ' ')" = "enabled disabled " ]
ok "cachefilesd is enabled, dfdaemon waits to be configured"
systemctl stop cachefilesd

printf 'RUN=no\n' >/etc/default/cachefilesd
systemctl start cachefilesd
! active cachefilesd && systemctl status cachefilesd | grep -q "switched off: RUN=no"
ok "RUN other than yes: not started, and status says why"
printf 'RUN=yes\nDAEMON_OPTS=-d\n' >/etc/default/cachefilesd
for unit in cachefilesd dfdaemon; do
	! systemctl start $unit@x && systemctl status $unit@x | grep -q "$unit has no instances"
	ok "an instance of $unit is refused with a sentence"
done

configure nokernel
printf '[host]\nip = 127.0.0.1\n' >/etc/dragonfly/dfcache.conf
systemctl start dfdaemon
ok "systemctl start dfdaemon: ready, and with it cachefilesd and the broker's socket"
active cachefilesd && active dfdaemon-broker.socket && active dfdaemon
ok "all three are active"
tr '\0' ' ' <"/proc/$(pid cachefilesd)/cmdline" | grep -q -- ' -d '
ok "DAEMON_OPTS counts"
[ "$(ps -o user= -p "$(pid dfdaemon)")" = dragonfly ] &&
	grep -q '^CapEff:.*0000000000000000' "/proc/$(pid dfdaemon)/status" &&
	grep -q '^CapBnd:.*0000000000000000' "/proc/$(pid dfdaemon)/status"
ok "dfdaemon runs as dragonfly, without a capability"
grep -q '^CapEff:.*0000000000000000' "/proc/$(pid cachefilesd)/status"
ok "cachefilesd with nokernel keeps none either"
[ "$(systemctl show -P WatchdogUSec dfdaemon cachefilesd | grep -c 30s)" = 2 ]
ok "both have a watchdog"
journey
before=$(ls /run/dragonfly-broker)
as bob dfcache export "$journey_id" -O /tmp/journey/bob/link --force-hard-link >/tmp/journey/err 2>&1
cat /tmp/journey/err
grep -q 'cross\|link\|mount\|file system' /tmp/journey/err
ok "the broker is reached through its socket: a link to another file system is refused as one"
systemctl show -P NAccepted dfdaemon-broker.socket | grep -q '^[1-9]'
ok "systemd started a broker for it"

# watchdog: a cachefilesd that stands still is replaced
mkdir -p /run/systemd/system/cachefilesd.service.d
printf '[Service]\nWatchdogSec=1s\n' >/run/systemd/system/cachefilesd.service.d/w.conf
systemctl daemon-reload
systemctl restart cachefilesd
old=$(pid cachefilesd)
kill -STOP "$old"
replaced() { [ "$(pid cachefilesd)" != "$old" ] && active cachefilesd; }
wait_for 30 replaced
ok "a cachefilesd that stands still is replaced by the watchdog"
rm -r /run/systemd/system/cachefilesd.service.d
systemctl daemon-reload
systemctl restart cachefilesd
old=$(pid dfdaemon)
kill -KILL "$old"
back() { [ "$(pid dfdaemon)" != "$old" ] && active dfdaemon; }
wait_for 30 back
ok "a killed dfdaemon is started again"
exported() { as bob dfcache export "$journey_id" -O /tmp/journey/bob/again --overwrite; }
wait_for 30 exported && cmp /tmp/journey/in /tmp/journey/bob/again
ok "and exports what it had"

# the descriptor store, with a fake device
if [ -x /root/fakedev ]; then
	mkdir /run/fake
	/root/fakedev -l /run/fake.log /run/fake &
	fake=$!
	wait_for 10 test -e /run/fake/control
	mkdir -p /run/systemd/system/cachefilesd.service.d
	printf '[Service]\nEnvironment=CACHEFILESD_DEVICE=/run/fake/cachefiles\n' \
		>/run/systemd/system/cachefilesd.service.d/fake.conf
	systemctl daemon-reload
	systemctl stop cachefilesd
	configure store
	systemctl start cachefilesd
	ok "with a kernel cache: started"
	stored() { [ "$(systemctl show -P NFileDescriptorStore cachefilesd)" = 5 ]; }
	wait_for 10 stored
	ok "five descriptors are in systemd's store"
	killed=0
	for _ in $(seq 20); do
		old=$(pid cachefilesd)
		kill -KILL "$old"
		wait_for 30 replaced && killed=$((killed + 1))
	done
	[ "$killed" = 20 ]
	ok "20 kills: each time there is another, no start limit"
	grep -q '^withdrawn=0' /run/fake/control && grep -q '^opens=1$' /run/fake/control &&
		grep -q '^binds=1$' /run/fake/control
	ok "the device was opened and bound once, nothing was withdrawn"
	systemctl restart cachefilesd && grep -q '^withdrawn=0' /run/fake/control
	ok "a restart keeps the cache too"
	dpkg --force-unsafe-io --force-confold -i /root/deb/cachefilesd_*.deb >/tmp/dpkg 2>&1 &&
		active cachefilesd && grep -q '^withdrawn=0' /run/fake/control
	ok "an upgrade to the next package of ours keeps it as well"
	systemctl stop cachefilesd
	gone() { grep -q '^withdrawn=1' /run/fake/control; }
	wait_for 10 gone
	ok "a stop withdraws it"
	kill $fake
	umount -l /run/fake
fi

# ---- logrotate, removal -------------------------------------------------------------------------
if command -v logrotate >/dev/null; then
	printf '[host]\nip = 127.0.0.1\n[daemon]\nlog_file = /var/log/dragonfly/dfdaemon/dfdaemon.log\n' \
		>/etc/dragonfly/dfcache.conf
	mkdir -p /run/systemd/system/dfdaemon.service.d
	systemctl restart dfdaemon
	ok "dfdaemon with a log file"
	logrotate -f -s /tmp/lr.state /etc/logrotate.d/dfdaemon
	reopened() { [ -s /var/log/dragonfly/dfdaemon/dfdaemon.log.1 ] &&
		ls -l "/proc/$(pid dfdaemon)/fd" | grep -q ' /var/log/dragonfly/dfdaemon/dfdaemon.log$'; }
	wait_for 10 reopened
	ok "logrotate: the old log is put aside and dfdaemon writes to a new one"
fi
dpkg --force-unsafe-io -r dfdaemon dfcache cachefilesd >/tmp/dpkg 2>&1
ok "removed"
! active cachefilesd && ! active dfdaemon && ! active dfdaemon-broker.socket
ok "and stopped"
[ -d /var/cache/fscache/pieces ] && [ -e /etc/cachefilesd.conf ]
ok "cache and configuration are still there"
dpkg --force-unsafe-io -P dfdaemon dfcache cachefilesd >>/tmp/dpkg 2>&1
ok "purged"
find /etc /usr /lib /var ! -path '/var/lib/dpkg/*' ! -path '/var/log/journal/*' \( -name '*cachefilesd*' -o -name '*dfdaemon*' \
	-o -name '*dfcache*' -o -path '*dragonfly*' -o -path '/var/cache/fscache*' \) \
	-newer /root/start -print >/tmp/left 2>/dev/null
cat /tmp/left
! [ -s /tmp/left ]
ok "no trace is left"
END
touch "$R/root/start"
scratch_boot 300 /root/inside
[ $? = 0 ] && [ -s "$SCRATCH/out/out" ]
ok "systemd started as the first process, and ended"
results "$SCRATCH/out/out" "systemd: "
[ "$n_failed" = 0 ] || tail -n 60 "$SCRATCH/console" | sed 's/^/# /'
finish
