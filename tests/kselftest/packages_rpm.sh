#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# packages_rpm.sh — RPM packages: built from the release archive, judged by rpmlint, installed over a
# stand-in of the distributions' cachefilesd 0.10.10 in a copy of this machine's root, verified; there the
# daemons are started by hand as their users, as another init system does, and removed without trace.
# timeout: 1800
# shellcheck source=/dev/null disable=SC2181,SC2154,SC2012
TOP=${TOP:-$(cd "$(dirname "$0")/../.." && pwd)}
. "$TOP/tests/lib/scratch_root.sh"
. "$TOP/tests/lib/packages.sh"
for p in rpmbuild rpmlint rpm find-debuginfo eu-strip; do
	command -v "$p" >/dev/null || scratch_skip "$p is not installed"
done
# inside there is no network
[ -n "${SCRATCH_INSIDE:-}" ] || "$TOP/tests/vm/selinux-policy" "$TOP/build/vm" >/dev/null 2>&1
scratch_enter "$@"
work=$(mktemp -d "${TMPDIR:-/tmp}/packages.XXXXXX")
trap 'scratch_end; rm -rf --one-file-system "$work"' EXIT
trap 'exit 1' TERM INT

make -s -C "$TOP" rpm >"$work/make" 2>&1
ok "make rpm"
[ "$n_failed" = 0 ] || { sed 's/^/# /' "$work/make"; finish; }
version=$(cat "$TOP/VERSION")
top=$TOP/build/rpm
# shellcheck disable=SC2086
set -- "$top"/RPMS/*/*.rpm "$top"/SRPMS/*.rpm
rpmlint -r "$TOP/rpm/dfcachefiles.rpmlintrc" "$@" >"$work/rpmlint" 2>&1
! grep ' E: ' "$work/rpmlint"
ok "rpmlint finds no error"
grep ' E: \|checked;' "$work/rpmlint" | sed 's/^/# /'
[ "$(ls "$top"/RPMS/*/cachefilesd-debuginfo-*.rpm "$top"/RPMS/*/dfdaemon-debuginfo-*.rpm 2>/dev/null | wc -l)" = 2 ]
ok "with debuginfo"
[ -n "$(rpm -qp --changelog "$top"/SRPMS/*.rpm)" ]
ok "and a changelog"
[ "$(rpm -qp --configfiles "$top"/RPMS/*/cachefilesd-"$version"-*.rpm)" = /etc/cachefilesd.conf ]
ok "cachefilesd.conf is configuration"
# Where the distribution has systemd's macros they are used, not our stand-ins. (The packages themselves
# were not tried on the RHEL family: this is all that can be seen of it from here.)
for family in 'rhel 9' 'fedora 42'; do
	rpmspec -P --define '_vendor redhat' --define "$family" --define 'systemd_post() POST %{?*}' \
		--define 'systemd_preun() PREUN %{?*}' --define 'systemd_postun_with_restart() AGAIN %{?*}' \
		--define 'tmpfiles_create() TMPFILES %{?*}' \
		--define 'selinux_relabel_pre(s:) BEFORE %{-s*}' --define 'selinux_relabel_post(s:) AFTER %{-s*}' \
		--define 'selinux_modules_install(s:p:) INSTALL %{-s*} %{-p*} %{*}' \
		--define 'selinux_modules_uninstall(s:p:) UNINSTALL %{-s*} %{-p*} %{*}' "$top"/SPECS/dfcachefiles.spec >"$work/spec" 2>"$work/log"
	[ "$(grep -cE '^(POST|PREUN|AGAIN|TMPFILES) (cachefilesd|dfdaemon|dfcache)' "$work/spec")" = 9 ] &&
		[ "$(grep -cE '^(BEFORE|AFTER|(UN)?INSTALL) targeted( 200 .*cachefilesd.*dfdaemon.*)?$' "$work/spec")" = 5 ] &&
		! grep -q 'systemctl\|semodule' "$work/spec" &&
		{ grep -q '^BuildRequires: *isa-l-devel' "$work/spec" || [ "$family" = 'rhel 9' ]; }
	ok "the spec is understood with the macros of $family"
	sed 's/^/# /' "$work/log"
