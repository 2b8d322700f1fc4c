"""What is done to a proxy, and what is read meanwhile. Each function measures one proxy once."""

import time
from dataclasses import dataclass
from pathlib import Path

from . import measure
from .proxies import Proxy
from .scale import Scale
from .tools import Load


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
            load.ask(f"open {scale.tunnels} /echo")
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
