"""A WebSocket echo server and an HTTP application with aiohttp."""

import asyncio

from aiohttp import WSMsgType, web
from common import say, until_stdin_ends

routes = web.RouteTableDef()
GO = web.AppKey("go", asyncio.Event)
SEEN = web.AppKey("seen", asyncio.Queue)


@routes.get("/ws")
async def websocket(request):
    ws = web.WebSocketResponse(protocols=["chat.v1"], max_msg_size=0, autoping=False)
    await ws.prepare(request)
    while True:
        message = await ws.receive()
        if message.type == WSMsgType.TEXT:
            await answer(ws, message.data)
        elif message.type == WSMsgType.BINARY:
            await ws.send_bytes(message.data)
        elif message.type == WSMsgType.PING:
            await ws.pong(message.data)
        elif message.type == WSMsgType.PONG:
            await ws.send_str("pong")
        elif message.type == WSMsgType.CLOSE:
            say(f"closed {message.data} {message.extra}")
            return ws
        else:
            return ws


async def answer(ws, message):
    word, _, rest = message.partition(" ")
    if word == "close":
        code, _, reason = rest.partition(" ")
        await ws.close(code=int(code), message=reason.encode())
    elif word == "fragments":
        await ws.send_str(rest)
    elif word == "ping":
        await ws.ping(b"server")
    elif word == "protocol":
        await ws.send_str(ws.ws_protocol or "none")
    elif word == "extensions":
        await ws.send_str("permessage-deflate" if ws.compress else "none")
    else:
        await ws.send_str(message)


@routes.get("/hello")
async def hello(request):
    return web.Response(text=f"hello {request.query.get('name', '')}")


@routes.post("/echo")
async def echo(request):
    return web.Response(body=await request.read())


@routes.get("/down")
async def down(request):
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b"one\n")
    go = request.app[GO]
    await go.wait()
    go.clear()
    await response.write(b"two\n")
    await response.write_eof()
    return response


@routes.post("/go")
async def go(request):
    request.app[GO].set()
    return web.Response(status=204)


@routes.post("/up")
async def up(request):
    first = await request.content.readline()
    await request.app[SEEN].put(first)
    return web.Response(body=first + await request.content.read())


@routes.get("/seen")
async def seen(request):
    return web.Response(body=await request.app[SEEN].get())


async def main():
    app = web.Application(client_max_size=16 * 1024 * 1024)
    app[GO] = asyncio.Event()
    app[SEEN] = asyncio.Queue()
    app.add_routes(routes)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    say(f"listening {runner.addresses[0][1]}")
    await until_stdin_ends()
    await runner.cleanup()


asyncio.run(main())