done
for p in dfdaemon dfcache; do
	rpm -qp --conflicts "$top"/RPMS/*/$p-"$version"-*.rpm | grep -qx dragonfly-client
	ok "$p and Dragonfly's own client package exclude each other"
done

scratch_make "$work/root" || scratch_skip "an overlay of / cannot be made here"
mkdir -p "$work/disk" "$R/root/rpm"
mount --bind "$work/disk" "$R/var/cache"
cp "$top"/RPMS/*/{cachefilesd,dfcache,dfdaemon}-"$version"-*.rpm "$R/root/rpm/"
cp "$TOP/tests/lib/packages_inside.sh" "$R/root/"
policy_rpm=$(compgen -G "$top/RPMS/*/dfcachefiles-selinux-$version-*.rpm")

# ---- the old package, and what its distribution has ------------------------------------------------
cat >"$work/old.spec" <<'END'
Name: cachefilesd
Version: 0.10.10
Release: 15
Summary: the layout of the distributions' package
License: GPLv2+
%description
The layout of the distributions' package.
%install
install -d %{buildroot}/usr/sbin %{buildroot}/etc %{buildroot}/var/cache/fscache %{buildroot}%{unitdir}
install -d %{buildroot}/usr/share/man/man8 %{buildroot}/usr/share/doc/cachefilesd
echo old >%{buildroot}/usr/sbin/cachefilesd
chmod 755 %{buildroot}/usr/sbin/cachefilesd
printf 'dir /var/cache/fscache\ntag mycache\nbrun 10%%%%\n' >%{buildroot}/etc/cachefilesd.conf
echo old >%{buildroot}%{unitdir}/cachefilesd.service
echo old >%{buildroot}/usr/share/man/man8/cachefilesd.8.gz
echo old >%{buildroot}/usr/share/doc/cachefilesd/howto.txt
%files
%config(noreplace) /etc/cachefilesd.conf
/usr/sbin/cachefilesd
%{unitdir}/cachefilesd.service
/usr/share/man/man8/cachefilesd.8.gz
/usr/share/doc/cachefilesd
%dir /var/cache/fscache
END
{
	printf 'Name: base\nVersion: 1\nRelease: 1\nSummary: what a distribution has\nLicense: none\nAutoReqProv: no\n'
	# shellcheck disable=SC2086 # one, or none
	rpm -qp --requires "$R"/root/rpm/*.rpm $policy_rpm | grep -v '^rpmlib\|^cachefilesd\|^dfcache\|^config(\|^dfdaemon' |
		sed 's/ [<>=].*//' | sort -u | grep -v '^/' | sed 's/^/Provides: /'
	printf 'Provides: /bin/sh\n%%description\nWhat a distribution has.\n%%files\n'
} >"$work/base.spec"
unitdir=$(rpm -qlp "$R"/root/rpm/cachefilesd-*.rpm | sed -n 's|/cachefilesd.service$||p')
for spec in old base; do
	rpmbuild -bb --quiet --define "_topdir $work/rpmbuild" --define "unitdir $unitdir" \
		--define "debug_package %{nil}" "$work/$spec.spec" >"$work/log" 2>&1 ||
		sed 's/^/# /' "$work/log"
