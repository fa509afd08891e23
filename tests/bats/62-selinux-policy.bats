#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# selinux/: the modules compile against the distribution's policy, and what they allow is not more than
# they claim. (Loaded and enforcing: tests/vm/scenarios/selinux.sh.)

bats_require_minimum_version 1.5.0

setup_file()
{
	export CIL=$BATS_FILE_TMPDIR/cil WHY_NOT=
	[ -e /usr/share/selinux/devel/Makefile ] || { WHY_NOT="selinux-policy-dev is not installed"; return 0; }
	command -v checkmodule >/dev/null || { WHY_NOT="checkmodule is not installed"; return 0; }
	make -s -C "$TOP" selinux B="$BATS_FILE_TMPDIR/build"
	local pp=/usr/libexec/selinux/hll/pp m
	[ -x "$pp" ] || { WHY_NOT="$pp is not installed"; return 0; }
	mkdir "$CIL"
	for m in cachefilesd dfdaemon; do
		"$pp" "$BATS_FILE_TMPDIR/build/selinux/$m.pp" "$CIL/$m"
	done
}

setup()
{
	[ -z "$WHY_NOT" ] || skip "$WHY_NOT"
	cd "$CIL"
}

# allowed DOMAIN CLASS PERMISSION: the types, one a line
allowed()
{
	sed -n "s/^ *(allow $1 \([a-z_0-9]*\) ($2 (\(.*\))))\$/\1 \2 /p" cachefilesd dfdaemon |
		grep " $3 " | cut -d' ' -f1 | sort -u
}

@test "types of both distribution families are known" {
	local t
	for t in cachefilesd_t cachefilesd_exec_t cachefiles_var_t cachefiles_kernel_t cachefilesd_pieces_t; do
		grep -qx "(type $t)" cachefilesd
	done
	grep -qx '(typealiasactual cachefilesd_cache_t cachefiles_var_t)' cachefilesd
	grep -qx '(typealiasactual cachefilesd_var_run_t cachefilesd_runtime_t)' cachefilesd
	for t in dfdaemon_t dfdaemon_exec_t dfdaemon_broker_t dfdaemon_broker_exec_t; do
		grep -qx "(type $t)" dfdaemon
	done
}

@test "dfdaemon reads and writes passed descriptors, and opens files of the system and its own only" {
	allowed dfdaemon_t file write | grep -qx cachefilesd_pieces_t
	allowed dfdaemon_t file write | grep -qx non_security_file_type
	allowed dfdaemon_t file open >"$BATS_TEST_TMPDIR/open"
	run -1 grep -vxE 'dfdaemon_(t|exec_t|conf_t|log_t)|etc_t|locale_t|cert_t|net_conf_t|proc(_net)?_t|sysctl_(kernel|vm_overcommit)_t|sysfs_t|cpu_online_t|security_t|selinux_config_t|systemd_(machined|resolved)_runtime_t|NetworkManager_runtime_t|self' "$BATS_TEST_TMPDIR/open"
	grep -qx dfdaemon_conf_t "$BATS_TEST_TMPDIR/open"
}

@test "cachefilesd has no network socket, and does not read the kernel's objects" {
	run -1 grep -E '^ *\(allow cachefilesd_t self \((tcp|udp|rawip|packet|netlink[a-z_]*)_socket' cachefilesd
	allowed cachefilesd_t file unlink | grep -qx cachefiles_var_t
	run -1 sh -c 'sed -n "s/^ *(allow cachefilesd_t cachefiles_var_t (file (\(.*\))))\$/\1/p" cachefilesd | tr " " "\n" | grep -xE "open|read|write|append|create|map"'
	grep -qx '(allow cachefilesd_t cachefiles_kernel_t (kernel_service (use_as_override)))' cachefilesd
	grep -qx '(allow cachefilesd_t cachefiles_var_t (kernel_service (create_files_as)))' cachefilesd
}

@test "the broker has no network socket and executes nothing" {
	run -1 grep -E '^ *\(allow dfdaemon_broker_t self \((tcp|udp|rawip|packet)_socket' dfdaemon
	run -1 grep -E '^ *\(allow dfdaemon_broker_t .*execute_no_trans' dfdaemon
	run -1 grep -E '^ *\(typetransition dfdaemon_broker_t [a-z_]* process' dfdaemon
}

@test "what is installed has a label, and every path that is labelled is one that is installed" {
	local root=$BATS_TEST_TMPDIR/root
	make -s -C "$TOP" install DESTDIR="$root" B="$BUILD" >/dev/null
	cd "$TOP/selinux"
	# no pattern before the name: "/usr/sbin/.*" of the distribution would be the more specific one
	run -1 grep -E '^/usr/[^ 	]*[][?*(]' ./*.fc
	# Fedora since 42 has one directory for both
	grep -hoE '^/usr/[^ 	]*' ./*.fc | grep -vx /usr/bin/cachefilesd | sort -u >"$BATS_TEST_TMPDIR/paths"
	[ "$(wc -l <"$BATS_TEST_TMPDIR/paths")" = 3 ]
	while read -r p; do
		[ -x "$root$p" ] || { echo "$p is labelled and not installed"; false; }
	done <"$BATS_TEST_TMPDIR/paths"
	# the context that the shipped configuration names is the one of the policy
	grep -qE '^secctx system_u:system_r:cachefiles_kernel_t:s0$' "$TOP/conf/cachefilesd.conf"
}

@test "make install-selinux puts modules and interfaces into a package's root" {
	make -s -C "$TOP" install-selinux DESTDIR="$BATS_TEST_TMPDIR/root" B="$BATS_FILE_TMPDIR/build" >/dev/null
	[ "$(find "$BATS_TEST_TMPDIR/root" -type f | wc -l)" = 4 ]
}
