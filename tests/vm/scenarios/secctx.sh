# shellcheck shell=bash disable=SC2317 # functions are called by name
# SPDX-License-Identifier: GPL-2.0-or-later
# secctx.sh — with SELinux active (not enforcing; scenario selinux is) and Debian's policy: a secctx that the
# policy does not know is refused by name before the kernel hears of it, a known one is bound with; doctor
# knows a directory with the wrong label, in its usual place and elsewhere.
# guest-options: --append "security=selinux enforcing=0" --mem 3072 --disk 96
# guest-prepare: tests/vm/selinux-policy
# shellcheck source=tests/vm/lib.sh
. /scenario/lib.sh
mount -t selinuxfs selinuxfs /sys/fs/selinux && load_policy
ok "the policy is loaded"
modprobe cachefiles
cache_disk ext4 strictatime
conf() { printf '%s\n' 'dir /var/cache/fscache' "$@" >/etc/test.conf; }
doctor() # DIR
{
	conf
	echo "dir $1" >/etc/test.conf
	cachefilesctl -f /etc/test.conf --json doctor >/tmp/said
	sed 's/^/# /' /tmp/said
}
finds() { grep -q "\"level\":\"$1\",\"what\":\"$2\",\"text\":\"$3" /tmp/said; }

chcon system_u:object_r:var_t:s0 /var/cache/fscache
doctor /var/cache/fscache
check "doctor: the wrong label in the usual place" finds warning label '[^"]*should be [^"]*:cachefiles_var_t[^"]*: restorecon -R /var/cache/fscache'
mkdir -p /var/cache/fscache/moved
chcon system_u:object_r:default_t:s0 /var/cache/fscache/moved
doctor /var/cache/fscache/moved
check "doctor: a moved cache" finds warning label '[^"]*semanage fcontext -a -e /var/cache/fscache /var/cache/fscache/moved; restorecon'
rmdir /var/cache/fscache/moved
chcon system_u:object_r:cachefiles_var_t:s0 /var/cache/fscache
doctor /var/cache/fscache
check "doctor: the right label" finds ok label '[^"]*cachefiles_var_t'

refused() # CONTEXT
{
	conf "secctx $1"
	strace -f -o /tmp/trace -e trace=openat,write timeout 20 cachefilesd -n -s -f /etc/test.conf >/results/ours.log 2>&1
	status=$?
	sed 's/^/# /' /results/ours.log
	[ "$status" = 1 ] && grep -q "the loaded SELinux policy does not know the context $1" /results/ours.log &&
		! grep -q /dev/cachefiles /tmp/trace
}
check "a context without sense is refused, and the device is not opened" refused nonsense
check "nor for a type that the policy does not have" refused system_u:system_r:no_such_type_t:s0
conf 'secctx system_u:system_r:no_such_type_t:s0'
cachefilesctl -f /etc/test.conf --json doctor >/tmp/said
check "doctor says the same" finds error bind 'secctx [^"]*does not know the context'
conf 'secctx system_u:system_r:cachefiles_kernel_t:s0'
check "the shipped context is bound with" start_daemon ours /etc/test.conf
made_with() { [ "$(stat -c %C /var/cache/fscache/cache | cut -d: -f3)" = cachefiles_var_t ]; }
check "and the cache has the label of its directory" made_with
check "an orderly stop" stop_daemon
finish
