#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""same_crc32.py FILE OUT - write OUT: other bytes, the same length and the same CRC-32 as FILE.

The last four bytes are solved for: CRC-32 is linear, so its table can be walked backwards.
"""
import random
import sys
import zlib

TABLE = []
for n in range(256):
    c = n
    for _ in range(8):
        c = c >> 1 ^ (0xEDB88320 if c & 1 else 0)
    TABLE.append(c)
BY_TOP_BYTE = {c >> 24: i for i, c in enumerate(TABLE)}


def last_four(crc_before, crc_wanted):
    state = crc_wanted ^ 0xFFFFFFFF
    indexes = []
    for _ in range(4):
        i = BY_TOP_BYTE[state >> 24]
        indexes.append(i)
        state = (state ^ TABLE[i]) << 8 & 0xFFFFFFFF
    state = crc_before ^ 0xFFFFFFFF
    out = bytearray()
    for i in reversed(indexes):
        out.append((state ^ i) & 0xFF)
        state = state >> 8 ^ TABLE[i]
    return bytes(out)


def main():
    data = open(sys.argv[1], "rb").read()
    other = random.Random(len(data)).randbytes(len(data) - 4)
    other += last_four(zlib.crc32(other), zlib.crc32(data))
    assert zlib.crc32(other) == zlib.crc32(data) and other != data
    open(sys.argv[2], "wb").write(other)


main()
