#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# vm_kernel.sh — one boot of the guest: our cachefilesd on the real cachefiles module of Debian's 6.1
# kernel (make check-vm runs all scenarios, KERNEL=6.12 too).
# timeout: 600
exec "$TOP/tests/vm/guest" run 6.1 kernel --bin "$BUILD/bin" --timeout 400
