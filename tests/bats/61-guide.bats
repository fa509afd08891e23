#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# timeout: 300
# docs/operations.md: its commands are executed, on two hosts made of namespaces with the installed
# files (those for the kernel's cache in the guest: tests/vm/scenarios/guide.sh), or say why not

bats_require_minimum_version 1.5.0

@test "every block of commands is run somewhere or says why not" {
	cd "$TOP"
	python3 tests/lib/guide.py check docs/operations.md
	# a block without a word about that is found
	printf '```sh\ntrue\n```\n' >"$BATS_TEST_TMPDIR/bad.md"
	run -1 python3 tests/lib/guide.py check "$BATS_TEST_TMPDIR/bad.md"
}

@test "links and files that the guide and the documents name are there" {
	cd "$TOP"
	local f link target bad=0
	for f in docs/operations.md README.md SECURITY.md selinux/README.md; do
		while read -r link; do
			target=${link%%#*}
			if [ -n "$target" ] && [ ! -e "$(dirname "$f")/$target" ]; then
				echo "$f: $link"
				bad=1
			fi
			case $link in
			'#'*)
				sed -n 's/^##* //p' "$f" | tr 'A-Z ' 'a-z-' | tr -cd 'a-z0-9\n-' |
					grep -qxF -- "${link#?}" || { echo "$f: $link"; bad=1; }
				;;
			esac
		done < <(grep -oE '\]\([^)]*\)' "$f" | sed 's/^](//; s/)$//' | grep -v '^http')
	done
	[ "$bad" = 0 ]
}

@test "the commands work" {
	[ "$(id -u)" = 0 ] || skip "needs root, for namespaces and mounts"
	unshare --mount --net --uts --ipc --pid --fork true 2>/dev/null || skip "namespaces are not allowed here"
	[ "$(stat -f -c %T "$BATS_TEST_TMPDIR")" != tmpfs ] || skip "needs a temporary directory on a disk"
	cd "$TOP"
	make -s install DESTDIR="$BATS_TEST_TMPDIR/stage" B="$BUILD" >/dev/null
	run python3 tests/lib/guide.py run docs/operations.md "$BATS_TEST_TMPDIR/stage" "$BATS_TEST_TMPDIR/hosts"
	echo "$output"
	[ "$status" = 0 ]
}
