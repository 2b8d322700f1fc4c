"""What is done to a proxy, and what is read meanwhile. Each function measures one proxy once."""

import re
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from . import measure
from .hawser import Hawser
from .proxy import Proxy
from .scale import Scale
from .tools import BACKEND_PORT, Load


@dataclass(frozen=True)
class Bench:
    tool: Path
    scale: Scale


@dataclass(frozen=True)
class Cpu:
    """Processor time of the proxy for each unit of work, in interleaved rounds."""

    title: str
    unit: str
    # Units of the load tool in one unit of the table.
    per: float
    path: str
    # {seconds} is replaced.
    command: str
    streams: bool = False

    def run(self, bench: Bench, proxy: Proxy) -> dict:
        scale = bench.scale
        with Load(bench.tool, proxy.port) as load:
            if self.path:
                load.ask(f"open {scale.streams if self.streams else scale.connections} {self.path}")
            command = self.command.format(seconds="{seconds}", connections=scale.connections, workers=scale.workers)
            # Buffers, pools and caches are as they are in the middle of the work.
            load.ask(command.format(seconds=scale.seconds / 5))
            before = proxy.cpu()
            did = load.ask(command.format(seconds=scale.seconds))
            spent = proxy.cpu() - before
            if self.path:
                load.ask("close")
        units = did["units"] / self.per
        return {"cpu_us": spent / 1000 / units, "rate": units / did["seconds"], "p50_us": did["p50_us"],
                "p99_us": did["p99_us"], "load": measure.load_average()}


MIB = 1024 * 1024

CPU = {
    "echo-125": Cpu("Echo, 125 B, 64 connections", "round trip", 1, "/echo", "echo 125 {seconds}"),
    "echo-1k": Cpu("Echo, 1 KiB, 64 connections", "round trip", 1, "/echo", "echo 1024 {seconds}"),
    "echo-16k": Cpu("Echo, 16 KiB, 64 connections", "round trip", 1, "/echo", "echo 16384 {seconds}"),
    "up": Cpu("Stream to the backend, 64 KiB messages, 4 connections", "MiB", MIB, "/sink",
              "up 65536 {seconds}", streams=True),
    "down": Cpu("Stream to the client, 64 KiB messages, 4 connections", "MiB", MIB, "/source",
                "down 65536 {seconds}", streams=True),
    "handshake": Cpu("Connect, handshake, closing handshake, 32 workers", "tunnel", 1, "",
                     "handshakes {workers} {seconds}"),
    "http": Cpu("Plain HTTP, keep-alive, 1 KiB body, 64 connections", "request", 1, "",
                "http {connections} {seconds} /body/1024"),
}


class Idle:
    """Memory and processor time of many idle tunnels, of a fresh process. `finish` comes later for all."""

    def __init__(self, bench: Bench, proxy: Proxy):
        self.bench, self.proxy = bench, proxy

    def run(self) -> dict:
        scale, proxy = self.bench.scale, self.proxy
        proxy.start()
        base = proxy.memory()
        figures = {"base_kib": base["RssAnon"], "base_rss_kib": base["VmRSS"]}

        def per_tunnel() -> float:
            return (self.settled() - base["RssAnon"]) / scale.tunnels

        with Load(self.bench.tool, proxy.port) as load:
            load.ask(f"open {scale.tunnels} {proxy.idle_path}")
            figures["open_kib"] = per_tunnel()
            load.ask("once 125")
            figures["echo_kib"] = per_tunnel()
            load.ask("once 16384")
            figures["burst_kib"] = per_tunnel()
            before, start = proxy.cpu(), time.monotonic()
            time.sleep(scale.idle_seconds)
            figures["idle_ms_per_s"] = (proxy.cpu() - before) / 1e6 / (time.monotonic() - start)
            load.ask("close")
        self.closed = time.monotonic()
        return figures

    def settled(self) -> int:
        """RssAnon once it has stood still for a moment: log lines and the last frees are under way."""
        last = self.proxy.memory()["RssAnon"]
        for _ in range(20):
            time.sleep(0.1)
            now = self.proxy.memory()["RssAnon"]
            if now == last:
                break
            last = now
        return last

    def finish(self) -> dict:
        time.sleep(max(0.0, self.closed + self.bench.scale.settle_seconds - time.monotonic()))
        left = self.proxy.memory()
        self.proxy.stop()
        return {"left_kib": left["RssAnon"], "left_rss_kib": left["VmRSS"]}


RECEIVE = {"recvfrom", "recvmsg", "read", "readv", "recvmmsg"}
SEND = {"sendto", "sendmsg", "write", "writev", "sendmmsg"}


