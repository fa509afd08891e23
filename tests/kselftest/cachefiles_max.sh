#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# kernel_max_size and kernel_max_age: the kernel's part is kept small and young while there is space enough,
# least recently used first, never what is in use; a change counts at once.
# parallel: yes
# functions are called by name (within); options of start_daemon are optional
# shellcheck disable=SC2317,SC2119,SC2120
if [ -z "${CTL_NAMESPACE:-}" ] && [ "$(id -u)" = 0 ]; then
	mkdir -p /run/cachefilesd
	CTL_NAMESPACE=1 exec unshare -m --propagation private "$0"
fi
# shellcheck source-path=SCRIPTDIR source=functions
. "$(dirname "$0")/functions"
setup
command -v jq >/dev/null || skip "needs jq"
mount -t tmpfs none /run/cachefilesd || skip "no mount here"
ctl() { "$BUILD/bin/cachefilesctl" -f "$conf" "$@"; }
left_is() { [ "$(n_objects)" = "$1" ]; }
reasons() { ctl --json evictions | jq -s -r '[.[].reason] | unique | join(" ")'; }
reload() {
	sed -i "/^kernel_max/d" "$conf"
	printf '%s\n' "$@" >>"$conf"
	kill -HUP "$daemon_pid"
}

objects 0 39
for ((i = 0; i < 40; i++)); do
	head -c 65536 /dev/urandom >"$(object $i)"
	touch -a -d "@$((1000000 + i))" "$(object $i)"
done
sync -f "$dir"
control "virtual 1000 1000"
start_daemon
control "inuse $(object 3 | sed "s,$dir/cache/,,")"
left_is 40
ok "without them everything stays"
reload "kernel_max_size 1MiB"
within 10 left_is 16 && [ -e "$(object 3)" ] && [ -e "$(object 25)" ] && ! [ -e "$(object 24)" ]
ok "kernel_max_size: the oldest went, except for one that is in use"
counter_is culling 0 && [ "$(reasons)" = max-size ]
ok "though the limits wanted nothing, and the record says why"
reload "kernel_max_size 512KiB"
within 10 left_is 8 && [ -e "$(object 3)" ] && [ -e "$(object 33)" ]
ok "a smaller size counts at once"
control release-all
touch -a "$(object 39)" "$(object 38)"
reload "kernel_max_age 1h"
within 10 left_is 2 && [ -e "$(object 39)" ] && [ -e "$(object 38)" ]
ok "kernel_max_age: what was not used for so long went"
[ "$(reasons)" = "max-age max-size" ]
ok "the record says why"
reload
within 5 says 'kernel_max_age changed'
touch -a -d @1000000 "$(object 39)"
ok "both taken back"
stop_daemon
left_is 2
ok "then nothing goes any more"
finish
