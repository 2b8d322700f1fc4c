"""The load tool and the backend."""

import json
import select
import subprocess
from pathlib import Path

from . import measure

HOST = "bench.test"
ADDRESS = "127.0.0.1"
BACKEND_PORT = 7000

# Longer than any command; then something hangs.
PATIENCE = 120


class Backend:
    def __init__(self, tool: Path):
        self.process = subprocess.Popen([tool, "backend", f"{ADDRESS}:{BACKEND_PORT}"])
        measure.wait_for(lambda: is_listening(BACKEND_PORT), 10, "the backend listens")

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


def is_listening(port: int) -> bool:
    wanted = f"{int.from_bytes(bytes(map(int, ADDRESS.split('.'))), 'little'):08X}:{port:04X}"
    with open("/proc/net/tcp", encoding="ascii") as file:
        return any(line.split()[1:4:2] == [wanted, "0A"] for line in file)


class Load:
    """One process of the load tool; its connections end with it."""

    def __init__(self, tool: Path, port: int):
        self.process = subprocess.Popen([tool, "load", f"{ADDRESS}:{port}", HOST], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> "Load":
        return self

    def __exit__(self, *_) -> None:
        self.process.kill()
        self.process.wait()

    def ask(self, command: str, may_fail: bool = False) -> dict:
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        ready, _, _ = select.select([self.process.stdout], [], [], PATIENCE)
        line = self.process.stdout.readline() if ready else ""
        if not line:
            raise RuntimeError(f"the load tool has no answer to `{command}`")
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(f"`{command}`: {answer['error']}")
        if answer["failed"] and not may_fail:
            raise RuntimeError(f"`{command}`: {answer['failed']} failed: {answer['first_error']}")
        return answer