done
cp "$work"/rpmbuild/RPMS/*/*.rpm "$R/root/"
# Debian's rpm wants to be asked twice
rpm=rpm
[ ! -e /etc/debian_version ] || rpm="rpm --force-debian"
sh_in() { scratch_run sh -c "$*"; }
sh_in "$rpm -i /root/base-*.rpm /root/cachefilesd-0.10*.rpm" >"$work/log" 2>&1
ok "the old package is installed"
echo '# mine' >>"$R/etc/cachefilesd.conf"
cp "$R/etc/cachefilesd.conf" "$work/conf"
mkdir -p "$R/var/cache/fscache/cache/Iold"
echo kept >"$R/var/cache/fscache/cache/Iold/Dx"

sh_in "$rpm -U /root/rpm/*.rpm" >"$work/log" 2>&1
ok "rpm -U with ours, dependencies and all"
sed 's/^/# /' "$work/log"
[ "$(sh_in "rpm -q --qf '%{EPOCH}:%{VERSION} ' cachefilesd")" = "1:$version " ]
ok "it took the place of 0.10.10"
cmp "$R/etc/cachefilesd.conf" "$work/conf" && [ -e "$R/etc/cachefilesd.conf.rpmnew" ]
ok "/etc/cachefilesd.conf is as the administrator left it, ours is beside it"
[ "$(cat "$R/var/cache/fscache/cache/Iold/Dx")" = kept ]
ok "the cache on disk is untouched"
! [ -e "$R/usr/share/doc/cachefilesd/howto.txt" ] && scratch_run /usr/sbin/cachefilesd -v | grep -q "$version"
ok "the old program is gone"
sh_in 'rpm -V cachefilesd dfcache dfdaemon' >"$work/verify" 2>&1
[ "$(grep -vc ' c /etc/cachefilesd.conf' "$work/verify")" = 0 ]
ok "rpm -V: nothing differs but the configuration"
sed 's/^/# /' "$work/verify"
sh_in 'id dragonfly' >"$work/log" 2>&1 && [ "$(sh_in "stat -c '%U:%G %a' /var/log/dragonfly/dfdaemon")" = "dragonfly:dragonfly 750" ]
ok "users and directories are there"
sh_in 'rpm -V --nofiles dfdaemon'
ok "what it needs is there"
for f in /etc/logrotate.d/dfdaemon /usr/lib/firewalld/services/dfdaemon{,-metrics}.xml /usr/lib/sysusers.d/dfdaemon.conf \
	/usr/lib/tmpfiles.d/{cachefilesd,dfcache,dfdaemon}.conf /usr/share/dfcachefiles/sysctl.d/dfcachefiles.conf \
	/usr/share/bash-completion/completions/dfcache /usr/share/zsh/site-functions/_dfcache \
	/usr/share/fish/vendor_completions.d/dfcache.fish; do
	sh_in "rpm -qf $f" | grep -q '^df\|^cachefilesd'
	ok "$f belongs to a package"
done

# ---- started by hand: what another init system does ------------------------------------------------
cat >"$R/root/inside" <<'END'
. /root/packages_inside.sh
rm -rf /var/cache/fscache/cache
configure nokernel
printf '[host]\nip = 127.0.0.1\n[daemon]\nlog_file = /var/log/dragonfly/dfdaemon/dfdaemon.log\n' \
	>/etc/dragonfly/dfcache.conf
install -d /run/cachefilesd /run/dragonfly-broker
install -d -o dragonfly -g dragonfly /run/dragonfly
cachefilesd
ok "cachefilesd goes to the background when it serves"
[ -S /run/cachefilesd/store.sock ] && kill -0 "$(cat /var/run/cachefilesd.pid)"
ok "its socket and its pid file are there"
/usr/libexec/dfcachefiles/dfdaemon-broker --socket /run/dragonfly-broker/broker.sock --owner dragonfly &
broker=$!
wait_for 10 test -S /run/dragonfly-broker/broker.sock
ok "dfdaemon-broker listens"
setpriv --reuid dragonfly --regid dragonfly --init-groups \
	dfdaemon --set local.broker_socket=/run/dragonfly-broker/broker.sock &
peer=$!
wait_for 30 test -S /run/dragonfly/dfdaemon.sock
ok "dfdaemon runs as dragonfly"
wait_for 30 grep -q 'the store is there' /var/log/dragonfly/dfdaemon/dfdaemon.log
ok "and has found the store"
journey
kill -TERM $peer && wait $peer
ok "dfdaemon stops in order"
kill -TERM $broker
wait $broker
pid=$(cat /var/run/cachefilesd.pid)
kill -TERM "$pid"
ended() { ! kill -0 "$pid"; }
wait_for 20 ended
ok "cachefilesd, too"
END
scratch_run env SHELL=/bin/bash bash /root/inside >"$work/out" 2>&1
results "$work/out" "by hand: "

# ---- the policy package, with a policy store -------------------------------------------------------
if [ -z "$policy_rpm" ] || ! said=$("$TOP/tests/vm/selinux-policy" "$TOP/build/vm" 2>"$work/log"); then
	echo "ok $((n_tests += 1)) - the policy package # SKIP ${said:-selinux-policy-dev is not installed, so it was not built}"
else
	store=$TOP/build/vm/selinux
	mkdir -p "$R/etc/selinux" "$R/var/lib/selinux"
	cp -a "$store/etc/selinux/." "$R/etc/selinux/"
	cp -a "$store/var/lib/selinux/." "$R/var/lib/selinux/"
	cp "$policy_rpm" "$R/root/policy.rpm"
	modules() { sh_in 'semodule -lfull' | awk '$2 ~ /^(cachefilesd|dfdaemon)$/ { print $1 ":" $2 }' | sort | tr '\n' ' '; }
	label() { sh_in "matchpathcon -n $1" | cut -d: -f3; }
	# the store was made for the guest, with our modules in it
	sh_in 'semodule -n -X 200 -r cachefilesd dfdaemon' >"$work/log" 2>&1
	[ "$(modules)" = "100:cachefilesd " ]
	ok "a policy store as the distribution has it"
	sh_in "$rpm -i /root/policy.rpm" >"$work/log" 2>&1
	ok "rpm -i of the policy package"
	grep -v '^libsem' "$work/log" | sed 's/^/# /'
	[ "$(modules)" = "100:cachefilesd 200:cachefilesd 200:dfdaemon " ]
	ok "its modules are installed, the distribution's is overruled"
	[ "$(label /var/cache/fscache/pieces/x) $(label /usr/bin/dfdaemon) $(label /usr/libexec/dfcachefiles/dfdaemon-broker) $(label /etc/dragonfly/dfcache.conf)" = \
		"cachefilesd_pieces_t dfdaemon_exec_t dfdaemon_broker_exec_t dfdaemon_conf_t" ]
	ok "and label what is installed"
	sh_in 'rpm -V dfcachefiles-selinux'
	ok "rpm -V finds nothing"
	sh_in "$rpm -e dfcachefiles-selinux" >"$work/log" 2>&1 && [ "$(modules)" = "100:cachefilesd " ] &&
		[ "$(label /usr/bin/dfdaemon)" = bin_t ]
	ok "rpm -e brings the distribution's module back"
	! grep -rlq 'dfdaemon' "$R/etc/selinux" && ! compgen -G "$R/usr/share/selinux/packages/*/*dfdaemon*"
	ok "and leaves nothing"
fi

# ---- and away ---------------------------------------------------------------------------------------
sh_in "$rpm -e dfdaemon dfcache cachefilesd" >"$work/log" 2>&1
ok "rpm -e"
sed 's/^/# /' "$work/log"
sh_in 'find /etc /usr /lib /var -xdev ! -path "/var/lib/rpm/*" ! -path "/var/lib/selinux/*" ! -path "/etc/selinux/*" \( -name "*cachefilesd*" -o -name "*dfdaemon*" -o -name "*dfcache*" \
	-o -path "*dragonfly*" \) -newer /root/cachefilesd-0.10.10-15.*.rpm -print' >"$work/left" 2>/dev/null
sed 's/^/# left: /' "$work/left"
[ "$(grep -vc '\.rpmsave$\|\.rpmnew$\|/etc/dragonfly$\|/var/log/dragonfly\|/var/run/\|^/run/' "$work/left")" = 0 ]
ok "nothing is left but changed configuration and logs"
finish
