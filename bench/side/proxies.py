"""The proxies: configuration, start, reload. One worker each, because each has one processor.

All serve the host `bench.test` from one backend, and keep idle connections to it for plain HTTP.
"""

import os
import shlex
import signal
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

from . import isolate, measure
from .tools import ADDRESS, BACKEND_PORT, HOST, is_listening

BACKEND = f"{ADDRESS}:{BACKEND_PORT}"


class Proxy:
    """One way to run one proxy. `start` gives a fresh process."""

    name = ""
    # Where it is measured besides the streams, which all run.
    only_streams = False

    def __init__(self, folder: Path, port: int, logs: bool):
        self.folder, self.port, self.logs = folder / self.name.replace(":", "-"), port, logs
        self.folder.mkdir()
        self.log = self.folder / "log"
        self.process = None

    def start(self) -> None:
        self.write_config(0)
        # Appended to, so that it can be emptied between rounds.
        with open(self.log, "ab") as log:
            command = ["taskset", "-c", ",".join(map(str, isolate.PROXY_CPU)), *self.command()]
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            env=self.environment(), cwd=self.folder)
        try:
            measure.wait_for(lambda: self.serves("/body/1") or self.ended(), 20, f"{self.name} serves")
        except TimeoutError as error:
            raise RuntimeError(f"{error}; its log: {self.last_words()}") from error

    def ended(self) -> bool:
        if self.process.poll() is not None:
            raise RuntimeError(f"{self.name} ended with {self.process.returncode}: {self.last_words()}")
        return False

    def stop(self) -> None:
        if self.process is None:
            return
        for pid in reversed(measure.tree(self.process.pid)):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait()
        self.process = None
        measure.wait_for(lambda: not is_listening(self.port), 10, f"{self.name} is gone")

    def serves(self, path: str, host: str = HOST) -> bool:
        if not is_listening(self.port):
            return False
        request = urllib.request.Request(f"http://{ADDRESS}:{self.port}{path}", headers={"Host": host})
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                return answer.status == 200
        except (urllib.error.URLError, OSError):
            return False

    def last_words(self) -> str:
        return self.log.read_text(errors="replace")[-600:]

    def empty_log(self) -> None:
        for file in self.folder.glob("*log"):
            os.truncate(file, 0)

    def environment(self) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], "HOME": str(self.folder), "XDG_CONFIG_HOME": str(self.folder),
                "XDG_DATA_HOME": str(self.folder)}

    def cpu(self) -> int:
        return measure.cpu_nanoseconds(self.process.pid)

    def memory(self) -> dict[str, int]:
        return measure.memory_kib(self.process.pid)

    # What each proxy has of its own.

    def version(self) -> str:
        raise NotImplementedError

    def command(self) -> list[str]:
        raise NotImplementedError

    def write_config(self, change: int) -> None:
        """The configuration after the given number of changes; each adds a host `cN.test`."""
        raise NotImplementedError

    def change(self, number: int) -> None:
        self.write_config(number)
        self.reload()
        measure.wait_for(lambda: self.serves("/body/1", f"c{number}.test"), 20, f"{self.name}: change {number} is live")

    def reload(self) -> None:
        raise NotImplementedError