def syscalls(bench: Bench, proxy: Proxy) -> dict:
    """System calls for each message and direction, counted by strace: exact on the noisiest machine."""
    proxy.start()
    figures = {}
    with Load(bench.tool, proxy.port) as load:
        load.ask(f"open {bench.scale.connections} /echo")
        for size in (125, 16384):
            load.ask("once 16384")
            counts, units = traced(proxy, lambda: load.ask(f"echo {size} {bench.scale.seconds}")["units"])
            figures[str(size)] = {name: count / units / 2 for name, count in counts.items()}
        load.ask("close")
    proxy.stop()
    return figures


def traced(proxy: Proxy, work) -> tuple[dict[str, int], int]:
    """System calls by kind while `work` is done, and how many units that were."""
    pids = measure.tree(proxy.process.pid)
    strace = subprocess.Popen(["strace", "-c", "-f", *(word for pid in pids for word in ("-p", str(pid)))],
                              stderr=subprocess.PIPE, text=True)
    try:
        measure.wait_for(lambda: all(map(is_traced, pids)), 10, "strace is attached")
        units = work()
        strace.send_signal(signal.SIGINT)
        report = strace.communicate(timeout=20)[1]
    finally:
        strace.kill()
    counts = {"receive": 0, "send": 0, "wait": 0, "other": 0, "failed": 0}
    # % time, seconds, µs per call, calls, errors if any, name
    for calls, errors, name in re.findall(r"^ *[\d.]+ +[\d.]+ +\d+ +(\d+) +(\d*) +(\w+)$", report, re.M):
        if name == "total":
            continue
        kind = "receive" if name in RECEIVE else "send" if name in SEND else "other"
        kind = "wait" if name.startswith(("epoll_wait", "epoll_pwait")) else kind
        counts[kind] += int(calls)
        counts["failed"] += int(errors or 0)
    if not counts["receive"] and not counts["other"]:
        raise RuntimeError(f"strace counted nothing: {report[-300:]}")
    return counts, units


def is_traced(pid: int) -> bool:
    """All threads: a call of one that is not attached yet would be missed."""
    statuses = Path(f"/proc/{pid}/task").glob("*/status")
    return all(not re.search(r"^TracerPid:\s+0$", status.read_text(), re.M) for status in statuses)


def stalled(bench: Bench, proxy: Proxy) -> dict:
    """Clients that stop reading while the backend sends: what the proxy holds for each of them."""
    scale = bench.scale
    proxy.start()
    base = proxy.memory()["RssAnon"]
    with Load(bench.tool, proxy.port) as load:
        load.ask(f"open {scale.stalled} /source")
        opened = proxy.memory()["RssAnon"]
        load.ask(f"stall 65536 {scale.stall_seconds * 10}")
        figures = {}
        start = time.monotonic()
        for name, seconds in (("early", scale.stall_seconds / 5), ("late", scale.stall_seconds)):
            time.sleep(max(0.0, start + seconds - time.monotonic()))
            kernel = measure.socket_kib(proxy.port, BACKEND_PORT, measure.tree(proxy.process.pid))
            figures[f"kernel_{name}_kib"] = kernel / scale.stalled
            figures[f"user_{name}_kib"] = (proxy.memory()["RssAnon"] - opened) / scale.stalled
        figures["tunnel_kib"] = (opened - base) / scale.stalled
        load.ask("reset")
    proxy.stop()
    return figures


def change(bench: Bench, proxy: Proxy) -> dict:
    """Routes come while tunnels are open. Hawser gets many changes; a reload of the others costs a process or all
    tunnels, so they get few."""
    scale = bench.scale
    count = scale.changes if isinstance(proxy, Hawser) else scale.reloads
    proxy.start()
    with Load(bench.tool, proxy.port) as load:
        load.ask(f"open {scale.live_tunnels} /echo")
        load.ask("once 125")
        before, spent = proxy.memory(), proxy.cpu()
        took = sum(proxy.change(number) for number in range(1, count + 1))
        time.sleep(0.5)
        after, spent = proxy.memory(), proxy.cpu() - spent
        alive = load.ask("alive", may_fail=True)["units"]
        alive = min(alive, load.ask("once 125", may_fail=True)["units"])
    proxy.stop()
    return {"changes": count, "closed": scale.live_tunnels - alive, "before_kib": before["RssAnon"],
            "after_kib": after["RssAnon"], "before_rss_kib": before["VmRSS"], "after_rss_kib": after["VmRSS"],
            "ms_per_change": took * 1000 / count,
            # A reload ends processes, and their time goes with them.
            "cpu_ms_per_change": spent / 1e6 / count if isinstance(proxy, Hawser) else None}
