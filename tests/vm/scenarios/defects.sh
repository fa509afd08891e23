# shellcheck shell=bash disable=SC2317,SC2119,SC2120,SC2086,SC2015,SC2016,SC2017,SC2034
# SPDX-License-Identifier: GPL-2.0-or-later
# guest-options: --timeout 3000
# defects.sh — what people complained about in the old daemon, one row after the other: seen on it (0.10.10,
# without address space randomisation, on the real module), and gone with ours. A row that cannot be
# seen here is named with the reason; tests/vm/DEFECTS.md lists them all. SECTIONS="strays in_use": only these.
# shellcheck source=tests/vm/lib.sh
. /scenario/lib.sh
# CONF is the configuration of the moment
CONF=/etc/test.conf
top=/var/cache/fscache
OLD=/usr/libexec/old-cachefilesd
OURS=/usr/sbin/cachefilesd
which=ours log=/dev/null

row() # NUMBER TITLE
{
	number=$1
	echo "# ---- row $1: $2"
}
# OLD|OURS WHAT: by the status of the command before. WHAT is expanded here, since a command
# substitution in an argument would replace that status
seen()
{
	local judged=$? what='not so with ours'
	[ "$1" = old ] && what='seen on the old daemon'
	eval "echo \"#      $1: $2\""
	check "row $number: $what" [ $judged = 0 ]
}
not_here() # REASON
{
	echo "#      cannot be seen here: $1"
}

program() { [ "$which" = old ] && echo $OLD || echo $OURS; }
pids() { pidof "$(basename "$(program)")"; }
none_left() { ! pids; }

as() # old|ours: which daemon the next steps are about
{
	which=$1
	log=/results/$which.row$number.log
	: >"$log"
	# the old one aborts at random with address space randomisation
	[ "$which" = old ]
	echo $(($? * 2)) >/proc/sys/kernel/randomize_va_space
}
fresh() # [MOUNT-OPTIONS [MKFS-OPTIONS...]]: an empty cache disk
{
	umount $top 2>/dev/null
	cache_disk ext4 "${1:-strictatime}" "${@:2}"
}
conf() { printf '%s\n' "dir $top" "$@" >$CONF; }
start() # [OPTIONS]: false when it does not bind
{
	"$(program)" -n -s -f $CONF "$@" 2>>"$log" &
	daemon_pid=$!
	wait_for 15 bound
}
stop()
{
	# shellcheck disable=SC2046
	kill -TERM $(pids) 2>/dev/null
	wait_for 30 none_left && wait_for 30 withdrawn
	wait 2>/dev/null
}
alive() { kill -0 "$daemon_pid"; }
ended() { ! alive; }
# a start that is expected to fail; status in $status, the words in $log
status=''
attempt()
{
	timeout 20 "$(program)" -n -s -f $CONF >>"$log" 2>&1
	status=$?
}
said() { tail -n 1 "$log" | tr -d '\r' | cut -c 1-230; }
ticks() # processor time of the daemon's processes, in hundredths of a second
{
	local p
	for p in $(pids); do cat "/proc/$p/stat"; done | awk '{ n += $14 + $15 } END { print n + 0 }'
}
peak_kib()
{
	local p
	for p in $(pids); do sed -n 's/^VmHWM:[^0-9]*\([0-9]*\).*/\1/p' "/proc/$p/status"; done | sort -n | tail -n 1
}
# N objects of 1 MiB in one volume, number i used at second 1600000000 + i
large_objects()
{
	local i d=$top/cache/Ivol,1
	mkdir -p $top/cache && chmod 700 $top/cache
	mkdir -p "$d/@00" "$d/@01"
	for i in $(seq 1 "$1"); do
		dd if=/dev/zero "of=$d/@0$((i % 2))/T$(printf %06x "$i")," bs=1024k count=1 2>/dev/null
		touch -a -d "@$((1600000000 + i))" "$d/@0$((i % 2))/T$(printf %06x "$i"),"
	done
	sync
}
n_left() { find $top/cache -name 'T*' | wc -l; }
left_is() { [ "$(n_left)" = "$1" ]; }
fewer_than() { [ "$(n_left)" -lt "$1" ]; }
# limits on inodes that make the daemon cull now: everything below 99 % free is too little
hungry=('frun 99%' 'fcull 98%' 'fstop 1%')

