"""A real Prometheus, a real program that it scrapes, and the server that torments it."""

import json
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import httpx

from resilient_sse.cli import main
from resilient_sse.testing.server import Fault, Faults, ReferenceServer, Reset, serving

SCALE = 60
"""A minute of production takes a second."""

PUBLISH_EVERY = 0.1
ENDING = 10

USERS = (
    "lose",
    "repeat",
    "break-1",
    "break-2",
    *(f"slow-{number}" for number in range(6)),
    "calm-1",
    "calm-2",
)

CONFIG = """\
global:
  scrape_interval: 1s
  scrape_timeout: 1s
  evaluation_interval: 1s
rule_files: [rules.yml]
scrape_configs:
  - job_name: demo
    static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""


@dataclass(frozen=True, slots=True)
class Torment(Fault):
    """While it is on, do to each user what the name says."""

    on: threading.Event = field(default_factory=threading.Event)

    async def shape(self, blocks, peer, user):
        """Yield what is left of the stream."""
        async for block in blocks:
            if not self.on.is_set() or block[0] is None:
                yield block
            elif user.startswith("lose") and block[0] % 10 == 0:
                pass  # not at the replay either
            elif user.startswith("repeat"):
                yield block
                yield block
            elif user.startswith(("break", "slow")):
                yield block
                async for rest in Reset(after=1).shape(blocks, peer, user):
                    yield rest
            else:
                yield block


class Stage:
    """What the test plays on."""

    def __init__(self, running, torment, api):
        self._running = running
        self._torment = torment
        self._api = api

    def begin(self):
        """Begin to torment."""
        self._torment.on.set()

    def end(self):
        """Let everything be well from now on, and have enough events flow to outweigh those that were lost."""
        self._torment.on.clear()
        self._running.call(self._burst(), within=60)

    async def _burst(self):
        for number in range(10_000):
            await self._running.server.publish("x", user_id="lose")
            if number % 100 == 99:
                await anyio.sleep(0.02)

    def get(self, path):
        """Ask Prometheus' API."""
        told = httpx.get(f"{self._api}/api/v1/{path}", timeout=10).json()
        assert told["status"] == "success"
        return told["data"]


@contextmanager
def ended(process):
    """Have *process* end in any case."""
    try:
        yield process
    finally:
        if process.stdin:
            process.stdin.close()
        else:
            process.terminate()
        try:
            process.wait(ENDING)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(ENDING)
        if process.stdout:
            process.stdout.close()


@contextmanager
def publishing(running):
    """Publish to all users, ten times a second."""
    over = threading.Event()

    async def publish():
        for user in USERS:
            await running.server.publish("x", user_id=user)

    def keep_publishing():
        while not over.wait(PUBLISH_EVERY):
            running.call(publish())

    thread = threading.Thread(target=keep_publishing)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextmanager
def open_stage(prometheus: str, directory: Path):
    """Start everything, and end everything."""
    torment = Torment()
    server = ReferenceServer(retry=None, faults=Faults(then=torment))
    with serving(server) as running:
        client = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("live_client.py")), running.url, *USERS],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        with ended(client), publishing(running):
            (directory / "prometheus.yml").write_text(CONFIG.format(**json.loads(client.stdout.readline())))
            assert (
                main(["rules", "prometheus", "--scale", str(SCALE), "-o", str(directory / "rules.yml")]) == 0
            )
            with watcher(prometheus, directory) as api:
                yield Stage(running, torment, api)
            assert client.poll() is None
    assert client.returncode == 0


@contextmanager
def watcher(prometheus, directory):
    """Run Prometheus on a free port, and give its address."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with (directory / "prometheus.log").open("w") as log:
        process = subprocess.Popen(
            [
                prometheus,
                "--config.file=prometheus.yml",
                "--storage.tsdb.path=data",
                f"--web.listen-address=127.0.0.1:{port}",
                "--log.level=warn",
            ],
            cwd=directory,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        with ended(process):
            until_ready(process, f"http://127.0.0.1:{port}/-/ready", directory / "prometheus.log")
            yield f"http://127.0.0.1:{port}"
    assert process.returncode == 0


def until_ready(process, address, log):
    """Wait for Prometheus to answer."""
    for _ in range(300):
        assert process.poll() is None, log.read_text()
        try:
            if httpx.get(address, timeout=1).is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise AssertionError(log.read_text())