def said(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return (done.stdout + done.stderr).strip().splitlines()[0]


class Nginx(Proxy):
    name = "nginx"
    buffers = ""

    def version(self) -> str:
        return said("nginx", "-v").rpartition("/")[2]

    def command(self) -> list[str]:
        return ["nginx", "-p", str(self.folder), "-c", "nginx.conf"]

    def write_config(self, change: int) -> None:
        log = "access_log access.log combined;" if self.logs else "access_log off;"
        temporary = "".join(f"{name}_temp_path tmp-{name};\n" for name in
                            ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        names = " ".join(f"c{number}.test" for number in range(1, change + 1))
        self.folder.joinpath("nginx.conf").write_text(f"""
daemon off;
user root;
pid nginx.pid;
error_log stderr;
worker_processes 1;
worker_rlimit_nofile 20000;
events {{ worker_connections 19900; }}
http {{
    {temporary}
    {log}
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000;
    server_names_hash_bucket_size 128;
    map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
    upstream backend {{ server {BACKEND}; keepalive 64; keepalive_requests 1000000; }}
    server {{
        listen {ADDRESS}:{self.port} backlog=4096;
        server_name {HOST} {names};
        location / {{
            proxy_pass http://backend;
            proxy_http_version 1.1;
            proxy_set_header Host $host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
            proxy_read_timeout 1h;
            proxy_send_timeout 1h;
            {self.buffers}
        }}
    }}
}}
""")

    def reload(self) -> None:
        self.process.send_signal(signal.SIGHUP)


class NginxTuned(Nginx):
    name = "nginx-64k"
    buffers = "proxy_buffer_size 64k; proxy_buffers 8 64k; proxy_busy_buffers_size 128k;"


class Haproxy(Proxy):
    name = "haproxy"
    in_global = ""
    in_defaults = ""

    def version(self) -> str:
        return said("haproxy", "-v").split()[2]

    def command(self) -> list[str]:
        return ["haproxy", "-W", "-db", "-f", "haproxy.cfg"]

    def write_config(self, change: int) -> None:
        log = ("log stdout format raw local0", "log global\n option httplog\n option dontlognull")
        in_global, in_defaults = log if self.logs else ("", "")
        names = " ".join([HOST, *(f"c{number}.test" for number in range(1, change + 1))])
        self.folder.joinpath("haproxy.cfg").write_text(f"""
global
 nbthread 1
 maxconn 9500
 {in_global}
 {self.in_global}
defaults
 mode http
 {in_defaults}
 timeout connect 5s
 timeout client 50s
 timeout server 50s
 timeout tunnel 1h
 option forwardfor
 {self.in_defaults}
frontend front
 bind {ADDRESS}:{self.port} backlog 4096
 acl known hdr(host) -i {names}
 http-request deny deny_status 404 unless known
 default_backend back
backend back
 server one {BACKEND}
""")

    def reload(self) -> None:
        self.process.send_signal(signal.SIGUSR2)


class HaproxyTuned(Haproxy):
    name = "haproxy-64k"
    in_global = "tune.bufsize 65536"


class HaproxySplice(Haproxy):
    name = "haproxy-splice"
    # By default a quarter of maxconn, and so many file descriptors are not allowed.
    in_global = "maxpipes 100"
    in_defaults = "option splice-auto"
    only_streams = True


class Caddy(Proxy):
    name = "caddy"

    def version(self) -> str:
        return said("caddy", "version").split()[0].lstrip("v")

    def environment(self) -> dict[str, str]:
        return super().environment() | {"GOMAXPROCS": "1"}

    def command(self) -> list[str]:
        return ["caddy", "run", "--config", "Caddyfile", "--adapter", "caddyfile"]

    def write_config(self, change: int) -> None:
        log = "log {\n output file access.log\n }" if self.logs else ""
        names = [HOST, *(f"c{number}.test" for number in range(1, change + 1))]
        sites = ", ".join(f"http://{name}:{self.port}" for name in names)
        self.folder.joinpath("Caddyfile").write_text(f"""{{
 admin {ADDRESS}:{self.port + 1000}
 auto_https off
}}
{sites} {{
 bind {ADDRESS}
 {log}
 reverse_proxy {BACKEND}
}}
""")

    def reload(self) -> None:
        subprocess.run(["caddy", "reload", "--config", "Caddyfile", "--adapter", "caddyfile", "--address",
                        f"{ADDRESS}:{self.port + 1000}"],
                       check=True, capture_output=True, env=self.environment(), cwd=self.folder)


class Hawser(Proxy):
    """`NAME=COMMAND`: a binary and flags of `hawser run`."""

    def __init__(self, folder: Path, port: int, logs: bool, spec: str):
        name, equals, command = spec.partition("=")
        # A path may hold an equals sign, a name no slash.
        if not equals or "/" in name:
            name, command = "", spec
        self.name = f"hawser:{name}" if name else "hawser"
        self.binary, *self.flags = shlex.split(command)
        self.binary = str(Path(self.binary).resolve())
        super().__init__(folder, port, logs)
        self.manifests = self.folder / "manifests"
        self.manifests.mkdir()

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
{self.route("main", HOST)}""")
        else:
            self.put("change", self.route("change", f"c{change}.test"))

    def change(self, number: int) -> None:
        """One file, one other host each time. Only then every change makes a table of its own."""
        self.write_config(number)
        measure.wait_for(lambda: self.serves("/body/1", f"c{number}.test"), 20, f"{self.name}: change {number} is live")

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

    def put(self, name: str, text: str) -> None:
        """As an editor that is careful: never half a file."""
        new = self.folder / "new"
        new.write_text(text)
        new.rename(self.manifests / f"{name}.yaml")
