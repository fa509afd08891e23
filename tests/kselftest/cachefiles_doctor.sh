#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# cachefilesctl doctor: each finding it is to make, on file systems and devices that have what it should find;
# and none where all is well.
# timeout: 120
# parallel: yes
# functions are called by name; disk has optional arguments
# shellcheck disable=SC2317,SC2119,SC2120
# mounts, and the files of /proc that a kernel with the module has
if [ -z "${DOCTOR_NAMESPACE:-}" ] && [ "$(id -u)" = 0 ]; then
	DOCTOR_NAMESPACE=1 exec unshare -m --propagation private "$0"
fi
# shellcheck source-path=SCRIPTDIR source=functions
. "$(dirname "$0")/functions"
[ "$(id -u)" = 0 ] || skip "needs root"
for program in jq mkfs.ext4; do command -v $program >/dev/null || skip "needs $program"; done
disk=$work/disk
truncate -s 64M "$work/image"
mkfs.ext4 -q -F -m 0 "$work/image" || skip "mkfs.ext4 fails"
mkdir "$disk"
mount -o loop,strictatime "$work/image" "$disk" || skip "no loop mount here"
leave() {
	umount -l "$disk/map" "$disk/fs" "$disk" 2>/dev/null
	cleanup
}
trap leave EXIT
# where the module is loaded, too: no cache, and no files about caches
mount -t tmpfs none /proc/fs || skip "no mount on /proc/fs here"
mkdir -p /proc/fs/fscache "$disk/fs" "$disk/map"
caches() { printf 'CACHE    REF   VOLS  OBJS  ACCES S NAME\n======== ===== ===== ===== ===== = ====\n%s\n' "$@" >/proc/fs/fscache/caches; }
caches
: >"$work/device"

# doctor [DIR [LINE…]]: its findings in $work/said, its exit status in $status
device=$work/device
doctor() {
	local at=${1:-$disk}
	shift
	printf '%s\n' "dir $at" "tag my cache" "$@" >"$conf"
	CACHEFILESD_DEVICE=$device ${WRAP:-} "$BUILD/bin/cachefilesctl" -f "$conf" --json doctor >"$work/said" 2>&1
	status=$?
	cp "$work/said" "$out"
}
# finds LEVEL WHAT TEXT: one finding like that (TEXT: a regular expression)
finds() {
	jq -s -e --arg l "$1" --arg w "$2" --arg t "$3" \
		'map(select(.level == $l and .what == $w and (.text | test($t)))) | length == 1' "$work/said" >/dev/null &&
		case $1 in
		warning | error) [ "$status" = 1 ] ;;
		esac
}
calm() { [ "$status" = 0 ] && jq -s -e 'map(select(.level == "warning" or .level == "error")) == []' "$work/said" >/dev/null; }

doctor
calm
ok "all is well: no warning, exit 0"
finds ok limits "are free, bcull is" && finds ok bind "nothing stands" && finds ok kernel "^[5-9]"
ok "limits, bind and kernel version are looked at"
! grep -q 'shares its file system' "$work/said"
ok "a file system of its own"
CACHEFILESD_DEVICE=$device "$BUILD/bin/cachefilesctl" -f "$conf" doctor >"$work/said" && grep -Eq '^ok +bind: nothing' "$work/said"
ok "as text"
mkdir "$disk/below"
doctor "$disk/below"
calm && finds note dir "shares its file system"
ok "a file system shared with others: a note"
doctor "$disk/none"
finds error dir "errno 2 .*make it, mode 0700"
ok "no such directory"

# the kernel, its module, the device
WRAP='setarch --uname-2.6' doctor
finds warning kernel "is older than 5.17: files stay pinned"
ok "a kernel before 5.17"
device=$work/none doctor
finds error device "is not there: modprobe cachefiles"
ok "no device: the module is absent"
doctor
finds note device "is not held by anybody"
ok "nobody holds the device"
sleep 100 9<>"$work/device" &
sleeper=$!
holds() { [ -e "/proc/$sleeper/fd/9" ] && [ "$(cat "/proc/$sleeper/comm")" = sleep ]; }
within 5 holds
doctor
finds ok device "held by sleep \(pid $sleeper\)"
ok "who holds the device"
kill "$sleeper"
wait "$sleeper" 2>/dev/null
doctor
finds note kernel 'no cache with the tag "my cache" is bound'
ok "no cache is bound"
caches '00000001     1     0     0     1 A my' '00000002     1     0     0     1 A my cache'
doctor
calm && finds ok kernel '"my cache" is in state A'
ok "a cache is bound"
caches '00000002     1     0     0     1 E my cache'
doctor
finds error kernel '"my cache" is dead after an input/output error'
ok "a dead cache"
caches '00000002     1     0     0     1 W my cache'
doctor
finds warning kernel '"my cache" is in state W'
ok "a cache that is being withdrawn"
rm /proc/fs/fscache/caches
doctor
finds note kernel "are not loaded"
ok "the modules are not loaded"
caches
doctor "$disk" nokernel
calm && finds note kernel "says nokernel" && ! grep -Eq '"(bind|device)"' "$work/said"
ok "nokernel: nothing is asked of the kernel"

