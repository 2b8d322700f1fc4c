"""What is demanded of Hawser, and whether it was measured."""

from dataclasses import dataclass
from statistics import median
from typing import Callable

from .report import ratios, table


@dataclass(frozen=True)
class Target:
    figure: str
    # At most.
    must: float
    # At most; none: the same.
    goal: float | None
    # None when what it needs was not run.
    measured: Callable[[dict, str], float | None]
    unit: str = ""


def cpu(*scenarios: str, to: str):
    """The worst of the medians of the ratios of a round."""
    def measured(figures: dict, hawser: str) -> float | None:
        found = [ratios(figures[name], hawser, to) for name in scenarios if name in figures]
        return max((median(one) for one in found if one), default=None)
    return measured


def single(scenario: str, read: Callable[[dict], float]):
    def measured(figures: dict, hawser: str) -> float | None:
        rounds = figures.get(scenario, {}).get(hawser)
        return read(rounds[0]) if rounds else None
    return measured


def idle_to_haproxy(figures: dict, hawser: str) -> float | None:
    runs = figures.get("idle", {})
    if "haproxy" not in runs or hawser not in runs:
        return None
    return runs[hawser][0]["open_kib"] / runs["haproxy"][0]["open_kib"]


TARGETS = [
    Target("user memory per idle tunnel", 2.4, 2.2, single("idle", lambda one: one["open_kib"]), " KiB"),
    Target("… to HAProxy", 0.6, 0.5, idle_to_haproxy, "x"),
    Target("… growth after a 16 KiB burst", 5, None,
           single("idle", lambda one: 100 * (one["burst_kib"] / one["open_kib"] - 1)), " %"),
    Target("resident some time after closing all tunnels, to the start", 2, None,
           single("idle", lambda one: one["left_rss_kib"] / one["base_rss_kib"]), "x"),
    Target("idle CPU of the idle tunnels", 1, None, single("idle", lambda one: one["idle_ms_per_s"]), " ms/s"),
    Target("CPU, 125 B round trip, to nginx", 1.05, 1.0, cpu("echo-125", to="nginx"), "x"),
    Target("CPU, 1 KiB round trip, to nginx", 1.05, 1.0, cpu("echo-1k", to="nginx"), "x"),
    Target("CPU, 16 KiB round trip, to nginx", 0.25, 0.16, cpu("echo-16k", to="nginx"), "x"),
    Target("… to tuned nginx", 1.05, 0.95, cpu("echo-16k", to="nginx-64k"), "x"),
    Target("CPU per MiB to the backend, to nginx", 0.30, 0.20, cpu("up", to="nginx"), "x"),
    Target("CPU per MiB to the client, to nginx", 0.30, 0.30, cpu("down", to="nginx"), "x"),
    Target("CPU per MiB, the worse way, to HAProxy with splice", 0.65, None, cpu("up", "down", to="haproxy-splice"), "x"),
    Target("CPU, handshake and close, to nginx", 1.12, 1.05, cpu("handshake", to="nginx"), "x"),
    Target("CPU, plain HTTP request, to nginx", 1.25, 1.05, cpu("http", to="nginx"), "x"),
    Target("system calls per message and direction: receive", 1.005, None,
           single("syscalls", lambda one: one["125"]["receive"])),
    Target("… send", 1.005, None, single("syscalls", lambda one: one["125"]["send"])),
    Target("… others", 0.05, None, single("syscalls", lambda one: one["125"]["wait"] + one["125"]["other"])),
    Target("memory of a stalled tunnel, with the kernel's", 512, None,
           single("stalled", lambda one: one["user_late_kib"] + one["kernel_late_kib"]), " KiB"),
    Target("tunnels closed by route changes", 0, None, single("change", lambda one: one["closed"])),
    Target("growth of RSS by route changes", 5, None,
           single("change", lambda one: 100 * (one["after_rss_kib"] / one["before_rss_kib"] - 1)), " %"),
]


def report(figures: dict, hawsers: list[str], judge: bool) -> None:
    for hawser in hawsers:
        rows = []
        for target in TARGETS:
            measured = target.measured(figures, hawser)
            if measured is None:
                continue
            goal = target.must if target.goal is None else target.goal
            verdict = "goal met" if measured <= goal else "met" if measured <= target.must else "NOT MET"
            rows.append([target.figure, f"{target.must:g}{target.unit}",
                         "" if target.goal is None else f"{target.goal:g}{target.unit}",
                         f"{measured:.2f}{target.unit}", verdict if judge else ""])
        if rows:
            table(f"Targets: {hawser}", ["Figure", "must, at most", "goal, at most", "measured", ""], rows)
