#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# export.sh — an export to another file system beside cp --reflink=never of the same file, in turns
PATH=$BUILD/bin:$PATH exec bats "$TOP/tests/bench/export.bats"
