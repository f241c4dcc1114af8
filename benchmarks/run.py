"""The processes of a run: the server, a worker for each client, and the rounds in which they take turns."""

from __future__ import annotations

import json
import os
import resource
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from . import payloads
from .peers import PEERS
from .rows import Work
from .server import RATE, STAMPS

ROOT = Path(__file__).parents[1]
PATIENCE = 60.0
READS = 0.3


def spawn(*module: str) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    return subprocess.Popen(  # noqa: S603 - this Python, modules of this package
        [sys.executable, "-m", *module],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def end(process: subprocess.Popen[str]) -> None:
    assert process.stdin
    assert process.stdout
    with suppress(OSError):
        process.stdin.close()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()


@contextmanager
def server() -> Iterator[str]:
    """Start the server in its own process; give its address."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # the processes that are started inherit it
    process = spawn("benchmarks.server")
    assert process.stdout
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        end(process)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def server_rate(base: str, work: Work) -> float:
    """Return how many events a second reach a reader that looks at nothing: the most that can be measured."""
    host, _, port = base.removeprefix("http://").partition(":")
    best = 0.0
    for _ in range(3):
        with socket.create_connection((host, int(port)), timeout=PATIENCE) as connection:
            connection.sendall(f"GET /{work.path}/{work.kind} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            buffer, got = bytearray(256 * 1024), 0
            connection.recv_into(buffer)
            begin = time.perf_counter()
            while time.perf_counter() < begin + READS and (more := connection.recv_into(buffer)):
                got += more
                if bytes(buffer[more - 5 : more]) == b"0\r\n\r\n":
                    break
            best = max(best, got / (time.perf_counter() - begin))
    count = min(1000, payloads.total(work.kind))
    return best / payloads.size(work.kind, count, framing=work.path == "chunk") * count


class Client:
    """A worker's process, started when it is first asked, and again after it had to be killed."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.process: subprocess.Popen[str] | None = None

    def ask(self, **task: Any) -> dict[str, Any]:
        process = self.process = self.process or spawn("benchmarks.worker", self.name)
        assert process.stdin
        assert process.stdout
        alarm = threading.Timer(2 * PATIENCE, process.kill)
        alarm.start()
        try:
            process.stdin.write(json.dumps(task) + "\n")
            process.stdin.flush()
            answer: dict[str, Any] = json.loads(process.stdout.readline())
        except (OSError, ValueError):
            answer = {"error": f"the process ended, or did not answer within {2 * PATIENCE:.0f} s"}
            self.close()
        finally:
            alarm.cancel()
        return answer

    def check(self, base: str, path: str, kind: str) -> str:
        """Return how the client's events differ from the expected ones; empty if they do not."""
        url = f"{base}/{path}/{kind}/{payloads.few(kind) + 1}"
        answer = self.ask(task="check", path=path, kind=kind, url=url)
        return str(answer.get("differs", answer.get("error")))

    def measure(self, base: str, work: Work, seconds: float) -> dict[str, Any]:
        task: dict[str, Any] = {"task": work.task, "path": work.path, "kind": work.kind, "seconds": seconds}
        if work.path == "live":
            task["count"] = int(4 * seconds * RATE)
        elif work.task == "latency":
            task["count"] = int(4 * seconds * STAMPS) + 50
        elif work.task == "many":
            task |= {"streams": work.streams, "seconds": 10 * seconds, "patience": PATIENCE}
        return self.ask(**task, url=f"{base}/{work.path}/{work.kind}")

    def close(self) -> None:
        if self.process:
            end(self.process)
            self.process = None


class Run:
    """Measures each work once, whatever the number of rows that show it."""

    def __init__(self, base: str, names: list[str], rounds: int, seconds: float) -> None:
        self.base, self.rounds, self.seconds = base, rounds, seconds
        self.clients = {name: Client(name) for name in names}
        self.checked: dict[tuple[str, str, str], str] = {}
        self.samples: dict[Work, dict[str, list[dict[str, Any]]]] = {}
        self.left_out: dict[Work, dict[str, str]] = {}
        self.server: dict[Work, float] = {}

    def differs(self, name: str, work: Work) -> str:
        key = (name, *work.checked_as)
        if key not in self.checked:
            self.checked[key] = self.clients[name].check(self.base, *work.checked_as)
        return self.checked[key]

    def measure(self, work: Work) -> None:
        if work in self.samples:
            return
        samples = self.samples[work] = {}
        left_out = self.left_out[work] = {}
        for name in self.clients:
            if not work.fits(PEERS[name]):
                left_out[name] = "-"
            elif differs := self.differs(name, work):
                left_out[name] = f"differs: {differs}"
            else:
                samples[name] = []
        if work.path in {"bulk", "chunk"}:
            self.server[work] = server_rate(self.base, work)
        for number in range(min(self.rounds, work.most_rounds)):
            names = list(samples)
            turn = number % max(len(names), 1)
            for name in names[turn:] + names[:turn]:
                if work.task == "many":
                    self.clients[name].close()  # memory that was used before would be used again
                answer = self.clients[name].measure(self.base, work, self.seconds)
                if "error" in answer:
                    left_out[name] = f"failed: {answer['error']}"
                    del samples[name]
                else:
                    samples[name].append(answer)

    def close(self) -> None:
        for client in self.clients.values():
            client.close()
