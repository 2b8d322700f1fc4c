#!/usr/bin/env python3
"""Hawser side by side with nginx, HAProxy and Caddy. See README.md in this folder.

The outer process makes a temporary folder and namespaces, and bounds the time; the inner one measures. However the
outer one ends, the kernel ends everything inside, and the folder goes.
"""

import argparse
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from side import isolate, plan  # noqa: E402
from side.scale import FULL, SMOKE  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Hawser side by side with other proxies")
    parser.add_argument("--hawser", action="append", metavar="[NAME=]COMMAND",
                        help="a Hawser to measure: a binary, with a name and flags of `hawser run` if you like; "
                             "repeat it to compare builds [default: target/release/hawser]")
    parser.add_argument("--tool", type=Path, default=ROOT / "target/bench/release/hawser-bench",
                        help="the load tool and backend")
    parser.add_argument("--peers", default="all", metavar="NAMES",
                        help=f"comma-separated, `all` or `none`: {', '.join(plan.PEERS)}")
    parser.add_argument("--scenarios", default="all", metavar="NAMES",
                        help=f"comma-separated or `all`: {', '.join(plan.SCENARIOS)}")
    parser.add_argument("--rounds", type=int, help=f"of the CPU scenarios [default: {FULL.rounds}]")
    parser.add_argument("--seconds", type=float, help=f"of one run in a round [default: {FULL.seconds}]")
    parser.add_argument("--tunnels", type=int, help=f"of the idle scenario [default: {FULL.tunnels}]")
    parser.add_argument("--no-logs", action="store_true", help="access logs off, for all")
    parser.add_argument("--json", type=Path, help="write every single figure to this file; what it has of other scenarios stays, "
                             "and counts for the table of targets")
    parser.add_argument("--smoke", action="store_true",
                        help="tiny scale, without peers: do the scenarios work? Figures mean nothing")
    parser.add_argument("--limit", type=int, default=1500, metavar="SECONDS", help="ends everything [default: 1500]")
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def outer(limit: int) -> int:
    folder = Path(tempfile.mkdtemp(prefix="hawser-bench-"))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    inner = None
    try:
        command = [sys.executable, __file__, *sys.argv[1:], "--inside", str(folder)]
        inner = subprocess.Popen(isolate.command(command), stdin=subprocess.DEVNULL)
        return inner.wait(timeout=limit)
    except subprocess.TimeoutExpired:
        print(f"compare.py: not done after {limit} s: ended", file=sys.stderr)
        return 124
    except KeyboardInterrupt:
        return 130
    finally:
        if inner is not None and inner.poll() is None:
            inner.kill()
            inner.wait()
        shutil.rmtree(folder, ignore_errors=True)


def main() -> int:
    options = arguments()
    if options.inside is None:
        return outer(options.limit)
    isolate.enter()
    scale = SMOKE if options.smoke else FULL
    scale = scale.with_options(options.rounds, options.seconds, options.tunnels)
    if options.smoke:
        options.peers = "none"
    try:
        return plan.Plan(options, scale, options.inside).run()
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
