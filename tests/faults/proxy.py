#!/usr/bin/env python3
"""A TCP proxy that can be cut: between capn and a server, for tests/faults.sh.

    proxy.py LISTEN_PORT TARGET_PORT COUNTS

SIGUSR1 breaks every connection and refuses new ones, SIGUSR2 lets them through again. COUNTS is a
file that is written on SIGHUP: connections since the start, what came from the client in pieces
and bytes, the largest of these pieces since the last SIGHUP.
"""

import asyncio
import os
import signal
import sys

LISTEN, TARGET, COUNTS = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]


class Proxy:
    """Both sides of all connections, and what went through them."""

    def __init__(self):
        self.writers = set()
        self.server = None
        self.connections = self.pieces = self.bytes = self.largest = 0

    async def listen(self):
        self.server = await asyncio.start_server(self.connected, "127.0.0.1", LISTEN)

    async def connected(self, reader, writer):
        self.connections += 1
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", TARGET)
        except OSError:
            writer.close()
            return
        both = {writer, far_writer}
        self.writers |= both
        await asyncio.gather(
            self.pump(reader, far_writer, True), self.pump(far_reader, writer, False)
        )
        self.writers -= both

    async def pump(self, reader, writer, counted):
        try:
            while piece := await reader.read(1 << 16):
                if counted:
                    self.pieces += 1
                    self.bytes += len(piece)
                    self.largest = max(self.largest, len(piece))
                writer.write(piece)
                await writer.drain()
        except OSError:
            pass
        writer.close()

    def cut(self):
        self.server.close()
        for writer in self.writers:
            writer.transport.abort()

    def count(self):
        with open(COUNTS + ".new", "w", encoding="ascii") as file:
            print(self.connections, self.pieces, self.bytes, self.largest, file=file)
        os.rename(COUNTS + ".new", COUNTS)
        self.largest = 0


async def main():
    proxy = Proxy()
    await proxy.listen()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, proxy.cut)
    loop.add_signal_handler(signal.SIGUSR2, lambda: asyncio.ensure_future(proxy.listen()))
    loop.add_signal_handler(signal.SIGHUP, proxy.count)
    await asyncio.Event().wait()


asyncio.run(main())
