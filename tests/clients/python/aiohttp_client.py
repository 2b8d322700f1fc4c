"""A client with aiohttp, WebSocket and HTTP. Usage: aiohttp_client.py URL SCENARIO...

It has no scenario `fragmented`: aiohttp cannot send fragments.
"""

import asyncio
import contextlib
import os
import time

from aiohttp import ClientConnectionResetError, ClientSession, WSMsgType
from common import LARGE, PACE, expect, run_client, say


@contextlib.asynccontextmanager
async def connect(url, **options):
    async with ClientSession() as session:
        async with session.ws_connect(url, max_msg_size=0, **options) as ws:
            yield ws


async def text(url):
    async with connect(url) as ws:
        await ws.send_str("grüße")
        expect("echo", await ws.receive_str(), "grüße")


async def binary(url):
    async with connect(url) as ws:
        for size in (0, 1, 125, 126, 65535, 65536):
            data = os.urandom(size)
            await ws.send_bytes(data)
            expect(f"echo of {size} bytes", await ws.receive_bytes(), data)


async def large(url):
    async with connect(url) as ws:
        await ws.send_str(LARGE)
        expect("echo", await ws.receive_str(), LARGE)
        await ws.send_str("fragments abc")
        expect("fragments of the server", await ws.receive_str(), "abc")


async def ping(url):
    async with connect(url, autoping=False) as ws:
        await ws.ping(b"payload")
        pong = await ws.receive()
        expect("Pong", (pong.type, bytes(pong.data)), (WSMsgType.PONG, b"payload"))
        await ws.send_str("ping")
        message = await ws.receive()
        expect("Ping", (message.type, bytes(message.data)), (WSMsgType.PING, b"server"))
        await ws.pong(message.data)
        expect("answer", await ws.receive_str(), "pong")


async def client_close(url):
    async with connect(url) as ws:
        await ws.send_str("hello")
        await ws.receive()
        assert await ws.close(code=4001, message=b"going home")
        # 1006 would say that the server never answered.
        assert ws.close_code != 1006, "the server did not answer the Close"


async def server_close(url):
    async with connect(url) as ws:
        await ws.send_str("close 4002 because I said so")
        close = await ws.receive()
        expect("message", close.type, WSMsgType.CLOSE)
        expect("Close", (close.data, close.extra), (4002, "because I said so"))


async def subprotocol(url):
    async with connect(url, protocols=["chat.v9", "chat.v1"]) as ws:
        expect("subprotocol", ws.protocol, "chat.v1")
        await ws.send_str("protocol")
        expect("subprotocol of the server", await ws.receive_str(), "chat.v1")


async def deflate(url):
    async with connect(url, compress=15) as ws:
        assert ws.compress, "permessage-deflate was not accepted"
        await ws.send_str("extensions")
        expect("extensions of the server", await ws.receive_str(), "permessage-deflate")
        await ws.send_str(LARGE)
        expect("echo", await ws.receive_str(), LARGE)


async def no_deflate(url):
    async with connect(url, compress=0) as ws:
        expect("compression", ws.compress, 0)
        await ws.send_str("extensions")
        expect("extensions of the server", await ws.receive_str(), "none")


async def pinged(url):
    """Answers pings by hand, so that it sees every control frame."""
    async with connect(url, autoping=False) as ws:

        async def next_but_pings():
            while (message := await ws.receive()).type == WSMsgType.PING:
                if message.data != b"server":
                    expect("ping of the proxy", len(message.data), 8)
                await ws.pong(message.data)
            return message.type, bytes(message.data) if message.type == WSMsgType.PONG else message.data

        for _ in range(2):
            ping = await ws.receive()
            expect("message", (ping.type, len(ping.data)), (WSMsgType.PING, 8))
            await ws.pong(ping.data)
        await ws.ping(b"payload")
        expect("Pong", await next_but_pings(), (WSMsgType.PONG, b"payload"))
        await ws.send_str("ping")
        expect("answer", await next_but_pings(), (WSMsgType.TEXT, "pong"))
        await ws.send_str("last")
        expect("nothing in between", await next_but_pings(), (WSMsgType.TEXT, "last"))