modprobe cachefiles
fresh

# ---- the configuration ------------------------------------------------------------------------
configuration()
{
	row 7 "nocull and resume_thresholds, both documented, are refused"
	for word in nocull 'resume_thresholds - 5'; do
		conf "$word"
		as old && attempt
		[ $status = 2 ]
		seen old '$word: exit $status: $(said)'
		as ours && start && stop
		seen ours '$word: runs'
	done

	row 8 "the shipped secctx line stops the daemon on machines without SELinux"
	conf 'secctx system_u:system_r:cachefiles_kernel_t:s0'
	as old && attempt
	[ $status = 2 ]
	seen old 'exit $status: $(said)'
	as ours && start && grep -q 'secctx is skipped' "$log" && stop
	seen ours 'runs: $(grep "secctx is skipped" "$log")'

	row 10 "limits are refused although they are right together"
	for lines in 'bstop 3%|bcull 20%|brun 30%' 'brun 4%|bcull 3%|bstop 1%'; do
		IFS='|' read -r a b c <<<"$lines"
		conf "$a" "$b" "$c"
		as old && attempt
		[ $status = 2 ]
		seen old '$lines: exit $status: $(said)'
		as ours && start && stop
		seen ours '$lines: runs'
	done

	row 11 "leading blanks, CR LF, no newline at the end, blanks at the end"
	for text in " tag x\n" "tag x\r\nbrun 9%%\r\n" "brun 9%%" "brun 9%% \n"; do
		conf
		# shellcheck disable=SC2059 # it is the format
		printf "$text" >>$CONF
		as old && attempt
		[ $status = 2 ]
		seen old '${text//%%/%}: exit $status: $(said)'
		as ours && start && grep -Eq 'blanks|CR LF|Unterminated' "$log" && stop
		seen ours '${text//%%/%}: runs, with a warning'
	done
}

