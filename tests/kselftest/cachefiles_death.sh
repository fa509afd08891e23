#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The kernel gives the cache up (EIO): noticed within 5 s, opened and bound again without an operator.
# functions are called by name (within); options of start_daemon are optional
# shellcheck disable=SC2317,SC2119,SC2120
# shellcheck source-path=SCRIPTDIR source=functions
. "$(dirname "$0")/functions"
setup

objects 0 99
control "virtual 1000 1000"
start_daemon
ok "starts"
control die
rebound() { counter_is binds 2 && counter_is dead 0 && counter_is bound 1; }
within 5 rebound
ok "noticed and bound again within 5 s"
within 5 says "opened and bound again"
ok "said so"
control "free 1000 60"
within 10 counter_is culling 0
! [ -e "$(object 0)" ] && [ -e "$(object 50)" ]
ok "and culls as before"

# the limits are those of the last reload
sed -i 's/^bstop .*/bstop 5%/; s/^bcull .*/bcull 8%/' "$conf"
kill -HUP "$daemon_pid"
within 5 says 'bstop changed from "3" to "5"'
control die
within 5 counter_is binds 3
[ "$(grep -c '^0 bstop 5%' "$log")" = 1 ]
ok "bound again with the limits of the last reload"

# the new device is with the holder: a crash now does not withdraw it
withdrawn=$(counter withdrawn)
kill -9 "$(worker)"
within 10 test -n "$(worker)"
sleep 0.3
counter_is withdrawn "$withdrawn" && counter_is bound 1
ok "the holder has the new descriptor"

# it cannot be bound: tried again, ever more slowly, and it says why
mv "$dir/graveyard" "$work/g" && touch "$dir/graveyard"
control die
within 8 says "is not a directory"
ok "the reason why it cannot come back is in the log"
rm "$dir/graveyard" && mv "$work/g" "$dir/graveyard"
alive() { counter_is bound 1 && counter_is dead 0; }
within 20 alive
ok "and when the reason is gone, it comes back"
stop_daemon
finish