async def ended(ws):
    """Waits for the end and says how the other side closed."""
    while (message := await ws.receive()).type in (WSMsgType.TEXT, WSMsgType.BINARY):
        pass
    if message.type == WSMsgType.CLOSE:
        say(f"ended {message.data} {message.extra}")
    else:
        say("ended without a Close")


async def quiet(url):
    async with connect(url, compress=15) as ws:
        for number in range(3):
            await ws.send_str(f"message {number} " * 50)
            expect("echo", await ws.receive_str(), f"message {number} " * 50)
        await ended(ws)


async def busy(url):
    async with connect(url, compress=15) as ws:
        while True:
            try:
                for number in range(3):
                    await ws.send_str(f"message {number} " * 50)
            except ClientConnectionResetError:
                # The end came while it slept; the Close waits to be read.
                await ended(ws)
                return
            for number in range(3):
                message = await ws.receive()
                if message.type == WSMsgType.CLOSE:
                    say(f"ended {message.data} {message.extra}")
                    return
                expect("echo", message.data, f"message {number} " * 50)
            await asyncio.sleep(PACE)


async def big(url):
    async with connect(url, compress=15) as ws:
        # Far over the limit, but not on the wire.
        await ws.send_str(LARGE)
        expect("echo", await ws.receive_str(), LARGE)
        await ws.send_bytes(os.urandom(100_000))
        await ended(ws)


async def rude(url):
    async with connect(url, compress=15) as ws:
        await ws.send_str("hello")
        expect("echo", await ws.receive_str(), "hello")
        # Opcode 11 has no meaning.
        await ws.send_frame(b"", 11)
        await ended(ws)


async def slow(url):
    async with connect(url, compress=0) as ws:
        start = time.monotonic()
        await ws.send_str(LARGE)
        expect("echo", await ws.receive_str(), LARGE)
        took = time.monotonic() - start
        assert took > 0.9, f"two seconds' share took {took} s"


async def http_get(url):
    async with ClientSession(http_url(url)) as session:
        async with session.get("/hello", params={"name": "a b"}) as answer:
            expect("status", answer.status, 200)
            expect("body", await answer.text(), "hello a b")
        async with session.head("/hello") as answer:
            expect("status of HEAD", answer.status, 200)
            expect("body of HEAD", await answer.read(), b"")
        async with session.get("/nothing") as answer:
            expect("status of a miss", answer.status, 404)


async def http_post(url):
    async with ClientSession(http_url(url)) as session:
        body = LARGE.encode()
        async with session.post("/echo", data=body) as answer:
            expect("body", await answer.read(), body)
        async with session.post("/echo", data=b"") as answer:
            expect("empty body", await answer.read(), b"")
        # Answered before the body ends, where the server does not want it.
        async with session.post("/echo", data=body, expect100=True) as answer:
            expect("body after 100", await answer.read(), body)


async def http_stream_down(url):
    """The server sends the second part only when it heard that the first one arrived."""
    async with ClientSession(http_url(url)) as session:
        async with session.get("/down") as answer:
            expect("first part", await answer.content.readexactly(4), b"one\n")
            async with session.post("/go") as go:
                expect("status", go.status, 204)
            expect("second part", await answer.read(), b"two\n")


async def http_stream_up(url):
    """The client sends the second part only when it heard that the first one arrived."""
    async with ClientSession(http_url(url)) as session:

        async def parts():
            yield b"one\n"
            async with session.get("/seen") as seen:
                expect("seen", await seen.text(), "one\n")
            yield b"two\n"

        async with session.post("/up", data=parts()) as answer:
            expect("both parts", await answer.text(), "one\ntwo\n")


def http_url(url):
    return url.replace("ws://", "http://", 1).rsplit("/", 1)[0]


run_client(
    {
        "text": text,
        "binary": binary,
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
        "http-get": http_get,
        "http-post": http_post,
        "http-stream-down": http_stream_down,
        "http-stream-up": http_stream_up,
    }
)
