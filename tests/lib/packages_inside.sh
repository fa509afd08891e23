# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash disable=SC2034,SC2181 # for whoever sources it
# packages_inside.sh - what runs in a scratch root with installed packages: no build tree, results as
# "ok - WHAT" and "not ok - WHAT". Sourced there.

ok() # WHAT: by the status of the command before
{
	if [ $? = 0 ]; then echo "ok - $1"; else echo "not ok - $1"; fi
}

note() { echo "# $*"; }

wait_for() # SECONDS COMMAND...
{
	local end=$((SECONDS + $1))
	shift
	until "$@" >/dev/null 2>&1; do
		[ "$SECONDS" -lt "$end" ] || return 1
		read -r -t 0.05 <> <(:) || :
	done
}

as() # USER COMMAND...
{
	local user=$1
	shift
	setpriv --reuid "$user" --regid "$user" --init-groups -- "$@"
}

configure() # LINE...: cachefilesd.conf of a store that dfdaemon may use
{
	{
		printf '%s\n' 'dir /var/cache/fscache' 'socket_group dragonfly' 'store_user dragonfly'
		# the disk of a test machine may be nearly full
		printf '%s\n' 'brun 3%' 'bcull 2%' 'bstop 1%' 'frun 3%' 'fcull 2%' 'fstop 1%'
		printf '%s\n' "$@"
	} >/etc/cachefilesd.conf
}

# journey: two users, the installed dfcache, whatever dfdaemon serves /run/dragonfly/dfdaemon.sock
journey()
{
	local id size
	getent passwd alice >/dev/null || useradd -m alice
	getent passwd bob >/dev/null || useradd -m bob
	export DFCACHE_CONFIG=/tmp/dfcache.conf
	printf '[dfcache]\nlog_dir =\n' >$DFCACHE_CONFIG
	rm -rf /tmp/journey
	install -d -o alice -g alice /tmp/journey
	as alice sh -c 'head -c 9000000 /dev/urandom >/tmp/journey/in && chmod 600 /tmp/journey/in'
	id=$(as alice dfcache import --persistent-replica-count 1 /tmp/journey/in)
	ok "a user imports: the file is readable by nobody else"
	install -d -o bob -g bob /tmp/journey/bob
	as bob dfcache export "$id" -O /tmp/journey/bob/out >/dev/null
	ok "another user exports"
	cmp /tmp/journey/in /tmp/journey/bob/out
	ok "byte for byte"
	[ "$(stat -c '%U %a' /tmp/journey/bob/out)" = "bob 644" ]
	ok "and owns the file"
	! as bob dfcache export "$id" -O /tmp/journey/no/out 2>/tmp/journey/err
	ok "into a directory that is not there: refused"
	as bob dfcache rm "$id" 2>/dev/null
	[ $? = 8 ]
	ok "who did not import may not remove"
	size=$(find /var/cache/fscache/pieces/tasks -name data -size +8M | wc -l)
	[ "$size" = 1 ]
	ok "the bytes are in cachefilesd's directory"
	journey_id=$id
}
