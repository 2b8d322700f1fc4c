"""Which proxies run which scenarios in which order."""

import argparse
import json
import shutil
import sys
import time
from pathlib import Path

from . import measure, proxies, report, scenarios
from .scale import Scale
from .tools import Backend

ROOT = Path(__file__).resolve().parents[2]

PEERS = {kind.name: kind for kind in (proxies.Nginx, proxies.NginxTuned, proxies.Haproxy, proxies.HaproxyTuned,
                                      proxies.HaproxySplice, proxies.Caddy)}
SCENARIOS = [*scenarios.CPU, "idle"]

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


def line_up(options: argparse.Namespace, folder: Path) -> list[proxies.Proxy]:
    """Hawser last in odd rounds, first in even ones."""
    logs, found = not options.no_logs, []
    for name in chosen(options.peers, PEERS):
        if shutil.which(name.partition("-")[0]):
            found.append(PEERS[name](folder, FIRST_PORT + len(found), logs))
        else:
            print(f"compare.py: {name.partition('-')[0]} is not installed: without {name}", file=sys.stderr)
    for spec in options.hawser or [str(ROOT / "target/release/hawser")]:
        found.append(proxies.Hawser(folder, FIRST_PORT + len(found), logs, spec))
    return found


def run(options: argparse.Namespace, scale: Scale, folder: Path) -> int:
    bench = scenarios.Bench(options.tool.resolve(), scale)
    all_proxies = line_up(options, folder)
    names = chosen(options.scenarios, SCENARIOS)
    versions = {proxy.name: proxy.version() for proxy in all_proxies}
    figures: dict[str, dict[str, list[dict]]] = {}
    backend, start = Backend(bench.tool), time.monotonic()
    report.head(versions, scale, not options.no_logs)
    cpu = [name for name in names if name in scenarios.CPU]
    if cpu:
        for proxy in all_proxies:
            proxy.start()
        for name in cpu:
            figures[name] = interleaved(bench, scenarios.CPU[name], all_proxies)
            report.cpu(scenarios.CPU[name], figures[name])
        for proxy in all_proxies:
            proxy.stop()
    steady = [proxy for proxy in all_proxies if not proxy.only_streams]
    if "idle" in names:
        figures["idle"] = idle(bench, steady)
        report.idle(figures["idle"], scale)
    backend.stop()
    print(f"\nTook {time.monotonic() - start:.0f} s.")
    if options.json:
        options.json.write_text(json.dumps({"versions": versions, "figures": figures}, indent=1))
    return 0


def interleaved(bench: scenarios.Bench, scenario: scenarios.Cpu, all_proxies) -> dict[str, list[dict]]:
    """A B C, C B A, A B C …: whatever else the machine does hits neighbours alike."""
    order = [proxy for proxy in all_proxies if scenario.streams or not proxy.only_streams]
    found: dict[str, list[dict]] = {proxy.name: [] for proxy in order}
    for _ in range(bench.scale.rounds):
        for proxy in order:
            found[proxy.name].append(scenario.run(bench, proxy))
            proxy.empty_log()
        order.reverse()
    return found


def idle(bench: scenarios.Bench, steady) -> dict[str, list[dict]]:
    """All wait together for what they give back."""
    running = [scenarios.Idle(bench, proxy) for proxy in steady]
    figures = {one.proxy.name: [one.run()] for one in running}
    for one in running:
        figures[one.proxy.name][0] |= one.finish()
    return figures
