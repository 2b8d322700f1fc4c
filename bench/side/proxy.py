"""A proxy under test: start, change of its routes, end."""

import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

from . import isolate, measure
from .tools import ADDRESS, HOST, is_listening


class Proxy:
    """One way to run one proxy. `start` gives a fresh process."""

    name = ""
    # Where it is measured besides the streams, which all run.
    only_streams = False
    # Where idle tunnels go.
    idle_path = "/echo"
    # After a change is live, the rest of a reload.
    pause = 0.3

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
            measure.wait_for(lambda: self.serves() or self.ended(), 20, f"{self.name} serves")
        except TimeoutError as error:
            raise RuntimeError(f"{error}; its log: {self.last_words()}") from error

    def start_once(self) -> None:
        if self.process is None or self.process.poll() is not None:
            self.stop()
            self.start()

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

    def serves(self, host: str = HOST) -> bool:
        if not is_listening(self.port):
            return False
        request = urllib.request.Request(f"http://{ADDRESS}:{self.port}/body/1", headers={"Host": host})
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                # Caddy answers an unknown host by an empty 200.
                return answer.status == 200 and answer.read() == b"x"
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

    def change(self, number: int) -> float:
        """Makes a change, waits until it serves, and returns the seconds that this took."""
        self.write_config(number)
        start = time.monotonic()
        for _ in range(4):
            self.reload()
            try:
                measure.wait_for(lambda: self.serves(f"c{number}.test"), 5, "the change is live")
            except TimeoutError:
                continue  # A master that was still busy with the last one has lost the signal.
            took = time.monotonic() - start
            time.sleep(self.pause)
            return took
        raise RuntimeError(f"{self.name}: change {number} is not live; its log: {self.last_words()}")

    def reload(self) -> None:
        raise NotImplementedError


def said(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return (done.stdout + done.stderr).strip().splitlines()[0]
