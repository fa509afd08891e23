#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The fake device replies as the real module did (tests/data/cachefiles-replies.txt, recorded in the guest).
# shellcheck source-path=SCRIPTDIR source=functions
. "$(dirname "$0")/functions"
setup
replies=$(dirname "$0")/../data/cachefiles-replies.txt
talk=$BUILD/tests/tools/devtalk
truncate -s 64M "$work/image"
mkdir "$work/top"
{ mkfs.ext4 -q -F -m 0 "$work/image" && mount -o loop "$work/image" "$work/top"; } 2>/dev/null || skip "no file system can be mounted here"
"$talk" "$dev/cachefiles" "$work/top" <"$replies" >"$work/replies"
ok "the whole script was said"
diff "$replies" "$work/replies" >"$work/differences"
ok "every reply as recorded"
sed 's/^/# /' "$work/differences"
umount "$work/top"
finish