# ---- starting ---------------------------------------------------------------------------------
starting()
{
	row 9 "bind fails with a number and no explanation"
	mkdir -p /tmp/tmpfs /tmp/ro /tmp/small.d
	mount -t tmpfs none /tmp/tmpfs
	ln -sfn $top /tmp/link
	dd if=/dev/zero of=/tmp/small bs=1M count=16 2>/dev/null
	mkfs.ext4 -q -F -m 0 /tmp/small
	mount -o loop,ro /tmp/small /tmp/ro
	for case in 'missing|/nowhere|create the directory' 'symlink|/tmp/link|it is a symbolic link' \
		'tmpfs|/tmp/tmpfs|it lies on tmpfs' 'read-only|/tmp/ro|mounted read-only'; do
		IFS='|' read -r name dir words <<<"$case"
		echo "dir $dir" >$CONF
		as old && attempt
		[ $status = 1 ] && grep -q 'errno [0-9]*' "$log"
		seen old '$name: exit $status: $(said)'
		as ours && attempt
		[ $status = 1 ] && grep -Eq 'errno [0-9]+' "$log"
		seen ours '$name: exit $status: $(said)'
		[ "$name" = missing ] || { grep -q "$words" "$log"; ok "row $number: $name: says why"; }
	done
	umount /tmp/ro /tmp/tmpfs

	row 13 "the device is missing or busy"
	conf
	sleep 1000 <>/dev/cachefiles &
	holder=$!
	as old && attempt
	[ $status = 1 ] && ! grep -q "$holder" "$log"
	seen old 'busy: exit $status: $(said)'
	as ours && attempt
	[ $status = 1 ] && grep -q "held by sleep (pid $holder)" "$log"
	seen ours 'busy: exit $status: $(said)'
	kill $holder
	wait $holder 2>/dev/null
	rmmod cachefiles
	as old && attempt
	[ $status = 1 ]
	seen old 'module not loaded: exit $status: $(said)'
	as ours && start && stop
	seen ours 'module not loaded: it loads it and runs'

	row 26 "a small file system that is full at the first start"
	mount -o loop /tmp/small /tmp/small.d
	dd if=/dev/zero of=/tmp/small.d/ballast bs=64k 2>/dev/null
	echo 'dir /tmp/small.d' >$CONF
	as old && attempt
	[ $status = 1 ]
	seen old 'exit $status: $(said)'
	as ours && attempt
	[ $status = 1 ] && grep -q 'errno 105' "$log" && grep -q 'free some space or lower bstop' "$log"
	seen ours 'exit $status: $(said)'
	umount /tmp/small.d

	row 27 "a start takes minutes where very many descriptors are allowed"
	conf
	echo 5000000 >/proc/sys/fs/nr_open
	declare -A bind_ms
	for which in old ours; do
		as $which
		began=${EPOCHREALTIME/./}
		(
			ulimit -n 5000000
			exec "$(program)" -n -s -f $CONF 2>>"$log"
		) &
		daemon_pid=$!
		wait_for 300 bound
		bind_ms[$which]=$(((${EPOCHREALTIME/./} - began) / 1000))
		stop
	done
	[ "${bind_ms[old]}" -gt 2000 ] && [ "${bind_ms[old]}" -gt $((bind_ms[ours] * 4)) ]
	seen old 'bound after ${bind_ms[old]} ms with 5 million descriptors allowed'
	[ "${bind_ms[ours]}" -lt 2000 ]
	seen ours 'bound after ${bind_ms[ours]} ms'

	row 14 "a daemon that is killed turns caching off"
	conf
	as old && start && kill -KILL "$daemon_pid" && wait_for 10 withdrawn
	seen old 'SIGKILL: the cache is withdrawn'
	as old && start && kill -HUP "$daemon_pid" && wait_for 10 withdrawn
	seen old 'SIGHUP: the cache is withdrawn'
	as ours && start && kill -KILL "$daemon_pid" && usleep 1000000 && bound && wait_for 10 pids
	seen ours 'SIGKILL: the cache stays, and a daemon is there again'
	stop
	as ours && start && kill -HUP "$daemon_pid" && wait_for 10 grep -q 'configuration read again' "$log" && bound
	seen ours 'SIGHUP: the configuration is read again'
	stop
}

