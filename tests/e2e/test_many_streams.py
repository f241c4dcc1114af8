"""Many streams in one process: on the default client without a limit, on an injected one within its own."""

from pathlib import Path

import anyio
import httpx
import pytest

from resilient_sse import ConnectionLostError, Reason, ResilientStream, RetriesExhaustedError
from resilient_sse.testing.server import ReferenceServer, serving
from tests.e2e.raw_server import hello
from tests.e2e.watching import collect, eventually

OPEN_FILES = Path("/dev/fd")
POOL = httpx.Limits(max_connections=10)


def open_files():
    """Count this process's file descriptors."""
    return sum(1 for _ in OPEN_FILES.iterdir())


@pytest.mark.skipif(not OPEN_FILES.is_dir(), reason="no list of file descriptors")
@pytest.mark.parametrize("count", [101, 300])
@pytest.mark.slow
async def test_streams_on_the_default_client(count):
    """P4, F36: more streams than httpx's usual limit are open at once, and leave no file descriptor behind."""
    opened = []
    leave = anyio.Event()

    async def consume(stream):
        async with stream:
            async for item in stream:
                opened.append(item.data)
                break
            await leave.wait()

    with serving(ReferenceServer(start="first", retry=None)) as site:
        site.publish("hello")
        assert await collect(ResilientStream(site.url), 1) == ["hello"]  # warms everything up
        assert await eventually(lambda: site.server.live == 0, within=5)
        before = open_files()
        streams = [ResilientStream(site.url, max_retries=0) for _ in range(count)]
        async with anyio.create_task_group() as tasks:
            for stream in streams:
                tasks.start_soon(consume, stream)
            assert await eventually(lambda: len(opened) == count, within=30)
            assert site.server.live == count
            assert open_files() >= 2 * count  # both ends are here; what others left may close meanwhile
            leave.set()
        assert await eventually(lambda: site.server.live == 0, within=10)
        assert await eventually(lambda: open_files() <= before, within=10)
    assert {stream.stats.failed_attempts for stream in streams} == {0}


async def test_more_streams_than_an_injected_pool_holds(serve):
    """P4, F36: streams beyond the limit of an injected client fail in time, and the error names the limit."""
    server = serve(hello)
    taken, failures = [], []
    leave = anyio.Event()

    async def consume(client):
        async with ResilientStream(server.url, client=client, connect_timeout=0.5, max_retries=0) as stream:
            try:
                async for item in stream:
                    taken.append(item.data)
                    break
            except RetriesExhaustedError as error:
                failures.append(error)
            await leave.wait()

    async with httpx.AsyncClient(limits=POOL) as client, anyio.create_task_group() as tasks:
        for _ in range(12):
            tasks.start_soon(consume, client)
        assert await eventually(lambda: len(taken) + len(failures) == 12, within=10)
        leave.set()
    assert taken == ["hello"] * 10
    for failure in failures:
        assert isinstance(failure.__cause__, ConnectionLostError)
        assert failure.__cause__.reason is Reason.CONNECT
        assert "max_connections" in str(failure.__cause__)
