"""Hawser, standalone on a directory of manifests."""

import shlex
from pathlib import Path

from .proxy import Proxy, said
from .tools import ADDRESS, BACKEND_PORT, HOST


class Hawser(Proxy):
    """`NAME=COMMAND`: a binary and flags of `hawser run`."""

    pause = 0.0
    # A route with everything that a tunnel may have to remember.
    idle_path = "/full/echo"

    def __init__(self, folder: Path, port: int, logs: bool, spec: str):
        name, equals, command = spec.partition("=")
        # A path may hold an equals sign, a name no slash.
        if not equals or "/" in name:
            name, command = "", spec
        self.name = f"hawser:{name}" if name else "hawser"
        self.binary, *self.flags = shlex.split(command)
        self.binary = str(Path(self.binary).resolve())
        super().__init__(folder, port, logs)
        # Hawser also watches the folder above, for a link that is replaced: the log must not be in it.
        self.manifests = self.folder / "config" / "manifests"
        self.manifests.mkdir(parents=True)

    def version(self) -> str:
        return said(self.binary, "--version").split()[-1]

    def command(self) -> list[str]:
        level = "info" if self.logs else "info,hawser::access=warn"
        return [self.binary, "run", "--manifests", str(self.manifests), "--http", f"{ADDRESS}:{self.port}",
                "--admin", f"{ADDRESS}:{self.port + 1000}", "--log-format", "json", "--log-level", level, *self.flags]

    def write_config(self, change: int) -> None:
        if change == 0:
            self.put("main", f"""
apiVersion: v1
kind: Service
metadata: {{name: backend}}
spec: {{ports: [{{name: http, port: 80}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: backend-1, labels: {{kubernetes.io/service-name: backend}}}}
addressType: IPv4
ports: [{{name: http, port: {BACKEND_PORT}}}]
endpoints: [{{addresses: ["{ADDRESS}"]}}]
---
{self.route("main", HOST)}
---
{self.full()}""")
        else:
            self.put("change", self.route("change", f"c{change}.test"))

    def reload(self) -> None:
        """It watches its files: one file, another host each time. As each change is waited for, it is a table."""

    @staticmethod
    def route(name: str, host: str) -> str:
        return f"""
apiVersion: hawser.dev/v1alpha1
kind: WebSocketRoute
metadata: {{name: {name}}}
spec:
  hostnames: [{host}]
  rules:
  - name: all
    matches: [{{path: {{type: Prefix, value: /}}}}]
    backendRefs: [{{name: backend, port: 80}}]
"""

    @staticmethod
    def full() -> str:
        return f"""
apiVersion: hawser.dev/v1alpha1
kind: WebSocketRoute
metadata: {{name: full}}
spec:
  hostnames: [{HOST}]
  rules:
  - name: all
    matches: [{{path: {{type: Prefix, value: /full}}}}]
    rewrite: {{prefix: /}}
    upgrade: {{strict: true, maxMessageBytes: 100000000, maxFrameBytes: 100000000}}
    timeouts: {{idle: 1h, maxLifetime: 24h}}
    keepalive: {{interval: 1h, timeout: 1m, target: Both}}
    limits: {{connections: 20000, connectionsPerClient: 20000, messagesPerSecond: 100000, bytesPerSecond: 1000000000}}
    backendRefs: [{{name: backend, port: 80}}]
"""

    def put(self, name: str, text: str) -> None:
        """As an editor that is careful: never half a file."""
        new = self.folder / "new"
        new.write_text(text)
        new.rename(self.manifests / f"{name}.yaml")
