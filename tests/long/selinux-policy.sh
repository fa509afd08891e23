#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# selinux-policy.sh — asks the whole policy (all of Debian's modules linked with ours) what our domains
# may do: rules that come from attributes of the distribution count too, which the modules alone do
# not show. TAP.
# timeout: 1800
set -uo pipefail
top=${TOP:-$(cd "$(dirname "$0")/../.." && pwd)}
command -v sesearch >/dev/null || {
	echo "sesearch is not installed (setools)"
	exit 4
}
said=$("$top/tests/vm/selinux-policy" "$top/build/vm") || {
	echo "$said"
	exit 4
}
policy=$top/build/vm/selinux/etc/selinux/default/policy/policy.33
n=0 failed=0

# only CLASS PERMISSION DOMAIN REGEX WHAT: every type that DOMAIN has the permission for matches
only()
{
	local bad
	n=$((n + 1))
	sesearch -A -s "$3" -c "$1" -p "$2" "$policy" | sed -n 's/^allow [^ ]* \([^ :]*\):.*/\1/p' |
		sort -u >"$TMPDIR/types"
	printf '# %s may %s %s: %s\n' "$3" "$2" "$1" "$(tr '\n' ' ' <"$TMPDIR/types")"
	bad=$(grep -vxE "$4" "$TMPDIR/types" | tr '\n' ' ')
	if [ -z "$bad" ]; then
		echo "ok $n - $5"
	else
		echo "not ok $n - $5: $bad"
		failed=1
	fi
}
TMPDIR=${TMPDIR:-/tmp}
# what every domain may open: the loader, libraries, a few numbers of the kernel
all='cpu_online_t|ld_so(_cache)?_t|lib_t|textrel_shlib_t|sysctl_crypto_t|sysctl_(kernel|vm_overcommit)_t|sysfs_t|proc(_net)?_t|etc_t|locale_t|cert_t|net_conf_t|security_t|selinux_config_t|(systemd_(machined|resolved|userdbd)|NetworkManager)_runtime_t'
only file open dfdaemon_t "$all|dfdaemon_(t|exec_t|conf_t|log_t)" \
	"dfdaemon opens no file of the cache and none of a user"
only file open cachefilesd_t "$all|cachefilesd_(t|exec_t|pieces_t|runtime_t|tmpfs_t)" \
	"cachefilesd opens its store and no object of the kernel"
only tcp_socket create cachefilesd_t none "cachefilesd has no TCP socket"
only udp_socket create cachefilesd_t none "nor a UDP one"
only packet_socket create cachefilesd_t none "nor a raw one"
only tcp_socket create dfdaemon_broker_t none "the broker has no TCP socket"
only udp_socket create dfdaemon_broker_t none "nor a UDP one"
only file execute_no_trans dfdaemon_broker_t none "the broker executes nothing"
only process transition dfdaemon_broker_t none "and changes into no other domain"
only file execute_no_trans dfdaemon_t none "dfdaemon executes nothing"
only kernel_service use_as_override cachefilesd_t cachefiles_kernel_t "the kernel may be asked to work as cachefiles_kernel_t only"
only kernel_service create_files_as cachefilesd_t cachefiles_var_t "and to make files of cachefiles_var_t only"
echo "1..$n"
exit "$failed"
