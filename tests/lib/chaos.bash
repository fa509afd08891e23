# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# chaos.bash - five nodes, each behind its own cable (netns.bash), between which files are imported,
# exported and removed while cables are pulled, daemons stopped and killed, a disk is filled, one node
# answers with corrupt pieces and strangers hold connections open. After that all is mended, and what is
# left is compared with what was there before. Source this instead of netns.bash. Needs root.
#
#   chaos_begin DIR            the nodes: 1 to 3 ordinary, 4 with a disk of its own, 5 the liar
#   chaos_run SECONDS SEED     the same seed makes the same plan (not the same history)
#   chaos_heal                 all cables plugged, all daemons up and in touch
#   chaos_check                every file that was acknowledged is exported byte-exact everywhere, what
#                              was removed stays removed, descriptors and memory are as before, every
#                              failure named its cause
#   chaos_end

# shellcheck source-path=SCRIPTDIR source=netns.bash
. "$(dirname "${BASH_SOURCE[0]}")/netns.bash"

CHAOS_N=5 CHAOS_FULL=4 CHAOS_LIAR=5
# What a sentence about a failure may name: what is not reached, or what is short, or what was removed.
CHAOS_CAUSES='does not answer|not reach|unreachable|no live peer|no peer|not here|not found|was deleted|'
CHAOS_CAUSES+='no space|No space|room|Connection refused|Connection reset|connection|No such file|timed out|'
CHAOS_CAUSES+='parent|crc32|stopping|cachefilesd|store|being imported|other content|no byte|handshake'

chaos_nap() { read -r -t "$1" <> <(:) || :; } # SECONDS: the pace of what happens, not a wait for it

chaos_begin() # DIR
{
	local i
	C=$1
	mkdir -p "$C/src" "$C/gone" "$C/tmp"
	: >"$C/bad"
	: >"$C/failures"
	: >"$C/plan"
	netns_begin "$C/nodes" $CHAOS_N || return 1
	mkdir -p "$(node_dir $CHAOS_FULL)/cache"
	mount -t tmpfs -o size=160m chaos "$(node_dir $CHAOS_FULL)/cache" || return 1
	CHAOS_MOUNT=$(node_dir $CHAOS_FULL)/cache
	CHAOS_SET=(download.progress_timeout=6s download.room_timeout=3s peer.leave_grace=5s)
	nodes_start $CHAOS_N "${CHAOS_SET[@]}" || return 1
	for i in $(seq $CHAOS_N); do
		chaos_counts "$i" >"$C/before.$i"
	done
}

chaos_counts() # I: descriptors of dfdaemon, of cachefilesd
{
	local p
	for p in dfdaemon cachefilesd; do
		find "/proc/$(node_pid "$1" $p)/fd" -mindepth 1 | wc -l
	done | xargs
}

chaos_failed() # WHAT I FILE: the sentence of a failure is kept, and must name a cause
{
	local why
	why=$(tr '\n' ' ' <"$3")
	echo "$1 on node $2: $why" >>"$C/failures"
	grep -qE "$CHAOS_CAUSES" "$3" || echo "no cause: $1 on node $2: $why" >>"$C/bad"
}

chaos_random_task() # sets $id; fails when there is none
{
	local all=("$C"/src/*)
	[ -e "${all[0]}" ] || return 1
	id=${all[RANDOM % ${#all[@]}]##*/}
}

chaos_importer() # SEED
{
	local n=0 i id size
	RANDOM=$1
	while [ ! -e "$C/stop" ]; do
		n=$((n + 1)) i=$((RANDOM % 4 + 1)) size=$((RANDOM * RANDOM % 12000000))
		# sometimes a file of few or no bytes, or of exactly a piece
		case $((RANDOM % 8)) in 0) size=$((RANDOM % 3)) ;; 1) size=4194304 ;; esac
		head -c $size /dev/urandom >"$C/tmp/import"
		if id=$(on "$i" import "$C/tmp/import" --timeout 60s --tag "n$n" \
			--persistent-replica-count $((RANDOM % 2 + 2)) 2>"$C/tmp/import.err"); then
			echo "imported $id on $i" >>"$C/plan"
			rm -f "$C/gone/$id"
			mv "$C/tmp/import" "$C/src/$id"
		else
			chaos_failed import "$i" "$C/tmp/import.err"
		fi
		chaos_nap 0.$((RANDOM % 9 + 1))
		[ "$(find "$C/src" -type f | wc -l)" -lt 14 ] || chaos_remove
	done
}

# Only an answered removal is one: after another it is not known what became of the task.
chaos_remove()
{
	local id i=$((RANDOM % 4 + 1))
	chaos_random_task || return 0
	mv "$C/src/$id" "$C/tmp/removed"
	if on "$i" rm "$id" 2>"$C/tmp/remove.err" >/dev/null; then
		echo "removed $id on $i" >>"$C/plan"
		: >"$C/gone/$id"
	else
		chaos_failed rm "$i" "$C/tmp/remove.err"
	fi
}

