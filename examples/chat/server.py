"""The application of this example: a page and its WebSocket, as two replicas that share one room.

    python3 -m venv venv && venv/bin/pip install websockets
    venv/bin/python examples/chat/server.py            # listens on 127.0.0.1:9001 and :9002
"""

import asyncio
import pathlib
import sys

from websockets.asyncio.server import broadcast, serve
from websockets.datastructures import Headers
from websockets.http11 import Response

PAGE = pathlib.Path(__file__).with_name("page.html").read_bytes()
room = set()


def page(_connection, request):
    """Answers plain requests; a handshake goes on to `talk`."""
    if "Upgrade" in request.headers:
        return None
    headers = Headers({"Content-Type": "text/html; charset=utf-8", "Content-Length": str(len(PAGE))})
    return Response(200, "OK", headers, PAGE)


async def talk(connection):
    """Passes every message to everybody."""
    room.add(connection)
    try:
        async for message in connection:
            broadcast(room, message)
    finally:
        room.discard(connection)


async def main(ports):
    replicas = [await serve(talk, "127.0.0.1", port, process_request=page) for port in ports]
    print("listening", *(it.sockets[0].getsockname()[1] for it in replicas), flush=True)
    await asyncio.Future()


try:
    asyncio.run(main([int(port) for port in sys.argv[1:]] or [9001, 9002]))
except KeyboardInterrupt:
    pass
