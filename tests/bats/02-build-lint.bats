#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# lint: each rule finds its violation, with file and line, and nothing else

bats_require_minimum_version 1.5.0

setup()
{
	tree=$BATS_TEST_TMPDIR/tree
	mkdir -p "$tree"/{scripts,common,cachefilesd/api,cachefilesd/store,p2p/api,dfcache,man}
	cp "$TOP/scripts/lint" "$tree/scripts/"
	cp "$TOP/.clang-format" "$tree/"
	spdx='/* SPDX-License-Identifier: GPL-2.0-or-later */'
	for h in common/log cachefilesd/api/store cachefilesd/store/depot p2p/api/x; do
		printf '%s\n#include <stddef.h>\n' "$spdx" >"$tree/$h.h"
	done
	cd "$tree"
	git init -q .
}

c() # FILE LINES...
{
	local f=$1
	shift
	printf '%s\n' "$spdx" "$@" >"$f"
}

@test "a clean tree passes" {
	c common/a.c '#include "common/log.h"'
	run -0 scripts/lint includes headers words licence python
}

@test "an arrow that points back is a violation, with file and line" {
	c common/a.c '' '#include "p2p/api/x.h"'
	run -1 scripts/lint includes
	[[ "$output" == *'common/a.c:3: common must not include "p2p/api/x.h"'* ]]
}

@test "another program sees api/ only" {
	c p2p/a.c '#include "cachefilesd/api/store.h"' '#include "cachefilesd/store/depot.h"'
	run -1 scripts/lint includes
	[ "${#lines[@]}" = 1 ]
	[[ "$output" == *'p2p/a.c:3: p2p must not include "cachefilesd/store/depot.h"'* ]]
	c dfcache/a.c '#include "p2p/api/x.h"' '#include "cachefilesd/api/store.h"'
	run -1 scripts/lint includes
	[[ "$output" == *'dfcache/a.c:3: dfcache must not include'* ]]
}

@test "a file that only computes stays away from loop, log and descriptors" {
	c cachefilesd/lru.c '#include "common/log.h"'
	run -1 scripts/lint includes
	[[ "$output" == *'cachefilesd/lru.c:2: cachefilesd/lru only computes'* ]]
}

@test "includes are paths from the top" {
	c common/a.c '#include "log.h"'
	run -1 scripts/lint includes
	[[ "$output" == *'common/a.c:2: "log.h" is not a path from the top'* ]]
}

@test "a header that needs another one first is found" {
	c common/b.h 'size_t b(void);'
	run -1 scripts/lint headers
	[[ "$output" == *'common/b.h:1: the header does not stand alone'* ]]
}

@test "marks of unfinished work are found" {
	word=TO
	c common/a.c "/* ${word}DO: more */" '/* this is a st''ub */'
	run -1 scripts/lint words
	[ "${#lines[@]}" = 2 ]
	[[ "${lines[0]}" == 'common/a.c:2: '* ]]
}

@test "a file without a licence line is found" {
	printf 'int x;\n' >common/a.c
	run -1 scripts/lint licence
	[[ "$output" == *'common/a.c:1: no "SPDX-License-Identifier'* ]]
}

@test "shell scripts are checked, found by name or first line" {
	command -v shellcheck || skip "shellcheck is not installed"
	printf '#!/bin/sh\n# SPDX-License-Identifier: GPL-2.0-or-later\nrm $1\n' >scripts/x
	run -1 scripts/lint shell
	[[ "$output" == *'scripts/x:3:'*SC2086* ]]
}

@test "a manual with an error is found" {
	command -v mandoc || skip "mandoc is not installed"
	printf '.Dd November 1, 2026\n.Dt X 1\n.Os\n.Sh NAME\n.Nm x\n.Nd y\n.Bogus\n' >man/x.1
	run -1 scripts/lint manuals
	[[ "$output" == *'man/x.1:7:'* ]]
}

@test "an unknown check is refused" {
	run -2 scripts/lint nonsense
	[[ "$output" == *"unknown check 'nonsense'"* ]]
}