# ---- what lies around -------------------------------------------------------------------------
strays()
{
	row 15 "a stray file or an odd name ends the daemon"
	symlink() { mkdir -p $top/cache && ln -s /etc $top/cache/Ilink; }
	fifo() { mkdir -p $top/cache && mkfifo $top/cache/Dfifo; }
	dots() { mkdir -p $top/graveyard/..foo && : >$top/graveyard/..foo/x; }
	deep()
	{
		local i
		mkdir -p $top/graveyard && cd $top/graveyard || return
		for i in $(seq 200); do mkdir "d$i" && cd "d$i" || break; done
		cd /
	}
	immutable() { mkdir -p $top/graveyard && : >$top/graveyard/i && chattr +i $top/graveyard/i; }
	for thing in symlink fifo dots deep immutable; do
		for which in old ours; do
			chattr -i $top/graveyard/i 2>/dev/null
			fresh
			conf
			as $which
			$thing
			(
				[ $thing = deep ] && ulimit -n 100
				exec "$(program)" -n -s -f $CONF 2>>"$log"
			) &
			daemon_pid=$!
			wait_for 15 bound
			if [ $which = old ]; then
				wait_for 10 ended && wait "$daemon_pid"
				status=$?
				[ $status = 1 ]
				seen old '$thing: exit $status: $(said)'
			else
				usleep 2500000
				alive && bound && { [ $thing = immutable ] || [ -z "$(ls -A $top/graveyard)" ]; }
				seen ours '$thing: it lives$([ $thing = immutable ] && echo "; $(grep -m 1 graveyard "$log" | cut -c 1-160)")'
			fi
			stop
		done
	done
	chattr -i $top/graveyard/i 2>/dev/null

	row 16 "files that are not the cache's are deleted"
	for which in old ours; do
		fresh
		mkdir -p $top/cache/Imount /tmp/other
		mount -t tmpfs none $top/cache/Imount && : >$top/cache/Imount/precious
		conf
		as $which && start
		usleep 2500000
		if [ $which = old ]; then
			[ ! -e $top/cache/Imount/precious ]
			seen old 'a file on a file system mounted in cache/ is deleted'
		else
			[ -e $top/cache/Imount/precious ] && bound
			seen ours 'a file on a file system mounted in cache/ stays: $(grep -m 1 mounted "$log" | cut -c 1-120)'
		fi
		stop
		umount $top/cache/Imount
		fresh
		mkdir $top/cache
		for i in 1 2 3 4 5 6 7 8; do : >$top/cache/letter$i; done
		as $which
		if [ $which = old ]; then
			start
			usleep 2500000
			[ ! -e $top/cache/letter8 ]
			seen old 'a directory called cache, of another program, is emptied'
			stop
		else
			attempt
			[ $status = 1 ] && [ -e $top/cache/letter8 ]
			seen ours 'exit $status: $(said)'
		fi
	done

	row 23 "the kernel gives the cache up, and the daemon ends"
	# what makes the kernel do so: to cull a mount point
	for which in old ours; do
		fresh strictatime -N 1000
		cullfloor populate $top 20
		mkdir $top/cache/Imount
		mount -t tmpfs none $top/cache/Imount
		conf "${hungry[@]}"
		as $which
		"$(program)" -n -s -f $CONF 2>>"$log" &
		daemon_pid=$!
		if [ $which = old ]; then
			wait_for 20 ended && wait "$daemon_pid"
			status=$?
			[ $status = 1 ]
			seen old 'exit $status: $(said)'
		else
			wait_for 20 left_is 0
			alive && bound
			seen ours 'it does not ask for a mount point; $(n_left) objects left'
		fi
		umount $top/cache/Imount
		stop
	done
}

