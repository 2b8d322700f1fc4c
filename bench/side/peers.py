"""The other proxies, each by default and tuned. One worker each, because each has one processor.

All serve the host `bench.test` from one backend, and keep idle connections to it for plain HTTP.
"""

import signal
import subprocess

from .proxy import Proxy, said
from .tools import ADDRESS, BACKEND_PORT, HOST

BACKEND = f"{ADDRESS}:{BACKEND_PORT}"


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
        listen {ADDRESS}:{self.port} backlog=4096 default_server;
        return 404;
    }}
    server {{
        listen {ADDRESS}:{self.port};
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
    """As its manual advises: it splices what it takes for a stream. 2.6 takes few of these streams for one."""

    name = "haproxy-splice"
    # By default a quarter of maxconn, and so many file descriptors are not allowed.
    in_global = "maxpipes 100"
    in_defaults = "option splice-auto"
    only_streams = True


class HaproxySpliceAll(HaproxySplice):
    """The cheapest stream that there is: it splices everything, and looks at nothing."""

    name = "haproxy-splice-all"
    in_defaults = "option splice-request\n option splice-response"


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