chaos_exporter() # SEED NUMBER
{
	local id i w=$C/tmp/export.$2
	RANDOM=$1
	while [ ! -e "$C/stop" ]; do
		i=$((RANDOM % 4 + 1))
		chaos_nap 0.$((RANDOM % 5))1
		chaos_random_task || continue
		ln -f "$C/src/$id" "$w.src" 2>/dev/null || continue
		if on "$i" export "$id" -O "$w" --overwrite --timeout 60s >"$w.said" 2>"$w.err"; then
			echo "exported $id on $i" >>"$C/plan"
			cmp "$w" "$w.src" || echo "export of $id on node $i is not what was imported" >>"$C/bad"
		else
			chaos_failed "export of $id" "$i" "$w.err"
			[ ! -e "$w" ] || cmp -s "$w" "$w.last" || echo "a failed export left $w" >>"$C/bad"
		fi
		rm -f "$w"
	done
}

# Strangers: connections that say nothing, half a frame, or leave without a goodbye.
chaos_strangers() # in node 3
{
	netns_in 3 python3 - "$NODES_NET" "$C/stop" <<-'END'
		import os, random, socket, sys, time
		net, stop = sys.argv[1:]
		rng, held = random.Random(7), []
		while not os.path.exists(stop):
		    s = socket.socket()
		    s.settimeout(1)
		    try:
		        s.connect((f"{net}.{rng.choice([1, 2, 4])}", rng.choice([4000, 4005, 4002, 4003])))
		        s.send([b"", b"PRI * HTTP/2.0\r\n\r\nSM\r\n", b"\x07\x04\xff\xff", b"GET /met",
		                os.urandom(40)][rng.randrange(5)])
		        held.append(s)
		    except OSError:
		        s.close()
		    while len(held) > 12:
		        held.pop(0).close()
		    time.sleep(0.2)
	END
}

# The liar's copies change under its feet: what it sends does not have the crc32 that it says.
chaos_lies()
{
	local f
	while [ ! -e "$C/stop" ]; do
		while read -r f; do
			[ -e "$f.lie" ] || printf '\125\252' | dd of="$f" conv=notrunc bs=1 \
				seek=$((RANDOM % 1000)) status=none
			: >"$f.lie"
		done < <(find "$(node_dir $CHAOS_LIAR)"/cache/pieces/tasks -name data -size +1k 2>/dev/null)
		chaos_nap 0.2
	done
}

chaos_signal() # SIGNAL I NAME SECONDS: stopped for so long
{
	local pid
	pid=$(node_pid "$2" "$3")
	kill -STOP "$pid"
	chaos_nap "$4"
	kill -CONT "$pid"
}

chaos_kill() # I NAME...
{
	local i=$1 p
	shift
	for p in "$@"; do
		node_end_process "$i" "$p" KILL
	done
	rm -f "$(node_socket "$i")"
}

chaos_back() # I: what was killed is started again
{
	local i=$1
	if [ ! -e "$(node_dir "$i")/cachefilesd.pid" ]; then
		rm -f "$(node_dir "$i")/store.sock"
		node_start_store "$i" || return 1
	fi
	[ -e "$(node_dir "$i")/dfdaemon.pid" ] || node_start_peer "$i" "${CHAOS_SET[@]}"
}

chaos_event()
{
	local i=$((RANDOM % 4 + 1)) long=$((RANDOM % 9 + 2)) what=$((RANDOM % 10))
	echo "event $what on $i for $long" >>"$C/plan"
	case $what in
	0)
		netns_cable "$i" down
		chaos_nap "$long"
		netns_cable "$i" up
		;;
	1)
		netns_silence "$i" on
		chaos_nap "$long"
		netns_silence "$i" off
		;;
	2) chaos_signal STOP "$i" dfdaemon "$long" ;;
	3) chaos_signal STOP "$i" cachefilesd $((long / 2 + 1)) ;;
	4)
		chaos_kill "$i" dfdaemon
		chaos_back "$i"
		;;
	5)
		chaos_kill "$i" dfdaemon cachefilesd
		chaos_nap "$long"
		chaos_back "$i"
		;;
	6)
		node_stop "$i"
		chaos_back "$i"
		;;
	7)
		fallocate -l 1g "$CHAOS_MOUNT/ballast" 2>/dev/null || # takes what there is
			head -c 1g /dev/zero >"$CHAOS_MOUNT/ballast" 2>/dev/null || :
		chaos_nap "$long"
		rm -f "$CHAOS_MOUNT/ballast"
		;;
	8) # the others keep connections whose other end is gone
		netns_silence "$i" on
		chaos_kill "$i" dfdaemon
		netns_silence "$i" off
		chaos_back "$i"
		;;
	9) # short losses, one after the other
		netns_cable "$i" down
		chaos_nap 0.4
		netns_cable "$i" up
		i=$((i % 4 + 1))
		netns_cable "$i" down
		chaos_nap 0.4
		netns_cable "$i" up
		;;
	esac
}

