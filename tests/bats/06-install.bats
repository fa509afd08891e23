#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# what make install puts where, and that the units name what is installed

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
	done < <(sed -n 's/^ExecStart=\([^ ]*\).*/\1/p' "$ROOT"/usr/lib/systemd/system/*.service)
	[ "$n" = 3 ]
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