# ---- culling ----------------------------------------------------------------------------------
culling()
{
	row 2 "the kernel is asked again and again for each object"
	# processor time: scenario floor, with 100000 objects
	calls() # FIELD of /proc/PID/io, of all the daemon's processes
	{
		local p
		for p in $(pids); do cat "/proc/$p/io"; done | awk -v f="$1:" '$1 == f { n += $2 } END { print n + 0 }'
	}
	declare -A reads writes culls rss lines above
	n=8000
	for which in old ours; do
		fresh strictatime -N 10000
		cullfloor populate $top $n
		conf 'frun 80%' 'fcull 70%' 'fstop 1%'
		run=$(($(stat -f -c %c $top) / 100 * 80))
		as $which && start
		culled_to_run() { [ "$(stat -f -c %d $top)" -ge $run ]; }
		wait_for 300 culled_to_run
		reads[$which]=$(calls syscr) writes[$which]=$(calls syscw) rss[$which]=$(peak_kib) lines[$which]=$(wc -l <"$log")
		culls[$which]=$((n - $(find $top/cache -type f | wc -l)))
		stop
	done
	[ "${reads[old]}" -ge "${culls[old]}" ] && [ "${writes[old]}" -ge $((culls[old] * 3 / 2)) ]
	seen old '${culls[old]} of $n objects culled with ${reads[old]} reads and ${writes[old]} writes, peak ${rss[old]} KiB'
	[ "${reads[ours]}" -lt $((culls[ours] / 4)) ] && [ "${writes[ours]}" -lt $((culls[ours] * 5 / 4)) ]
	seen ours '${culls[ours]} of $n objects culled with ${reads[ours]} reads and ${writes[ours]} writes, peak ${rss[ours]} KiB'

	row 4 "memory grows with the size of a directory"
	not_here "the complaint is about another rewrite; the old daemon has tables of fixed size (${rss[old]} KiB above)"
	[ "${rss[ours]}" -lt 16384 ]
	seen ours '${rss[ours]} KiB, in row 2; bounded by culltable (make bench: 64 MiB at 10 million objects)'

	row 6 "the log is flooded"
	not_here "messages of each scan are at debug level since 0.10.2 (${lines[old]} lines in row 2)"
	[ "${lines[ours]}" -le 8 ]
	seen ours '${lines[ours]} lines in row 2'

	row 5 "processor time while everything is in use"
	not_here "since 0.10.6 it sleeps; see row 1 for what it does instead"
	echo "#      ours: scenario pinned: less than 1 %"

	row 3 "endless culling at the run limit"
	for which in old ours; do
		fresh strictatime -N 3000
		cullfloor populate $top 1500
		conf 'frun 80%' 'fcull 75%' 'fstop 1%'
		as $which
		[ $which = ours ] && echo 'overshoot 5%' >>$CONF
		start
		wait_for 30 fewer_than 1000
		usleep 2500000
		files=$(stat -f -c %c $top)
		above[$which]=$(($(stat -f -c %d $top) - files / 100 * 80))
		stop
	done
	[ "${above[old]}" -le 2 ]
	seen old 'stops ${above[old]} inodes above frun: new objects soon start it again, and there is no margin to be had'
	[ "${above[ours]}" -ge $((files / 100 * 5)) ]
	seen ours 'overshoot 5%: stops ${above[ours]} inodes above frun'

	row 17 "the order is wrong where access times are not kept"
	for which in old ours; do
		# enough that no fan-out directory is empty: the old one removes those first
		fresh noatime -N 2000
		cullfloor populate $top 600
		# the oldest by access were written last, the youngest long ago, the rest just now
		for i in 0 1 2 3 4 590 591 592 593 594; do
			printf -v name T%08x, "$i"
			touch -m -d "@$((i < 5 ? 2000000000 : 1500000000))" $top/cache/Ivol/@??/"$name"
		done
		files=$(stat -f -c %c $top)
		free=$(stat -f -c %d $top)
		# about half of them have to go; the kernel divides first
		run=$(((free + 300) / (files / 100) + 1))
		conf "frun $run%" "fcull $((run - 1))%" 'fstop 1%'
		as $which && start
		wait_for 30 fewer_than 320
		usleep 2500000
		note "$free of $files inodes were free, $(stat -f -c %d $top) are; frun $run%; $(n_left) of 600 left"
		culled() # OBJECT…: how many of these
		{
			for i in "$@"; do
				printf -v name T%08x, "$i"
				compgen -G "$top/cache/Ivol/@??/$name" >/dev/null || echo
			done | wc -l
		}
		written_last=$(culled 0 1 2 3 4)
		written_first=$(culled 590 591 592 593 594)
		if [ $which = old ]; then
			[ "$written_last" = 5 ] && [ "$written_first" = 0 ]
			seen old 'noatime: goes by stale access times, silently'
		else
			[ "$written_last" = 0 ] && [ "$written_first" = 5 ] && grep -q 'mounted noatime' "$log"
			seen ours 'noatime: goes by the last write, and says: $(grep -m 1 -o "mounted noatime.*" "$log" | cut -c 1-130)'
		fi
		stop
	done
	fresh relatime
	conf
	as ours && start && grep -q 'mounted relatime' "$log" && stop
	seen ours 'relatime: a warning'

	row 18 "a full graveyard holds up culling"
	for which in old ours; do
		fresh strictatime -N 8000
		cullfloor populate $top 100
		mkdir -p $top/graveyard $top/x
		cullfloor populate $top/x 4000
		mv $top/x/cache $top/graveyard/0000000100000001
		rmdir $top/x
		conf "${hungry[@]}"
		as $which && start
		wait_for 120 fewer_than 100
		buried=$(find $top/graveyard -mindepth 1 -maxdepth 1 | wc -l)
		if [ $which = old ]; then
			[ "$buried" = 0 ]
			seen old 'nothing is culled before 4000 files in the graveyard are gone'
		else
			[ "$buried" = 1 ]
			seen ours 'culls while 4000 files in the graveyard are being deleted'
			wait_for 120 rmdir $top/graveyard/nothing 2>/dev/null || :
		fi
		stop
	done

	row 19 "no way to make the cache smaller"
	fresh
	large_objects 40
	conf 'kernel_max_size 10MiB'
	as old && attempt
	[ $status = 2 ]
	seen old 'there is no word for it: $(said)'
	as ours && start
	wait_for 40 fewer_than 12
	seen ours 'kernel_max_size 10MiB: $(n_left) of 40 MiB are left, the oldest went$([ -e "$top/cache/Ivol,1/@00/T000028," ] || echo NOT)'
	stop
	fresh
	large_objects 40
	conf
	as ours && start
	want=$(($(stat -f -c '%a * %S' $top) + (20 << 20)))
	cachefilesctl -f $CONF cull --free $want >/tmp/freed 2>&1
	[ "$(n_left)" -le 21 ] && [ "$(n_left)" -ge 15 ]
	seen ours 'cachefilesctl cull --free: $(n_left) of 40 MiB are left'
	cachefilesctl -f $CONF status >/tmp/status

	row 29 "limits that nobody understands"
	not_here "documentation: nothing of the old daemon prints a limit"
	grep -Eq 'bcull +5% .*culling begins below; now .* above it' /tmp/status
	seen ours '$(grep bcull /tmp/status)'
	stop

	row 24 "trees of kernels before 5.17 waste space"
	fresh strictatime -N 1000
	mkdir -p "$top/cache/@4a/I03nfs/@30/Ji000000000000000--fHg8hi8400/@75"
	for i in $(seq 60); do
		: >"$top/cache/@4a/I03nfs/@30/Ji000000000000000--fHg8hi8400/@75/Es0g000w...DB1ry$i"
	done
	conf "${hungry[@]}"
	as ours && start
	# until the run limit: two thirds of them
	old_format_went() { [ "$(find $top/cache -name 'Es0g*' | wc -l)" -le 20 ]; }
	wait_for 20 old_format_went
	seen ours 'culled with the rest, by age'
	stop
	not_here "the old daemon culls them, too"

	row 21 "hang at stop"
	not_here "the kernel needs long with very many objects in flight only; unit files allow 5 minutes"
	row 22 "oopses of kernels before 5.17"
	not_here "this kernel is $(uname -r); cachefilesctl doctor names older ones"
	row 25 "SELinux and a moved cache"
	not_here "SELinux is not active in this boot: scenarios secctx and selinux"
	row 12 "the unit is active but there is no cache (RUN is not set)"
	not_here "an init script of Debian's; our unit says why it does not start (tests/bats)"
}

