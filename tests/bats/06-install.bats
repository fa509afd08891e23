#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# what make install puts where, and that the units name what is installed

bats_require_minimum_version 1.5.0

setup_file()
{
	make -C "$TOP" -s install DESTDIR="$BATS_FILE_TMPDIR/root" B="$BUILD" >/dev/null
	export ROOT=$BATS_FILE_TMPDIR/root
}

@test "programs, configuration, units, manuals" {
	local f
	for f in usr/sbin/cachefilesd usr/sbin/cachefilesctl usr/bin/dfdaemon usr/bin/dfcache \
		usr/libexec/dfcachefiles/dfdaemon-broker; do
		[ -x "$ROOT/$f" ]
	done
	for f in etc/cachefilesd.conf etc/dragonfly/dfcache.conf usr/share/man/man1/dfcache.1 \
		usr/share/man/man8/cachefilesd.8 usr/share/man/man8/dfdaemon.8 \
		usr/share/man/man5/dfcache.conf.5 usr/lib/systemd/system/cachefilesd.service \
		usr/lib/systemd/system/dfdaemon.service; do
		[ -f "$ROOT/$f" ]
	done
	"$ROOT/usr/bin/dfdaemon" --config "$ROOT/etc/dragonfly/dfcache.conf" --check-config
	"$ROOT/usr/sbin/cachefilesd" --version | grep -q "version $(cat "$TOP/VERSION")"
}

@test "the units start what is installed" {
	local program n=0
	while read -r program; do
		[ -x "$ROOT$program" ]
		n=$((n + 1))
	done < <(sed -n 's/^ExecStart=\(\/usr[^ ]*\).*/\1/p' "$ROOT"/usr/lib/systemd/system/*.service)
	[ "$n" = 3 ]
	# PREFIX is followed
	make -C "$TOP" -s install DESTDIR="$BATS_TEST_TMPDIR/local" PREFIX=/usr/local B="$BUILD" >/dev/null
	grep -q '^ExecStart=/usr/local/sbin/cachefilesd ' "$BATS_TEST_TMPDIR/local/usr/local/lib/systemd/system/cachefilesd.service"
	grep -q '^ExecStart=/usr/local/bin/dfdaemon ' "$BATS_TEST_TMPDIR/local/usr/local/lib/systemd/system/dfdaemon.service"
	run ! grep -r '/usr/s\?bin\|/usr/libexec' "$BATS_TEST_TMPDIR/local/usr/local/lib/systemd"
}

@test "RUN=no of Debian's defaults: the unit says why it does not start" {
	local unit=$ROOT/usr/lib/systemd/system/cachefilesd.service command
	# as systemd reads it: $$ is $, the quotes make one word
	command=$(sed -n "s/^ExecCondition=\/bin\/sh -c '\(.*\)'\$/\1/p" "$unit" | sed 's/\$\$/$/g')
	[ -n "$command" ]
	run -0 env -u RUN /bin/sh -c "$command"
	run -0 env RUN=yes /bin/sh -c "$command"
	run -1 env RUN=no /bin/sh -c "$command"
	[[ "$output" == "cachefilesd is switched off: RUN=no in /etc/default/cachefilesd" ]]
}

@test "dfdaemon.service is confined: exposure 2.0 or better" {
	command -v systemd-analyze >/dev/null || skip "systemd-analyze is not installed"
	systemd-analyze security --offline=true --threshold=20 \
		"$ROOT/usr/lib/systemd/system/dfdaemon.service" | tail -n 1
}

@test "cachefilesd.service is confined: exposure 3.0 or better" {
	command -v systemd-analyze >/dev/null || skip "systemd-analyze is not installed"
	systemd-analyze security --offline=true --threshold=30 \
		"$ROOT/usr/lib/systemd/system/cachefilesd.service" | tail -n 1
}

@test "completions, logrotate, firewalld, sysusers, tmpfiles and sysctl hints are installed, and say what is so" {
	local f
	for f in etc/logrotate.d/dfdaemon usr/lib/firewalld/services/dfdaemon.xml \
		usr/lib/firewalld/services/dfdaemon-metrics.xml usr/lib/sysusers.d/dfdaemon.conf \
		usr/lib/tmpfiles.d/cachefilesd.conf usr/lib/tmpfiles.d/dfdaemon.conf usr/lib/tmpfiles.d/dfcache.conf \
		usr/share/dfcachefiles/sysctl.d/dfcachefiles.conf usr/share/bash-completion/completions/dfcache \
		usr/share/zsh/site-functions/_dfcache usr/share/fish/vendor_completions.d/dfcache.fish; do
		[ -f "$ROOT/$f" ] || { echo "$f is not there"; false; }
	done
	# firewalld opens the ports that dfdaemon listens on
	python3 - "$ROOT/usr/lib/firewalld/services" <<-'END' >"$BATS_TEST_TMPDIR/open"
	import sys, xml.etree.ElementTree as e
	for f in "dfdaemon", "dfdaemon-metrics":
	    for p in e.parse(f"{sys.argv[1]}/{f}.xml").getroot().iter("port"):
	        print(p.get("protocol"), p.get("port"))
	END
	dfdaemon --config /dev/null --dump-config | sed -n 's/^\(piece_\)\?port = /tcp /p' | sort >"$BATS_TEST_TMPDIR/used"
	diff "$BATS_TEST_TMPDIR/used" <(sort "$BATS_TEST_TMPDIR/open")
	# every sysctl that is hinted at is one of this kernel, or of the distribution named beside it
	while read -r f; do
		[ -e "/proc/sys/${f//.//}" ] || [ "$f" = kernel.io_uring_disabled ] || [ "$f" = kernel.io_uring_group ]
	done < <(sed -n 's/^;\([a-z_0-9.]*\) = .*/\1/p' "$ROOT/usr/share/dfcachefiles/sysctl.d/dfcachefiles.conf")
	if command -v systemd-tmpfiles >/dev/null && command -v systemd-sysusers >/dev/null; then
		mkdir -p "$BATS_TEST_TMPDIR/r/etc"
		systemd-sysusers --root="$BATS_TEST_TMPDIR/r" "$ROOT/usr/lib/sysusers.d/dfdaemon.conf"
		grep -q '^dragonfly:' "$BATS_TEST_TMPDIR/r/etc/passwd"
	fi
}

@test "a configuration that was changed is kept by install and uninstall; nothing else is left" {
	local d=$BATS_TEST_TMPDIR/d
	make -C "$TOP" -s install DESTDIR="$d" B="$BUILD" >/dev/null
	echo "# mine" >>"$d/etc/cachefilesd.conf"
	cp "$d/etc/cachefilesd.conf" "$BATS_TEST_TMPDIR/mine"
	make -C "$TOP" -s install DESTDIR="$d" B="$BUILD" >"$BATS_TEST_TMPDIR/said"
	grep -q 'KEEP .*/etc/cachefilesd.conf' "$BATS_TEST_TMPDIR/said"
	cmp "$d/etc/cachefilesd.conf" "$BATS_TEST_TMPDIR/mine"
	make -C "$TOP" -s uninstall DESTDIR="$d" B="$BUILD" >"$BATS_TEST_TMPDIR/said"
	grep -q 'KEEP .*/etc/cachefilesd.conf' "$BATS_TEST_TMPDIR/said"
	[ "$(cd "$d" && find . -type f)" = ./etc/cachefilesd.conf ]
	cp "$TOP/conf/cachefilesd.conf" "$d/etc/"
	make -C "$TOP" -s uninstall DESTDIR="$d" B="$BUILD" >/dev/null
	[ -z "$(find "$d" -mindepth 1)" ]
}
