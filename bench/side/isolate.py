"""A network, a process list and a mount table of our own: addresses and ports cannot collide with anything, and when
the first process in there ends, the kernel ends all the others."""

import os
import resource
import subprocess

# The proxy is alone on the first; the load tool, the backend and this program share the second.
PROXY_CPU: set[int] = set()
LOAD_CPU: set[int] = set()


def command(inner: list[str]) -> list[str]:
    """`inner` in namespaces: as root directly, else as root of a user namespace."""
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    # The signal is for the case that this process is killed itself.
    return ["setpriv", "--pdeathsig", "KILL", "unshare", *user, "--net", "--pid", "--fork", "--mount-proc",
            "--kill-child", *inner]


def enter() -> None:
    """First thing inside."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    # Some 10,000 handshakes a second leave as many ports in TIME_WAIT.
    for name, value in (("ip_local_port_range", "10000 65000"), ("tcp_tw_reuse", "1")):
        with open(f"/proc/sys/net/ipv4/{name}", "w", encoding="ascii") as file:
            file.write(value)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    cpus = sorted(os.sched_getaffinity(0))
    PROXY_CPU.add(cpus[0])
    LOAD_CPU.add(cpus[min(1, len(cpus) - 1)])
    os.sched_setaffinity(0, LOAD_CPU)
    try:
        os.nice(-10)
    except PermissionError:
        pass  # Only more noise.
