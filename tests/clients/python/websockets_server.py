"""An echo server with the `websockets` library."""

import asyncio

from common import say, until_stdin_ends
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed


async def handler(ws):
    try:
        async for message in ws:
            await answer(ws, message)
    except ConnectionClosed:
        pass
    await ws.wait_closed()
    if received := ws.protocol.close_rcvd:
        say(f"closed {received.code} {received.reason}")


async def answer(ws, message):
    word, _, rest = message.partition(" ") if isinstance(message, str) else ("", "", "")
    if word == "close":
        code, _, reason = rest.partition(" ")
        await ws.close(int(code), reason)
    elif word == "fragments":
        await ws.send(list(rest))
    elif word == "ping":
        await (await ws.ping(b"server"))
        await ws.send("pong")
    elif word == "protocol":
        await ws.send(ws.subprotocol or "none")
    elif word == "extensions":
        names = [extension.name for extension in ws.protocol.extensions]
        await ws.send(",".join(names) or "none")
    else:
        await ws.send(message)


def choose(_connection, offered):
    return "chat.v1" if "chat.v1" in offered else None


async def main():
    options = {"select_subprotocol": choose, "max_size": None}
    async with serve(handler, "127.0.0.1", 0, **options) as server:
        say(f"listening {server.sockets[0].getsockname()[1]}")
        await until_stdin_ends()


asyncio.run(main())
