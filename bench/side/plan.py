"""Which proxies run which scenarios in which order."""

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

from . import peers, report, scenarios, targets
from .hawser import Hawser
from .proxy import Proxy
from .scale import Scale
from .tools import Backend

ROOT = Path(__file__).resolve().parents[2]

PEERS = {kind.name: kind for kind in (peers.Nginx, peers.NginxTuned, peers.Haproxy, peers.HaproxyTuned,
                                      peers.HaproxySplice, peers.HaproxySpliceAll, peers.Caddy)}
# Scenarios of one proxy at a time, each with its table.
ALONE = {"syscalls": (scenarios.syscalls, report.syscalls), "stalled": (scenarios.stalled, report.stalled),
         "change": (scenarios.change, report.change)}

SCENARIOS = [*scenarios.CPU, "idle", *ALONE]

# Scenario, proxy, rounds.
Figures = dict[str, dict[str, list[dict]]]

# Proxies have ports from here, and Hawser and Caddy an admin port 1,000 above.
FIRST_PORT = 8000


def chosen(text: str, known) -> list[str]:
    if text in ("all", "none"):
        return list(known) if text == "all" else []
    names = text.split(",")
    for name in names:
        if name not in known:
            sys.exit(f"compare.py: `{name}` is none of: {', '.join(known)}")
    return names


def line_up(options: argparse.Namespace, folder: Path) -> list[Proxy]:
    """Hawser last in odd rounds, first in even ones."""
    logs, found = not options.no_logs, []
    for name in chosen(options.peers, PEERS):
        if shutil.which(name.partition("-")[0]):
            found.append(PEERS[name](folder, FIRST_PORT + len(found), logs))
        else:
            print(f"compare.py: {name.partition('-')[0]} is not installed: without {name}", file=sys.stderr)
    for spec in options.hawser or [str(ROOT / "target/release/hawser")]:
        found.append(Hawser(folder, FIRST_PORT + len(found), logs, spec))
    return found


class Plan:
    """One comparison. A proxy that fails in a scenario is out of its table, and the rest goes on."""

    def __init__(self, options: argparse.Namespace, scale: Scale, folder: Path):
        self.bench = scenarios.Bench(options.tool.resolve(), scale)
        self.proxies = line_up(options, folder)
        self.names = chosen(options.scenarios, SCENARIOS)
        if "syscalls" in self.names and not shutil.which("strace"):
            self.names.remove("syscalls")
            print("compare.py: strace is not installed: without syscalls", file=sys.stderr)
        self.json: Path | None = options.json
        self.versions = {proxy.name: proxy.version() for proxy in self.proxies}
        self.smoke: bool = options.smoke
        self.failures: list[str] = []
        self.figures: Figures = {}
        if self.json and self.json.exists():
            self.figures = json.loads(self.json.read_text())["figures"]
        report.head(self.versions, scale, not options.no_logs, options.smoke)

    def run(self) -> int:
        backend, start = Backend(self.bench.tool), time.monotonic()
        self.cpu([name for name in self.names if name in scenarios.CPU])
        steady = [proxy for proxy in self.proxies if not proxy.only_streams]
        if "idle" in self.names:
            self.idle(steady)
        for name, (run, show) in ALONE.items():
            if name in self.names:
                # One after the other: these figures do not depend on the machine's mood.
                done = {proxy.name: self.attempt(name, proxy, lambda: run(self.bench, proxy)) for proxy in steady}
                self.keep(name, {proxy: [one] for proxy, one in done.items() if one}, show)
        backend.stop()
        for proxy, (one,) in self.figures.get("change", {}).items():
            if proxy.startswith("hawser") and one["closed"]:
                self.failures.append(f"change: {proxy}: {one['closed']} tunnels were closed by changes of other routes")
        targets.report(self.figures, [proxy.name for proxy in self.proxies if isinstance(proxy, Hawser)],
                       judge=not self.smoke)
        for failure in self.failures:
            print(f"\nFAILED: {failure}")
        print(f"\nTook {time.monotonic() - start:.0f} s.")
        return 1 if self.failures else 0

    def attempt(self, scenario: str, proxy: Proxy, work):
        """The figures, or none when it failed: then the process goes, whatever its state."""
        try:
            return work()
        except (RuntimeError, TimeoutError, OSError, subprocess.SubprocessError) as error:
            self.failures.append(f"{scenario}: {proxy.name}: {error}")
            proxy.stop()
            return None

    def keep(self, name: str, found: dict[str, list[dict]], show) -> None:
        self.figures[name] = found
        if found:
            show(found, self.bench.scale)
        if self.json:
            self.json.write_text(json.dumps({"versions": self.versions, "figures": self.figures}, indent=1))

    def cpu(self, names: list[str]) -> None:
        for name in names:
            scenario = scenarios.CPU[name]
            found = self.interleaved(name, scenario)
            self.keep(name, found, lambda runs, _, scenario=scenario: report.cpu(scenario, runs))
        for proxy in self.proxies:
            proxy.stop()

    def interleaved(self, name: str, scenario: scenarios.Cpu) -> dict[str, list[dict]]:
        """A B C, C B A, A B C …: whatever else the machine does hits neighbours alike."""
        order = [proxy for proxy in self.proxies if scenario.streams or not proxy.only_streams]
        # Between scenarios they keep running: an idle process costs nothing.
        for proxy in order:
            self.attempt(name, proxy, proxy.start_once)
        order = [proxy for proxy in order if proxy.process]
        found: dict[str, list[dict]] = {proxy.name: [] for proxy in order}
        for _ in range(self.bench.scale.rounds):
            for proxy in list(order):
                one = self.attempt(name, proxy, lambda: scenario.run(self.bench, proxy))
                if one:
                    found[proxy.name].append(one)
                    proxy.empty_log()
                else:
                    # Its rounds would no longer be those of the others.
                    order.remove(proxy)
                    del found[proxy.name]
            order.reverse()
        return found

    def idle(self, steady: list[Proxy]) -> None:
        """All wait together for what they give back."""
        done = []
        for proxy in steady:
            one = scenarios.Idle(self.bench, proxy)
            figures = self.attempt("idle", proxy, one.run)
            if figures:
                done.append((one, figures))
        found = {}
        for one, figures in done:
            rest = self.attempt("idle", one.proxy, one.finish)
            if rest:
                found[one.proxy.name] = [figures | rest]
        self.keep("idle", found, report.idle)
