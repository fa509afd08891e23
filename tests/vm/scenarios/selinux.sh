# shellcheck shell=bash disable=SC2317,SC2154 # functions are called by name; variables by eval
# SPDX-License-Identifier: GPL-2.0-or-later
# selinux.sh — the whole journey with SELinux enforcing: Debian 12's policy (selinux-policy-default,
# all of its modules) and ours, loaded as the machine boots; every file labelled from file_contexts.
# guest-options: --append "security=selinux enforcing=1 log_buf_len=8M" --mem 3072 --disk 96 --timeout 1200
# guest-prepare: tests/vm/selinux-policy
# The daemons are started by a program labelled as init's, so their own labels decide their domains.
# PERMISSIVE=1 only collects denials.
# shellcheck source=tests/vm/lib.sh
. /scenario/lib.sh

if [ "${1-}" != inside ]; then
	# The initial ram disk cannot carry labels: everything moves to a tmpfs that does.
	mount -t selinuxfs selinuxfs /sys/fs/selinux || { echo "# no SELinux in this kernel"; exit 1; }
	load_policy || exit 1
	[ -z "${PERMISSIVE-}" ] || echo 0 >/sys/fs/selinux/enforce
	mkdir /labelled
	mount -t tmpfs -o mode=755 labelled /labelled
	mkdir -p /labelled/{proc,sys,dev,run,tmp,results}
	cp -a /bin /sbin /etc /usr /lib /lib64 /root /var /export /mnt /scenario /labelled/
	mkdir -p /labelled/home/{unconfined,confined}/out /labelled/home/unconfined/links \
		/labelled/var/cache/fscache /labelled/etc/dragonfly /labelled/usr/libexec/dfcachefiles
	cd /labelled/usr || exit 1
	mv sbin/dfdaemon sbin/dfcache bin/
	mv sbin/dfdaemon-broker libexec/dfcachefiles/
	cp sbin/probe sbin/probe-cachefilesd
	cp sbin/probe sbin/probe-dfdaemon
	cp sbin/probe sbin/probe-broker
	cd /
	chown -R 1000:1000 /labelled/home/*
	for m in proc sys dev run tmp results; do
		mount --rbind "/$m" "/labelled/$m"
	done
	# busybox's links, without a look at thousands of patterns for each
	chcon -h system_u:object_r:bin_t:s0 /labelled/bin /labelled/bin/*
	setfiles -F -e /labelled/usr/lib/modules -r /labelled \
		/etc/selinux/default/contexts/files/file_contexts \
		/labelled/{bin/bash,sbin,etc,usr,lib,lib64,root,var,home,mnt,export} 2>&1 | sed 's/^/# /'
	chcon -R system_u:object_r:modules_object_t:s0 /labelled/usr/lib/modules
	setfiles -F /etc/selinux/default/contexts/files/file_contexts /run /tmp /dev/null /dev/urandom \
		/dev/tty /dev/ttyS1 2>&1 | sed 's/^/# /'
	# homes belong to SELinux users
	chcon -R -u user_u /labelled/home/confined
	label() { chcon "system_u:object_r:$1:s0" "/labelled$2"; }
	label root_t ""
	label init_exec_t /usr/sbin/asinit
	label cachefilesd_exec_t /usr/sbin/probe-cachefilesd
	label dfdaemon_exec_t /usr/sbin/probe-dfdaemon
	label dfdaemon_broker_exec_t /usr/sbin/probe-broker
	cp -a /labelled/usr/sbin/asinit /labelled/usr/sbin/aslogin
	label sshd_exec_t /usr/sbin/aslogin
	# what the journal's socket is under systemd: the daemons write to it and do not open it
	for f in first second broker dfdaemon1 dfdaemon2 negative; do
		: >/results/$f.log
		chcon system_u:object_r:init_tmpfs_t:s0 /results/$f.log
	done
	exec chroot /labelled /bin/bash "$0" inside
fi

domain() { tr -d '\0' <"/proc/$1/attr/current" | cut -d: -f3; }
label_of() { stat -c %C "$1" | cut -d: -f3; }

# all denials, one a line: "{ open } dfdaemon_t user_home_t:file by "probe" path=…"
denials()
{
	dmesg | sed -n 's/.*avc:  denied  { \([^}]*\) } for  pid=[0-9]* comm=\("[^"]*"\|[^ ]*\)\(.*\) scontext=[^:]*:[^:]*:\([a-z_0-9]*\)[^ ]* tcontext=[^:]*:[^:]*:\([a-z_0-9]*\)[^ ]* tclass=\([a-z_0-9]*\).*/{ \1 } \4 \5:\6 by \2\3/p' |
		sed 's/ ino=[0-9]*//; s/ dev="[^"]*"//'
}
n_seen=0
new_denials()
{
	denials | tail -n "+$((n_seen + 1))"
}
# no_denials WHAT: since the last look
no_denials()
{
	new_denials >/tmp/new
	n_seen=$(denials | wc -l)
	if [ -s /tmp/new ]; then
		sed "s/^/# UNEXPECTED: /" /tmp/new
		cat /tmp/new >>/results/unexpected
	fi
	[ ! -s /tmp/new ]
	ok "$1: no denial"
}
# denied REGEX WHAT COMMAND...: it fails for lack of permission, with denials that match and no others
denied()
{
	local regex=$1 what=$2 said
	shift 2
	"$@"
	said=$?
	# the kernel's log is written by a thread
	matches() { new_denials | grep -qE -- "$regex"; }
	wait_for 5 matches
	new_denials | sort -u >/tmp/new
	n_seen=$(denials | wc -l)
	grep -E -- "$regex" /tmp/new | sed 's/^/# expected: /'
	grep -E -- "$regex" /tmp/new >>/results/expected
	grep -vE -- "$regex" /tmp/new | sed 's/^/# UNEXPECTED: /'
	grep -vE -- "$regex" /tmp/new >>/results/unexpected
	[ "$said" = 13 ] &&
		grep -qE -- "$regex" /tmp/new && [ "$(grep -cvE -- "$regex" /tmp/new)" = 0 ]
	ok "denied: $what"
}
: >/results/expected
: >/results/unexpected

