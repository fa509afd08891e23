# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# netns.bash - the nodes of nodes.bash, each in a network namespace of its own behind a cable of a
# given speed. The switch is a bridge in one more namespace, so nothing of it appears in the
# machine's own network and two tests never meet. Needs root. Source this instead of nodes.bash.
#
#   netns_possible             or says why not
#   netns_begin DIR N [RATE]   nodes_begin, and N namespaces; RATE as tc writes it ("100mbit"), each
#                              way, by token buckets at both ends of each cable; none: as fast as it goes
#   nodes_start N [S.KEY=V...], node_start, on, node_stop ...: as in nodes.bash
#   netns_end                  nodes_end, then the namespaces and whatever runs in them
#   netns_rate I RATE          another speed for the cable of node I
#   netns_cable I down|up      the cable pulled at the switch; the node sees no carrier
#   netns_silence I on|off     the cable stays, but nothing comes through any more
#   netns_split I...           these nodes reach only each other, and the others only each other
#   netns_join                 all reach all again
#   netns_in I COMMAND...      a command in the namespace of node I
#   netns_bytes I tx|rx        what went out of or into node I so far
#
#   NETNS_CC=cubic             congestion control in the namespaces
#   NETNS_MTU=1500

# shellcheck source-path=SCRIPTDIR source=nodes.bash
. "$(dirname "${BASH_SOURCE[0]}")/nodes.bash"

netns_name() { printf 'dfcache-%s-%s' "$$" "$1"; }

netns_possible()
{
	local n
	n=$(netns_name 0)
	[ "$(id -u)" = 0 ] || { echo "needs root for network namespaces"; return 1; }
	ip netns add "$n" 2>/dev/null || { echo "network namespaces cannot be made here"; return 1; }
	ip -n "$n" link add v0 type veth peer name v1 2>/dev/null &&
		ip -n "$n" link add br0 type bridge 2>/dev/null &&
		tc -n "$n" qdisc add dev v0 root tbf rate 1mbit burst 16k latency 50ms 2>/dev/null
	local ok=$?
	ip netns del "$n"
	[ $ok = 0 ] || { echo "veth, bridge or tbf is missing"; return 1; }
}

node_enter() # I: nodes.bash starts a node's daemons behind this
{
	read -ra NODE_IN <<<"nsenter --net=/run/netns/$(netns_name "$1") -- ${NODES_WRAP:-}"
}

netns_in() # I COMMAND...
{
	local n
	n=$(netns_name "$1")
	shift
	nsenter "--net=/run/netns/$n" -- "$@"
}

# A bucket of 10 ms, but at least two of the largest segments that the stack hands down, which are
# then not cut in pieces for nothing; a queue of 50 ms.
netns_shape() # NAMESPACE DEVICE RATE
{
	local bits burst
	bits=${3%bit}
	bits=$(numfmt --from=si "${bits^^}") || return 1
	burst=$((bits / 8 / 100))
	[ "$burst" -ge 131072 ] || burst=131072
	tc -n "$1" qdisc replace dev "$2" root tbf rate "$3" burst "$burst" latency 50ms
}

netns_rate() # I RATE
{
	netns_shape "$(netns_name hub)" "p$1" "$2" && netns_shape "$(netns_name "$1")" eth0 "$2"
}

netns_cable() # I down|up
{
	ip -n "$(netns_name hub)" link set "p$1" "$2"
}

netns_silence() # I on|off
{
	if [ "$2" = on ]; then
		ip -n "$(netns_name hub)" link set "p$1" nomaster
	else
		ip -n "$(netns_name hub)" link set "p$1" master br0
	fi
}

netns_split() # I...
{
	local hub i
	hub=$(netns_name hub)
	ip -n "$hub" link add br1 type bridge stp_state 0 forward_delay 0 && ip -n "$hub" link set br1 up || return 1
	for i in "$@"; do
		ip -n "$hub" link set "p$i" master br1 || return 1
	done
}

netns_join()
{
	local hub i
	hub=$(netns_name hub)
	for i in $(seq "$NETNS_N"); do
		ip -n "$hub" link set "p$i" master br0 || return 1
	done
	ip -n "$hub" link del br1
}

netns_bytes() # I tx|rx
{
	local what=$2 f
	f=$(netns_in "$1" sed -n 's/^ *eth0: *//p' /proc/net/dev)
	# shellcheck disable=SC2086 # fields
	set -- $f
	if [ "$what" = rx ]; then echo "$1"; else echo "$9"; fi
}

netns_mac() { printf '02:00:0a:4d:00:%02x' "$1"; }

netns_begin() # DIR N [RATE]
{
	local hub i j n
	nodes_begin "$1"
	NODES_NET=10.77.0
	NETNS_N=$2 NETNS_RATE=${3:-}
	hub=$(netns_name hub)
	ip netns add "$hub" || return 1
	ip -n "$hub" link add br0 type bridge stp_state 0 forward_delay 0 || return 1
	ip -n "$hub" link set br0 up
	for i in $(seq "$2"); do
		n=$(netns_name "$i")
		ip netns add "$n" || return 1
		# /proc/sys/net is that of the process that looks
		netns_in "$i" tee /proc/sys/net/ipv6/conf/all/disable_ipv6 <<<1 >/dev/null 2>&1
		ip -n "$hub" link add "p$i" mtu "${NETNS_MTU:-1500}" type veth \
			peer name eth0 address "$(netns_mac "$i")" netns "$n" mtu "${NETNS_MTU:-1500}" || return 1
		ip -n "$hub" link set "p$i" master br0 up
		ip -n "$n" -batch - <<-END || return 1
			link set lo up
			addr add $NODES_NET.$i/24 dev eth0
			link set eth0 up
			route replace $NODES_NET.0/24 dev eth0 congctl ${NETNS_CC:-cubic}
		END
		# the kernel learns at most 1024 neighbours for all namespaces together
		if [ "$2" -gt 24 ]; then
			for j in $(seq "$2"); do
				[ "$j" = "$i" ] ||
					echo "neigh replace $NODES_NET.$j lladdr $(netns_mac "$j") dev eth0 nud permanent"
			done | ip -n "$n" -batch - || return 1
		fi
		if [ -n "$NETNS_RATE" ]; then
			netns_rate "$i" "$NETNS_RATE" || return 1
		fi
	done
}

netns_end()
{
	local bad=0 i n p
	nodes_end || bad=1
	for i in $(seq "${NETNS_N:-0}") hub; do
		n=$(netns_name "$i")
		[ -e "/run/netns/$n" ] || continue
		for p in $(ip netns pids "$n"); do
			echo "# left in node $i: $(tr '\0' ' ' <"/proc/$p/cmdline")" >&2
			kill -KILL "$p" && bad=1
		done
		ip netns del "$n"
	done
	return $bad
}