# ---- with objects in use, over NFS ---------------------------------------------------------------
in_use()
{
	mkdir -p /export
	mount -t tmpfs export /export
	nfs_server /export
	for i in $(seq 1 20); do dd if=/dev/urandom of=/export/f$i bs=64k count=8 2>/dev/null; done
	unpin() # I: close the file; the kernel lets the object go after 10 to 20 s
	{
		local fd=${fds[$1]}
		exec {fd}<&-
	}
	declare -A fds

	row 1 "a few cullable objects are never looked at: the cache stays at its limit for ever"
	for which in old ours; do
		fresh
		limits_config 70 65 5 $CONF
		as $which && start
		nfs_mount /mnt
		cat /mnt/f? /mnt/f1? >/dev/null
		umount /mnt # they become visible
		nfs_mount /mnt
		for i in $(seq 1 19); do exec {fd}<"/mnt/f$i" && fds[$i]=$fd && cat "/mnt/f$i" >/dev/null; done
		dd if=/dev/zero of=$top/ballast bs=1M count=250 2>/dev/null
		# the kernel looks at the space when it stores something
		exec {fd}</mnt/f20 && fds[20]=$fd && cat /mnt/f20 >/dev/null
		usleep 4000000
		before=$(find $top/cache -type f | wc -l)
		for i in 1 2 3 4; do unpin $i; done
		some_went() { [ "$(find $top/cache -type f | wc -l)" -lt "$before" ]; }
		began=${EPOCHREALTIME/./}
		wait_for 45 some_went
		went=$?
		took=$(((${EPOCHREALTIME/./} - began) / 1000))
		now=$(find $top/cache -type f | wc -l)
		if [ $which = old ]; then
			[ $went = 1 ]
			seen old '4 of $before objects were released while culling was wanted: $((before - now)) culled in $((took / 1000)) s'
			for i in 5 6 7 8 9; do unpin $i; done
			wait_for 45 some_went
			seen old '5 more: then it begins'
			fresh_fds=10
		else
			[ $went = 0 ]
			seen ours '4 of $before objects were released while culling was wanted: the first went $took ms after their close'
			fresh_fds=5
			row 20 "space held by the kernel in files that nobody sees"
			not_here "the old daemon says nothing about space at all"
			cachefilesctl -f $CONF --json status >/tmp/status
			held=$(sed -n 's/.*"kernel_held_bytes": \([0-9]*\).*/\1/p' /tmp/status)
			[ "${held:-0}" -ge $((250 << 20)) ]
			seen ours 'status: $(cachefilesctl -f $CONF status | grep "not visible")'
		fi
		for i in $(seq $fresh_fds 20); do unpin "$i"; done
		umount /mnt
		stop
	done

	row 28 "the cache is dead and the daemon looks healthy"
	modprobe dm-mod
	sectors=$(cat /sys/block/vda/size)
	table() # linear|error
	{
		if [ "$1" = linear ]; then
			echo "0 $sectors linear /dev/vda 0"
		else
			echo "0 $sectors error"
		fi
	}
	swap_table()
	{
		table "$1" >/tmp/table
		dmsetup suspend --noflush --nolockfs cache && dmsetup load cache /tmp/table && dmsetup resume cache
	}
	dead() { [ "$(cache_state)" = E ]; }
	for which in old ours; do
		umount $top 2>/dev/null
		wipe
		table linear >/tmp/table
		dmsetup create --noudevsync cache /tmp/table
		dmsetup mknodes 2>/dev/null
		device=/dev/mapper/cache
		[ -e $device ] || device=/dev/dm-0
		mkfs.ext4 -q -F -m 0 -O ^has_journal $device
		mount -o strictatime $device $top
		conf
		# without -N the old one may itself trip over the disk, and end
		mode=''
		[ $which = old ] && mode=-N
		as $which && start $mode
		nfs_mount /mnt
		cat /mnt/f? >/dev/null
		umount /mnt
		# the volume is found again while the disk works; its objects are not any more
		nfs_mount /mnt
		sync
		echo 3 >/proc/sys/vm/drop_caches
		swap_table error
		# an object that was used a moment ago is not looked up again: it is let go after 10 s
		for _ in 1 2 3; do
			cat /mnt/f? >/dev/null
			wait_for 5 dead
			died=$?
			[ $died = 0 ] && break
			usleep 12000000
			echo 3 >/proc/sys/vm/drop_caches
		done
		began=${EPOCHREALTIME/./}
		swap_table linear
		if [ $which = old ]; then
			[ $died = 0 ]
			ok "row $number: the kernel gives the cache up after an I/O error"
			usleep 8000000
			dead && alive
			seen old '8 s later, state of the cache [$(cache_state)], daemon $(alive && echo runs || echo gone): $(said)'
		else
			wait_for 15 bound
			took=$(((${EPOCHREALTIME/./} - began) / 1000))
			bound && [ $took -lt 6000 ] && grep -q 'opened and bound again' "$log"
			seen ours 'bound again after $took ms: $(grep "bound again" "$log")'
		fi
		umount /mnt
		stop
		umount $top
		dmsetup remove --noudevsync cache
	done
}

for section in ${SECTIONS:-configuration starting strays culling in_use}; do
	$section
done
finish