note "kernel $(uname -r), enforcing: $(cat /sys/fs/selinux/enforce), policy: $(stat -c %s /etc/selinux/default/policy/policy.33) bytes, version $(cat /sys/fs/selinux/policyvers)"
is "$(cat /sys/fs/selinux/enforce)" "$([ -n "${PERMISSIVE-}" ] && echo 0 || echo 1)" "SELinux is enforcing"
is "$(label_of /usr/sbin/cachefilesd) $(label_of /usr/bin/dfdaemon) $(label_of /usr/libexec/dfcachefiles/dfdaemon-broker)" \
	"cachefilesd_exec_t dfdaemon_exec_t dfdaemon_broker_exec_t" "the programs are labelled by file_contexts"

modprobe cachefiles
mkdir -p /var/cache/fscache
cache_disk ext4 strictatime
setfiles -F /etc/selinux/default/contexts/files/file_contexts /var/cache/fscache /dev/cachefiles
is "$(label_of /var/cache/fscache) $(label_of /dev/cachefiles)" "cachefiles_var_t cachefiles_device_t" "cache directory and device are labelled"
n_seen=$(denials | wc -l)
note "$n_seen denials before our programs start (of the set-up)"
new_denials | head -5 | sed 's/^/# /'

context=system_u:system_r:cachefiles_kernel_t:s0
config()
{
	limits_config 60 55 5 /etc/cachefilesd.conf 'store' 'store_user dragonfly' 'socket_group dragonfly' "$@"
}
mkdir /run/cachefilesd /run/cachefilesd2 /run/dragonfly /run/dragonfly2 /run/dragonfly-broker
chown dragonfly:dragonfly /run/dragonfly /run/dragonfly2
setfiles -F /etc/selinux/default/contexts/files/file_contexts /run/cachefilesd /run/dragonfly /run/dragonfly-broker
for d in cachefilesd2 dragonfly2; do
	chcon "$(stat -c %C "/run/${d%2}")" "/run/$d"
