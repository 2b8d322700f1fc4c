"""A client with the `websockets` library. Usage: websockets_client.py URL SCENARIO..."""

import os

from common import LARGE, expect, run_client
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed


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
    }
)
