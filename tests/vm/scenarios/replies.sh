# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
# guest-options: --add $top/tests/data/cachefiles-replies.txt:scenario/replies
# replies.sh — the module's replies are those of the recording that the fake device is compared with.
# shellcheck source=tests/vm/lib.sh
. /scenario/lib.sh
modprobe cachefiles
note "kernel $(uname -r)"
dd if=/dev/zero of=/tmp/image bs=1M count=64 2>/dev/null
mkfs.ext4 -q -F -m 0 /tmp/image && mkdir /tmp/top && mount -o loop /tmp/image /tmp/top
ok "a small file system"
devtalk /dev/cachefiles /tmp/top </scenario/replies >/results/replies
ok "the whole script was said"
note "$(grep -c ' => ' /results/replies) steps"
diff /scenario/replies /results/replies >/results/differences
ok "every reply as recorded"
sed 's/^/# /' /results/differences
finish
