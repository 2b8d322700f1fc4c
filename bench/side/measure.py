"""What the kernel knows about processes and sockets."""

import os
import re
import subprocess
import time
from pathlib import Path


def children() -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                # The name in parentheses may hold anything.
                parent = int(entry.joinpath("stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue  # It has ended meanwhile.
            found.setdefault(parent, []).append(int(entry.name))
    return found


def tree(pid: int) -> list[int]:
    """A process and all below it."""
    below = children()
    found = [pid]
    for one in found:
        found.extend(below.get(one, []))
    return found


def cpu_nanoseconds(pid: int) -> int:
    """Time on a processor of all threads of all processes of a tree, exact to the nanosecond."""
    total = 0
    for one in tree(pid):
        for task in Path(f"/proc/{one}/task").glob("*/schedstat"):
            try:
                total += int(task.read_text().split()[0])
            except (OSError, IndexError):
                continue
    return total


def memory_kib(pid: int) -> dict[str, int]:
    """RssAnon and VmRSS of a tree in KiB."""
    total = {"RssAnon": 0, "VmRSS": 0}
    for one in tree(pid):
        try:
            status = Path(f"/proc/{one}/status").read_text()
        except OSError:
            continue
        for name in total:
            found = re.search(rf"^{name}:\s+(\d+) kB", status, re.M)
            total[name] += int(found[1]) if found else 0
    return total


def socket_kib(port: int, backend_port: int, pids: list[int]) -> float:
    """Kernel memory of a proxy's own sockets in KiB: what waits in their queues, with its overhead."""
    lines = subprocess.run(["ss", "-HOtmnp", "state", "established"], check=True, capture_output=True, text=True).stdout
    total = 0
    for line in lines.splitlines():
        fields = line.split()
        if len(fields) < 4 or "skmem:" not in line:
            continue
        local, peer = fields[2], fields[3]
        # With clients on one side and the backend on the other; both in the same network.
        if not (local.endswith(f":{port}") or peer.endswith(f":{backend_port}")):
            continue
        owners = {int(pid) for pid in re.findall(r"pid=(\d+)", line)}
        if not owners & set(pids):
            continue
        memory = dict(re.findall(r"([a-z]+)(\d+)", line.partition("skmem:(")[2].partition(")")[0]))
        # Received, queued to send, reserved, and the backlog.
        total += sum(int(memory.get(name, 0)) for name in ("r", "w", "f", "bl"))
    return total / 1024


def load_average() -> float:
    return os.getloadavg()[0]


def wait_for(condition, seconds: float, what: str):
    """Asks until the answer is true."""
    end = time.monotonic() + seconds
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > end:
            raise TimeoutError(f"not within {seconds} s: {what}")
        time.sleep(0.01)
