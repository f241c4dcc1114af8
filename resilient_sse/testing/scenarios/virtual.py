"""The scenarios in virtual time: a server and a network in memory, exact to the millisecond, over at once."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import anyio
import httpx

from resilient_sse.testing.memory_server import Answer, MemoryServer
from resilient_sse.testing.scenarios.log import RunLog
from resilient_sse.testing.scenarios.stage import Form, NetworkStage, Setup
from resilient_sse.testing.script import Script


class VirtualStage(NetworkStage):
    """A server and a network in memory, as *setup* wants them; the server's side is recorded in *log*."""

    def __init__(self, log: RunLog, setup: Setup, random: Random) -> None:
        self.server: MemoryServer = MemoryServer(
            profile=setup.profile,
            first_id=setup.first_id,
            overlap=setup.overlap,
            random=random.random,
            record=self._record,
        )
        self.client: httpx.AsyncClient | None = None
        self._log = log
        super().__init__(self.server)

    def url(self, stream: str) -> str:
        """Return the address of *stream*."""
        return f"https://stage.test/api/v1/stream?user_id={stream}"

    async def publish(self, stream: str, data: str, *, event: str | None = None) -> int:
        """Publish an event and return its id."""
        return self.server.publish(stream, data, event_type=event)

    async def answer(self, stream: str, *answers: Answer) -> None:
        """Have the server do wrong with the next requests."""
        self.server.misbehave(stream, *answers)

    def _record(self, kind: str, stream: str, **facts: Any) -> None:  # noqa: ANN401 - whatever JSON can express
        if kind == "published":
            self._log.published(stream, facts["id"], facts["data"], facts["event"])
        else:
            self._log.add(kind, stream, **facts)


class VirtualDriver:
    """
    Makes stages in memory.  Use it inside `run_in_virtual_time`, or a test on a virtual backend.

    Args:
        seed: Where randomness starts.
    """

    form: Form = Form.VIRTUAL

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def now(self) -> float:
        """Return the loop's time."""
        return anyio.current_time()

    @asynccontextmanager
    async def stage(self, log: RunLog, setup: Setup) -> AsyncGenerator[VirtualStage]:
        """Set up a stage for the time of a block."""
        stage = VirtualStage(log, setup, Random(f"{self.seed} {log.name}"))  # noqa: S311 - a network is no secret
        script = Script()
        script.always(stage.server)

        async def beat(every: float) -> None:
            while True:
                await anyio.sleep(every)
                stage.server.beat()

        try:
            async with script.client() as client, anyio.create_task_group() as tasks:
                stage.client = client
                if setup.heartbeat is not None:
                    tasks.start_soon(beat, setup.heartbeat)
                yield stage
                tasks.cancel_scope.cancel()
        finally:
            drops, live = stage.server.dropped, stage.server.max_live
            log.add("network", part=setup.part, drops=drops, max_live=live)
        script.verify()