done

start_cachefilesd()
{
	asinit -o /results/first.log -n /usr/sbin/cachefilesd -n -s -f /etc/cachefilesd.conf &
	daemon_pid=$!
	wait_for 20 bound
}

config "secctx $context"
check "cachefilesd binds with secctx" start_cachefilesd
is "$(domain "$daemon_pid")" cachefilesd_t "it runs as cachefilesd_t"
check "the store is there" wait_for 20 test -S /run/cachefilesd/store.sock
is "$(label_of /var/cache/fscache/cache) $(label_of /var/cache/fscache/graveyard) $(label_of /var/cache/fscache/pieces)" \
	"cachefiles_var_t cachefiles_var_t cachefilesd_pieces_t" "the kernel's directories and pieces/ have their types"
no_denials "bind"

# ---- NFS through the cache --------------------------------------------------------------------
mount -t tmpfs export /export
for i in $(seq 1 20); do
	dd if=/dev/urandom of="/export/f$i" bs=1M count=2 2>/dev/null
done
nfs_server /export && nfs_mount /mnt
ok "NFS mounted with fsc"
cat /mnt/f1 /mnt/f2 /mnt/f3 >/dev/null
umount /mnt && nfs_mount /mnt
before=$(server_bytes_read)
cat /mnt/f1 /mnt/f2 /mnt/f3 | md5sum >/results/warm
cat /export/f1 /export/f2 /export/f3 | md5sum | cmp - /results/warm
ok "the cached bytes are right"
is "$(($(server_bytes_read) - before))" 0 "a warm pass reads nothing from the server"
no_denials "NFS through the cache"

# ---- cull -------------------------------------------------------------------------------------
for i in $(seq 1 20); do
	cat "/mnt/f$i" >/dev/null
done
umount /mnt
is "$(find /var/cache/fscache/cache -type f -print0 | xargs -0 /usr/bin/stat -c %C | sort -u | cut -d: -f3)" \
	cachefiles_var_t "the kernel's objects carry the label of the directory"
culled() { [ "$(fscache_stat NoSpace cull)" -gt 1 ]; }
check "objects are culled" wait_for 100 culled
note "$(fscache_stat NoSpace cull) culled by the kernel"
no_denials "cull"

# ---- two daemons: import, replicate, export -----------------------------------------------------
mkdir -p /var/cache/second
{
	echo 'dir /var/cache/second'
	echo 'nokernel'
	echo 'socket /run/cachefilesd2/store.sock'
	echo 'store_user dragonfly'
	echo 'socket_group dragonfly'
} >/etc/cachefilesd2.conf
chcon system_u:object_r:cachefiles_var_t:s0 /var/cache/second
for n in 1 2; do
	two=$([ $n = 1 ] || echo 2)
	cat >/etc/dragonfly/node$n.conf <<-CONF
		[host]
		hostname = node$n
		ip = 127.0.0.$n
		[local]
		socket = /run/dragonfly$two/dfdaemon.sock
		broker_socket = /run/dragonfly-broker/broker.sock
		export_link = no
		[peer]
		listen = 127.0.0.$n
		peers = 127.0.0.1:4000, 127.0.0.2:4000
		heartbeat = 500ms
		[metrics]
		listen = 127.0.0.$n
		[health]
		listen = 127.0.0.$n
		[store]
		socket = /run/cachefilesd$two/store.sock
	CONF
