"""Tables in Markdown on standard output."""

import datetime
import platform
from statistics import median

from . import measure

REFERENCES = ("nginx", "nginx-64k", "haproxy", "haproxy-splice", "haproxy-splice-all")


def head(versions: dict[str, str], scale, logs: bool, smoke: bool) -> None:
    if smoke:
        print("Smoke run: do the scenarios work? The figures mean nothing.")
    print(f"{datetime.date.today()}, Linux {platform.release()}, load average {measure.load_average():.1f}, "
          f"access logs {'on' if logs else 'off'}, {scale.rounds} rounds of {scale.seconds} s")
    print(", ".join(f"{name} {version}" for name, version in versions.items()), flush=True)


def table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    print(f"\n### {title}\n\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for row in rows:
        print(f"| {' | '.join(row)} |")
    print(end="", flush=True)


def ratios(runs: dict[str, list[dict]], name: str, reference: str) -> list[float]:
    """To the run of the reference in the same round."""
    if reference not in runs or name not in runs:
        return []
    return [ours["cpu_us"] / theirs["cpu_us"] for ours, theirs in zip(runs[name], runs[reference])]


def cpu(scenario, runs: dict[str, list[dict]]) -> None:
    references = [name for name in REFERENCES if name in runs]
    if not references:
        # Two builds of Hawser with each other.
        references = [next(iter(runs))] if len(runs) > 1 else []
    times_of_a_unit = [] if scenario.streams else ["p50_us", "p99_us"]
    rows = []
    for name, rounds in runs.items():
        times = [one["cpu_us"] for one in rounds]
        row = [name, f"{median(times):.2f}", f"{min(times):.2f}"]
        row += [f"{median(ratios(runs, name, reference)):.2f}" for reference in references]
        row += [f"{median(one['rate'] for one in rounds):,.0f}"]
        row += [f"{median(one[key] for one in rounds):,.0f}" for key in times_of_a_unit]
        rows.append(row)
    load = max(one["load"] for rounds in runs.values() for one in rounds)
    table(f"{scenario.title}: CPU of the proxy in µs per {scenario.unit} (load average up to {load:.1f})",
          ["Proxy", "median", "minimum", *(f"to {name}" for name in references), f"{scenario.unit}s/s",
           *(name.replace("_us", " µs") for name in times_of_a_unit)], rows)


def idle(runs: dict[str, list[dict]], scale) -> None:
    rows = []
    for name, (one,) in runs.items():
        rows.append([name, f"{one['base_kib'] / 1024:.1f}", *(f"{one[key]:.2f}" for key in
                     ("open_kib", "echo_kib", "burst_kib")), f"{one['idle_ms_per_s']:.2f}",
                     f"{one['left_kib'] / 1024:.1f}", f"{one['base_rss_kib'] / 1024:.1f}",
                     f"{one['left_rss_kib'] / 1024:.1f}"])
    table(f"{scale.tunnels:,} idle tunnels, fresh process; anonymous memory",
          ["Proxy", "base, MiB", "KiB/tunnel, open", "after 125 B", "after 16 KiB", "idle CPU, ms/s",
           f"{scale.settle_seconds:.0f} s after closing all, MiB", "RSS base, MiB", "RSS after, MiB"], rows)


def syscalls(runs: dict[str, list[dict]], scale) -> None:
    kinds = ("receive", "send", "wait", "other", "failed")
    rows = [[name, size, *(f"{counts[kind]:.3f}" for kind in kinds)]
            for name, (one,) in runs.items() for size, counts in one.items()]
    table(f"System calls for each message and direction, echo with {scale.connections} connections, by strace",
          ["Proxy", "bytes", *kinds[:-1], "of all, failed (EAGAIN)"], rows)


def stalled(runs: dict[str, list[dict]], scale) -> None:
    early, late = f"{scale.stall_seconds / 5:.0f} s", f"{scale.stall_seconds:.0f} s"
    keys = ("user_early_kib", "kernel_early_kib", "user_late_kib", "kernel_late_kib")
    rows = [[name, *(f"{one[key]:,.0f}" for key in keys)] for name, (one,) in runs.items()]
    table(f"{scale.stalled} clients that do not read while the backend sends: KiB per tunnel, after {early} and {late}",
          ["Proxy", f"user, {early}", f"kernel (own sockets), {early}", f"user, {late}", f"kernel, {late}"], rows)


def change(runs: dict[str, list[dict]], scale) -> None:
    rows = []
    for name, (one,) in runs.items():
        growth = one["after_rss_kib"] / one["before_rss_kib"] - 1
        rows.append([name, f"{one['changes']:,}", f"{one['closed']:,}", f"{one['before_rss_kib'] / 1024:.1f}",
                     f"{one['after_rss_kib'] / 1024:.1f}", f"{100 * growth:+.1f} %", f"{one['ms_per_change']:.1f}",
                     f"{one['cpu_ms_per_change']:.1f}" if one["cpu_ms_per_change"] else ""])
    table(f"Routes that change while {scale.live_tunnels:,} tunnels are open",
          ["Proxy", "changes", "tunnels closed", "RSS before, MiB", "after, MiB", "growth", "ms until live",
           "CPU ms per change"], rows)
