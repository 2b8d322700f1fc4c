"""How much of everything: a full comparison, and the smallest that still goes through every line."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Scale:
    rounds: int
    seconds: float
    # Two file descriptors each, and 20,000 is a usual limit of a process.
    tunnels: int
    # Idle CPU is read over this time.
    idle_seconds: float
    # From the last close to the reading of what is left.
    settle_seconds: float
    connections: int
    streams: int
    workers: int
    stalled: int
    stall_seconds: float
    live_tunnels: int
    changes: int
    reloads: int

    def with_options(self, rounds, seconds, tunnels) -> "Scale":
        given = {"rounds": rounds, "seconds": seconds, "tunnels": tunnels}
        return replace(self, **{name: value for name, value in given.items() if value})


FULL = Scale(rounds=5, seconds=1.0, tunnels=9000, idle_seconds=3, settle_seconds=30, connections=64, streams=4,
             workers=32, stalled=100, stall_seconds=10, live_tunnels=2000, changes=1000, reloads=5)

SMOKE = Scale(rounds=1, seconds=0.1, tunnels=50, idle_seconds=0.2, settle_seconds=0.2, connections=4, streams=2,
              workers=2, stalled=3, stall_seconds=0.5, live_tunnels=20, changes=20, reloads=1)