# mount options and file systems
mount -o remount,noatime "$disk"
doctor
finds warning bind "mounted noatime.*strictatime"
ok "noatime"
mount -o remount,atime,relatime "$disk"
doctor
finds warning bind "mounted relatime.*strictatime"
ok "relatime"
mount -o remount,atime,strictatime "$disk"
mount -t tmpfs none "$disk/fs"
doctor "$disk/fs"
finds error bind "lies on tmpfs"
ok "an unsupported file system"
umount "$disk/fs"
mount -t devpts -o newinstance none "$disk/fs"
doctor "$disk/fs"
finds error bind "no user extended attributes"
ok "no extended attributes"
umount "$disk/fs"
if why=$("$(dirname "$0")/idmapped.py" "$disk" "$disk/map"); then
	doctor "$disk/map"
	finds error bind "idmapped mount"
	ok "an idmapped mount"
	umount "$disk/map"
else
	ok "an idmapped mount # SKIP $why"
fi
mount --bind "$disk" "$disk/fs"
mount -o remount,bind,ro "$disk/fs"
doctor "$disk/fs"
finds error bind "mounted read-only"
ok "read-only"
umount "$disk/fs"
ln -s "$disk" "$work/link"
doctor "$work/link"
finds error bind "symbolic link"
ok "a symbolic link"
mkdir "$disk/cache" && touch "$disk"/cache/letter{1..5}
doctor
finds error bind "is this the right directory"
ok "a directory of somebody else's"
rm -r "$disk/cache"
if [ ! -e /sys/fs/selinux/enforce ]; then
	doctor "$disk" "secctx system_u:system_r:cachefiles_kernel_t:s0"
	finds warning bind "secctx is skipped"
	ok "secctx where SELinux is not active"
fi

# limits
doctor "$disk" "bcull 2%"
calm && finds note limits "1% apart"
ok "cull and stop next to each other: a note"
mkdir -p "$disk/cache/Iv/@00" "$disk/graveyard"
head -c 20M /dev/zero >"$disk/cache/Iv/@00/D1"
head -c 10M /dev/zero >"$disk/others"
sync
doctor "$disk" "brun 75%" "bcull 70%"
finds warning limits "below bcull .*culling goes on" && ! grep -q never "$work/said"
ok "below bcull, and the cache is what has to go"
doctor "$disk" "brun 95%" "bcull 70%"
finds warning limits "brun can never be reached"
ok "brun that can never be reached"
doctor "$disk" "brun 95%" "bcull 90%" "bstop 85%"
finds error limits "below bstop .*nothing can be stored"
ok "below bstop"
for ((i = 0; i < 3000; i++)); do echo "$disk/cache/Iv/@00/E$i"; done | xargs touch
doctor "$disk" "frun 96%" "fcull 90%"
finds warning limits "inodes are free, below fcull" && ! grep -q never "$work/said"
ok "below fcull"
mkdir "$disk/more"
for ((i = 0; i < 1000; i++)); do echo "$disk/more/$i"; done | xargs touch
doctor "$disk" "frun 96%" "fcull 90%"
finds warning limits "frun can never be reached"
ok "frun that can never be reached"
truncate -s 128M "$work/btrfs"
if mkfs.btrfs -q -f "$work/btrfs" >/dev/null 2>&1 && mount -o loop,strictatime "$work/btrfs" "$disk/fs" 2>/dev/null; then
	doctor "$disk/fs"
	calm && finds note limits "no fixed number of inodes"
	ok "no inodes to count: a note"
	umount "$disk/fs"
fi

# the store
doctor
finds note store "is off"
ok "the store is off"
doctor "$disk" store
finds note store "made when the daemon starts" && finds ok "file system" "what the piece store needs"
ok "the store is to be made"
mkdir "$disk/pieces"
doctor "$disk" store
finds error store .
ok "pieces/ that is no store"
finish
