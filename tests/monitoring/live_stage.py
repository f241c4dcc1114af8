"""A real Prometheus, a real program that it scrapes, and the server that torments it."""

import socket
import subprocess
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import anyio
import httpx
from anyio.from_thread import start_blocking_portal
from prometheus_client import CollectorRegistry, start_http_server

from resilient_sse import Backoff, ResilientStream, integers
from resilient_sse.cli import main
from resilient_sse.metrics.prometheus import PrometheusMetrics
from resilient_sse.testing.server import Fault, Faults, ReferenceServer, Reset, serving

SCALE = 60
"""A minute of production takes a second."""

SLOW = 5.5
"""Seconds that some streams wait before they reconnect: more than the objective allows."""

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


async def read(url, user, metrics):
    """Read one stream for ever: some number their events, some come back late."""
    delay = SLOW if user.startswith("slow") else 0.3
    backoff = Backoff(initial=delay, factor=1.0, maximum=delay, jitter=0.0)
    options = {
        "backoff": backoff,
        "sequence": integers if user.startswith("lose") else None,
        "max_retries": None,
    }
    async with ResilientStream(f"{url}?user_id={user}", observers=[metrics], **options) as stream:
        async for _ in stream:
            pass


async def publish(running):
    """Publish to all users, ten times a second."""
    while True:
        for user in USERS:
            await anyio.to_thread.run_sync(partial(running.publish, "x", user_id=user))
        await anyio.sleep(PUBLISH_EVERY)


@contextmanager
def playing(running):
    """Publish, read what comes, and show the figures on a port, which is given."""
    registry = CollectorRegistry()
    metrics = PrometheusMetrics(registry)
    server, thread = start_http_server(0, addr="127.0.0.1", registry=registry)
    with start_blocking_portal() as portal:
        tasks = [portal.start_task_soon(read, running.url, user, metrics) for user in USERS]
        tasks.append(portal.start_task_soon(publish, running))
        try:
            yield server.server_port
            assert not any(task.done() for task in tasks)
        finally:
            for task in tasks:
                task.cancel()
            server.shutdown()
            server.server_close()
            thread.join()


@contextmanager
def open_stage(prometheus: str, directory: Path):
    """Start everything, and end everything."""
    torment = Torment()
    server = ReferenceServer(retry=None, faults=Faults(then=torment))
    with serving(server) as running, playing(running) as port:
        (directory / "prometheus.yml").write_text(CONFIG.format(port=port))
        assert main(["rules", "prometheus", "--scale", str(SCALE), "-o", str(directory / "rules.yml")]) == 0
        with watcher(prometheus, directory) as api:
            yield Stage(running, torment, api)


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
        try:
            until_ready(process, f"http://127.0.0.1:{port}/-/ready", directory / "prometheus.log")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            try:
                process.wait(ENDING)
            finally:
                process.kill()
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