chaos_run() # SECONDS SEED
{
	local end=$((SECONDS + $1)) jobs=()
	chaos_importer $(($2 + 1)) 3>&- &
	jobs+=($!)
	chaos_exporter $(($2 + 2)) 1 3>&- &
	jobs+=($!)
	chaos_exporter $(($2 + 3)) 2 3>&- &
	jobs+=($!)
	chaos_lies 3>&- &
	jobs+=($!)
	chaos_strangers 3>&- &
	jobs+=($!)
	RANDOM=$2
	while [ $SECONDS -lt $end ]; do
		chaos_event || { echo "a daemon does not start" >>"$C/bad"; break; }
		chaos_nap $((RANDOM % 3)).5
	done
	: >"$C/stop"
	wait "${jobs[@]}"
}

chaos_peers_live() # I: how many it sees
{
	netns_in "$1" curl -s -m 5 "http://$(node_ip "$1"):4002/metrics" | sed -n 's/^dfcachefiles_peers_live //p'
}

chaos_all_meet()
{
	local i
	for i in $(seq $CHAOS_N); do
		[ "$(chaos_peers_live "$i")" = $((CHAOS_N - 1)) ] || return 1
	done
}

chaos_heal()
{
	local i
	for i in $(seq $CHAOS_N); do
		netns_silence "$i" off
		netns_cable "$i" up
		chaos_back "$i" || return 1
	done
	wait_until 60 chaos_all_meet
}

# Pieces of a fetch that was killed are no copy: nobody can get them, and they go as orphans do.
chaos_everywhere_gone() # ID
{
	local i
	for i in $(seq $CHAOS_N); do
		on "$i" ls --json >"$C/tmp/ls" && python3 - "$1" "$C/tmp/ls" <<-'END' || return 1
			import json, sys
			sys.exit(any(t["id"] == sys.argv[1] and t["state_here"] != "partial" for t in json.load(open(sys.argv[2]))))
		END
	done
}

chaos_as_before() # I: no more descriptors than at the start, and no more memory than an idle daemon has
{
	local d0 c0 d1 c1
	read -r d0 c0 <"$C/before.$1"
	read -r d1 c1 <<<"$(chaos_counts "$1")"
	[ "$d1" -le "$d0" ] && [ "$c1" -le "$c0" ] || return 1
	[ "$(private_kib "$(node_pid "$1" dfdaemon)")" -lt 8192 ] &&
		[ "$(private_kib "$(node_pid "$1" cachefilesd)")" -lt 4096 ]
}

chaos_show_counts()
{
	local i
	for i in $(seq $CHAOS_N); do
		echo "# node $i: descriptors before $(cat "$C/before.$i"), now $(chaos_counts "$i")," \
			"private KiB $(private_kib "$(node_pid "$i" dfdaemon)")" \
			"$(private_kib "$(node_pid "$i" cachefilesd)")"
	done
}

chaos_check()
{
	local f id i bad=0
	for f in "$C"/src/*; do
		[ -e "$f" ] || continue
		id=${f##*/}
		for i in 1 2 3 4; do
			rm -f "$C/tmp/out"
			if ! on "$i" export "$id" -O "$C/tmp/out" --timeout 120s 2>"$C/tmp/err" >/dev/null; then
				echo "$id is lost on node $i: $(cat "$C/tmp/err")" >>"$C/bad"
			elif ! cmp "$f" "$C/tmp/out"; then
				echo "$id on node $i is not what was imported" >>"$C/bad"
			fi
		done
	done
	for f in "$C"/gone/*; do
		[ -e "$f" ] || continue
		wait_until 60 chaos_everywhere_gone "${f##*/}" || {
			{
				echo "${f##*/} was removed and is back"
				grep "${f##*/}" "$C/plan" "$C"/nodes/*/*.log
			} >>"$C/bad"
		}
	done
	for i in $(seq $CHAOS_N); do
		wait_until 180 chaos_as_before "$i" || bad=1
	done
	chaos_show_counts
	[ $bad = 0 ] || echo "descriptors or memory are not as before" >>"$C/bad"
	echo "# $(grep -c '^event' "$C/plan") events, $(grep -c '^imported' "$C/plan") imports," \
		"$(grep -c '^exported' "$C/plan") exports, $(grep -c '^removed' "$C/plan") removals," \
		"$(wc -l <"$C/failures") failures that named their cause"
	cat "$C/bad" >&2
	[ ! -s "$C/bad" ]
}

chaos_end()
{
	local bad=0
	: >"$C/stop"
	[ -z "${CHAOS_MOUNT:-}" ] || rm -f "$CHAOS_MOUNT/ballast"
	netns_end || bad=1
	[ -z "${CHAOS_MOUNT:-}" ] || umount "$CHAOS_MOUNT" || bad=1
	return $bad
}