done
setfiles -F /etc/selinux/default/contexts/files/file_contexts /etc/dragonfly /etc/cachefilesd2.conf
asinit -o /results/second.log -n /usr/sbin/cachefilesd -n -s -f /etc/cachefilesd2.conf &
second_pid=$!
asinit -o /results/broker.log -n /usr/libexec/dfcachefiles/dfdaemon-broker --socket /run/dragonfly-broker/broker.sock &
broker_pid=$!
check "a second cachefilesd, without kernel cache" wait_for 20 test -S /run/cachefilesd2/store.sock
check "the broker" wait_for 20 test -S /run/dragonfly-broker/broker.sock
sed 's/^/# /' /results/broker.log
chown dragonfly /run/dragonfly-broker/broker.sock
for n in 1 2; do
	asinit -o /results/dfdaemon$n.log -n -u 990 -g 990 /usr/bin/dfdaemon --config /etc/dragonfly/node$n.conf &
	eval "df${n}_pid=$!"
done
# shellcheck disable=SC2154 # df1_pid, df2_pid
both() { grep -q 'the store is there' /results/dfdaemon1.log && grep -q 'the store is there' /results/dfdaemon2.log; }
check "two dfdaemons reach their stores" wait_for 60 both
met() { grep -q 'peer.*127.0.0.2' /results/dfdaemon1.log && grep -q 'peer.*127.0.0.1' /results/dfdaemon2.log; }
check "and each other" wait_for 60 met
is "$(domain "$second_pid") $(domain "$broker_pid") $(domain "$df1_pid") $(domain "$df2_pid")" \
	"cachefilesd_t dfdaemon_broker_t dfdaemon_t dfdaemon_t" "all in their domains"
no_denials "start of broker and dfdaemons"

# as_user HOME COMMAND: what an ordinary user types after logging in
declare -A contexts=([unconfined]=unconfined_u:unconfined_r:unconfined_t:s0 [confined]=user_u:user_r:user_t:s0)
as_user()
{
	HOME=/home/$1 asinit /usr/sbin/aslogin -u 1000 -g 1000 -x "${contexts[$1]}" \
		/bin/bash -c "cd; exec 2>>log; $2"
}
for user in unconfined confined; do
	home=/home/$user
	as_user $user 'cat /proc/self/attr/current >who; head -c 3000000 /dev/urandom >model'
	is "$(tr -d '\0' <$home/who)" "${contexts[$user]}" "a user logs in ($user)"
	as_user $user "dfcache import -e /run/dragonfly/dfdaemon.sock --persistent-replica-count 2 --wait --log-dir= model >id"
	ok "imports a file of its home, and waits for two copies"
	id=$(cat $home/id)
	note "task $id"
	as_user $user "dfcache export -e /run/dragonfly2/dfdaemon.sock --log-dir= -O out/model $id >path"
	ok "exports it at the second node"
	cmp $home/model $home/out/model
	ok "the same bytes"
	note "labels: $(stat -c %C $home/model) $(stat -c %C $home/out/model)"
	sed 's/^/# /' $home/log
	no_denials "import, replicate, export ($user)"
done
as_user unconfined "dfcache export -e /run/dragonfly2/dfdaemon.sock --log-dir= --force-hard-link -O links/model $(cat /home/unconfined/id)"
ok "the broker links a task's file at the caller's path"
cmp /home/unconfined/model /home/unconfined/links/model
ok "the same bytes"
tail -n 2 /home/unconfined/log | sed 's/^/# /'
rm -f /home/unconfined/links/model
no_denials "the broker"
is "$(find /var/cache/fscache/pieces /var/cache/second/pieces -type f -print0 | xargs -0 /usr/bin/stat -c %C | sort -u | cut -d: -f3)" \
	cachefilesd_pieces_t "all of pieces/ has its own type"
kill -KILL "$daemon_pid"
wait_for 20 pidof cachefilesd
bound
ok "SIGKILL of cachefilesd leaves the cache bound"
check "and its store serves again" wait_for 30 cachefilesctl status
no_denials "crash and restart"

# ---- what must be denied ------------------------------------------------------------------------
piece=$(find /var/cache/fscache/pieces/tasks -name data | head -n 1)
object=$(find /var/cache/fscache/cache -type f | head -n 1)
# at a path that dfdaemon may search, so that the file itself is what is asked
for f in piece object home; do
	: >/run/dragonfly/$f
