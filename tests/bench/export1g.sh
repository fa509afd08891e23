#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# export1g.sh - a file of 1 GiB from one node to another on loopback, verified and placed by the
# export, beside cp and cksum of the same file; three rounds in turns
set -u
TOP=${TOP:-$(cd "$(dirname "$0")/../.." && pwd)}
BUILD=${BUILD:-$TOP/build}
PATH=$BUILD/bin:$PATH
# shellcheck source-path=SCRIPTDIR source=../lib/nodes.bash
. "$TOP/tests/lib/nodes.bash"
MIB=${MIB:-1024}
work=$(mktemp -d "${TMPDIR:-/tmp}/export1g.XXXXXX")
trap 'nodes_end; rm -rf "$work"' EXIT
cd "$work" || exit 1

ms() # COMMAND...
{
	local t=${EPOCHREALTIME/[.,]/}
	"$@" >/dev/null || echo "failed: $*" >&2
	echo $(((${EPOCHREALTIME/[.,]/} - t) / 1000))
}

copy_and_sum() { cp --reflink=never file copy && cksum copy; }

head -c $((MIB * 1048576)) /dev/urandom >file
echo "$MIB MiB on $(stat -f -c %T .), ms: export of another node's task; cp, then cksum of the copy"
for r in 1 2 3; do
	nodes_begin "$work/$r"
	nodes_start 2 daemon.log_level=info || exit 1
	id=$(on 1 import file --persistent-replica-count 1) || exit 1
	ours=$(ms on 2 export "$id" -O out)
	theirs=$(ms copy_and_sum)
	cmp file out || exit 1
	echo "round $r: export $ours, cp + cksum $theirs, ratio $((ours * 100 / theirs)) %"
	nodes_end
	rm -rf out copy "${work:?}/$r"
	export NODES=""
done
