"""A client with the `websockets` library. Usage: websockets_client.py URL SCENARIO..."""

import asyncio
import os
import time

from common import LARGE, PACE, expect, run_client, say
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.frames import Opcode


async def text(url):
    async with connect(url) as ws:
        await ws.send("grüße")
        expect("echo", await ws.recv(), "grüße")


async def binary(url):
    async with connect(url) as ws:
        for size in (0, 1, 125, 126, 65535, 65536):
            data = os.urandom(size)
            await ws.send(data)
            expect(f"echo of {size} bytes", await ws.recv(), data)


async def fragmented(url):
    async with connect(url) as ws:
        await ws.send(["one ", "two ", "three"])
        expect("echo", await ws.recv(), "one two three")
        await ws.send("fragments abc")
        expect("fragments of the server", await ws.recv(), "abc")


async def large(url):
    async with connect(url, max_size=None) as ws:
        await ws.send(LARGE)
        expect("echo", await ws.recv(), LARGE)


async def ping(url):
    async with connect(url) as ws:
        await (await ws.ping(b"payload"))
        await ws.send("ping")
        expect("answer", await ws.recv(), "pong")


async def client_close(url):
    async with connect(url) as ws:
        await ws.send("hello")
        await ws.recv()
        await ws.close(4001, "going home")
        assert ws.protocol.close_rcvd is not None, "the server did not answer the Close"


async def server_close(url):
    async with connect(url) as ws:
        await ws.send("close 4002 because I said so")
        try:
            await ws.recv()
        except ConnectionClosed as closed:
            expect("Close", (closed.rcvd.code, closed.rcvd.reason), (4002, "because I said so"))
            return
        raise AssertionError("a message instead of a Close")


async def subprotocol(url):
    async with connect(url, subprotocols=["chat.v9", "chat.v1"]) as ws:
        expect("subprotocol", ws.subprotocol, "chat.v1")
        await ws.send("protocol")
        expect("subprotocol of the server", await ws.recv(), "chat.v1")


async def deflate(url):
    async with connect(url, compression="deflate", max_size=None) as ws:
        names = [extension.name for extension in ws.protocol.extensions]
        expect("extensions", names, ["permessage-deflate"])
        await ws.send("extensions")
        expect("extensions of the server", await ws.recv(), "permessage-deflate")
        await ws.send(LARGE)
        expect("echo", await ws.recv(), LARGE)


async def no_deflate(url):
    async with connect(url, compression=None) as ws:
        expect("extensions", ws.protocol.extensions, [])
        await ws.send("extensions")
        expect("extensions of the server", await ws.recv(), "none")


class Watched(ClientConnection):
    """Notes the control frames that arrive; the library answers pings by itself."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.pings, self.pongs, self.second = [], [], asyncio.Event()

    def process_event(self, event):
        if getattr(event, "opcode", None) is Opcode.PING:
            self.pings.append(bytes(event.data))
            if len(self.pings) == 2:
                self.second.set()
        elif getattr(event, "opcode", None) is Opcode.PONG:
            self.pongs.append(bytes(event.data))
        super().process_event(event)


async def pinged(url):
    async with connect(url, create_connection=Watched) as ws:
        await ws.second.wait()
        expect("pongs before a ping", ws.pongs, [])
        await (await ws.ping(b"payload"))
        await ws.send("ping")
        expect("answer", await ws.recv(), "pong")
        await ws.send("last")
        expect("nothing in between", await ws.recv(), "last")
        expect("pongs", ws.pongs, [b"payload"])
        ours = [len(data) for data in ws.pings if data != b"server"]
        expect("pings of the proxy", ours, [8] * len(ours))


async def ended(ws):
    """Waits for the end and says how the other side closed."""
    try:
        while True:
            await ws.recv()
    except ConnectionClosed as closed:
        say(f"ended {closed.rcvd.code} {closed.rcvd.reason}" if closed.rcvd else "ended without a Close")


async def echo(ws, message):
    await ws.send(message)
    expect("echo", await ws.recv(), message)


async def quiet(url):
    async with connect(url) as ws:
        for number in range(3):
            await echo(ws, f"message {number} " * 50)
        await ended(ws)


async def busy(url):
    async with connect(url) as ws:
        try:
            while True:
                for number in range(3):
                    await ws.send(f"message {number} " * 50)
                for number in range(3):
                    expect("echo", await ws.recv(), f"message {number} " * 50)
                await asyncio.sleep(PACE)
        except ConnectionClosed:
            await ended(ws)


async def big(url):
    async with connect(url, max_size=None) as ws:
        # Far over the limit, but not on the wire.
        await echo(ws, LARGE)
        await ws.send(os.urandom(100_000))
        await ended(ws)


async def rude(url):
    async with connect(url) as ws:
        await echo(ws, "hello")
        # Opcode 11 has no meaning.
        ws.transport.write(b"\x8b\x80\0\0\0\0")
        await ended(ws)


async def slow(url):
    async with connect(url, compression=None, max_size=None) as ws:
        start = time.monotonic()
        await echo(ws, LARGE)
        took = time.monotonic() - start
        assert took > 0.9, f"two seconds' share took {took} s"


run_client(
    {
        "text": text,
        "binary": binary,
        "fragmented": fragmented,
        "large": large,
        "ping": ping,
        "client-close": client_close,
        "server-close": server_close,
        "subprotocol": subprotocol,
        "deflate": deflate,
        "no-deflate": no_deflate,
        "pinged": pinged,
        "quiet": quiet,
        "busy": busy,
        "big": big,
        "rude": rude,
        "slow": slow,
    }
)