done
# objects have mode 0, which alone would keep a root without capabilities out
chmod 600 "$object"
mount --bind "$piece" /run/dragonfly/piece
mount --bind "$object" /run/dragonfly/object
mount --bind /home/unconfined/model /run/dragonfly/home
denied '^\{ open \} dfdaemon_t cachefilesd_pieces_t:file' "dfdaemon opens a task's file" \
	asinit /usr/sbin/probe-dfdaemon open /run/dragonfly/piece
denied '^\{ search \} dfdaemon_t cachefiles_var_t:dir' "dfdaemon looks into the cache directory" \
	asinit /usr/sbin/probe-dfdaemon open "$piece"
denied '^\{ open \} dfdaemon_t cachefiles_var_t:file' "dfdaemon opens an object of the kernel" \
	asinit /usr/sbin/probe-dfdaemon open /run/dragonfly/object
denied '^\{ open \} dfdaemon_t user_home_t:file' "dfdaemon opens a user's file" \
	asinit -u 1000 /usr/sbin/probe-dfdaemon open /run/dragonfly/home
denied '^\{ (execute|search) \} dfdaemon_t [a-z]*_exec_t:file' "dfdaemon starts a shell" \
	asinit /usr/sbin/probe-dfdaemon run /bin/bash
for kind in inet inet6; do
	denied '^\{ create \} cachefilesd_t cachefilesd_t:tcp_socket' "cachefilesd opens a socket ($kind)" \
		asinit /usr/sbin/probe-cachefilesd socket $kind
done
denied '^\{ (read|open|read open) \} cachefilesd_t cachefiles_var_t:file' "cachefilesd reads an object of the kernel" \
	asinit /usr/sbin/probe-cachefilesd open "$object"
denied '^\{ create \} dfdaemon_broker_t dfdaemon_broker_t:tcp_socket' "the broker opens a network socket" \
	asinit /usr/sbin/probe-broker socket inet
denied '^\{ execute \} dfdaemon_broker_t [a-z]*_exec_t:file' "the broker starts a shell" \
	asinit /usr/sbin/probe-broker run /bin/bash
chmod 0 "$object"
umount /run/dragonfly/piece /run/dragonfly/object /run/dragonfly/home

kill -TERM "$df1_pid" "$df2_pid" "$broker_pid" "$second_pid"
check "dfdaemons, broker and second store stop" wait_for 60 gone dfdaemon
check "an orderly stop withdraws the cache" stop_daemon
no_denials "the stop"

# the daemon in the foreground, until it gives up: 13 when the system's answer was EACCES
refused()
{
	local status
	: >/results/negative.log
	timeout 60 asinit -o /results/negative.log -n /usr/sbin/cachefilesd -n -s -f /etc/cachefilesd.conf
	status=$?
	sed 's/^/# /' /results/negative.log
	[ $status = 1 ] && grep -q 'errno 13' /results/negative.log && return 13
	return $status
}
config "secctx system_u:system_r:init_t:s0"
denied '^\{ use_as_override \} cachefilesd_t init_t:kernel_service' "secctx that names init_t" refused
config "secctx system_u:system_r:cachefilesd_t:s0"
denied '^\{ use_as_override \} cachefilesd_t cachefilesd_t:kernel_service' "secctx that names the daemon itself" refused
config
denied '^\{ (create|create_files_as|add_name|write) \} cachefilesd_t cachefiles_var_t:' "no secctx at all" refused
config "secctx system_u:system_r:no_such_t:s0"
refused
is "$?" 1 "a secctx that the policy does not know is refused"
grep -q 'policy does not know the context' /results/negative.log
ok "by name, before the kernel hears of it"
no_denials "unknown secctx"

note "not ours, denied meanwhile: $(denials | grep -vcE 'cachefiles|dfdaemon') "
note "expected denials:"
sed 's/^/#   /' /results/expected
note "unexpected denials: $(wc -l </results/unexpected)"
sed 's/^/#   /' /results/unexpected
[ ! -s /results/unexpected ]
ok "no unexpected denial"
finish
