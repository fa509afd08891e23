#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# timeout: 900
# the memory of the daemons during a transfer of 5 GiB
TRAVEL_MEMORY=5G exec bats "$TOP/tests/bats/34-travel-memory.bats"
