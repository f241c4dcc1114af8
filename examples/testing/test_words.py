"""
Test code that reads a stream, under whichever plugin runs your async tests.

    pytest                                     # pytest-asyncio, in its auto mode, as `pytest.ini` says
    pytest -p no:asyncio -o anyio_mode=auto    # the plugin that anyio brings

Sync tests in virtual time run under both; the fixtures are there as soon as resilient_sse is installed.  What uses
`sse_server` needs the extra `testing`.
"""

import anyio
import pytest
from words import collect

from resilient_sse import BadStatusError
from resilient_sse.testing import Script, event, run_in_virtual_time
from resilient_sse.testing.server import RunningServer


def test_a_stall_is_mended(sse_script: Script) -> None:
    """The server falls silent for half a minute, and the reply is whole: the test takes milliseconds."""
    sse_script.respond(event('{"text": "Once"}', id="1")).hang()
    sse_script.respond(event('{"text": "upon"}', id="2", event="done"))

    words = run_in_virtual_time(collect, "https://host/reply", sse_script.client())

    assert words == ["Once", "upon"]
    assert [request.last_event_id for request in sse_script.requests] == [None, "1"]


def test_a_wrong_address_is_told(sse_script: Script) -> None:
    """A 404 is an error at once, and is not tried again."""
    sse_script.reject(404)
    sse_script.expect_no_more()

    with pytest.raises(BadStatusError):
        run_in_virtual_time(collect, "https://host/missing", sse_script.client())


@pytest.mark.sse_server(start="first", retry=50)
async def test_a_server_that_restarts(sse_server: RunningServer) -> None:
    """Over a real socket: the server goes away in the middle of a reply and comes back."""
    sse_server.publish('{"text": "Once"}')
    words: list[str] = []

    async def read() -> None:
        words.extend(await collect(sse_server.url))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        await anyio.to_thread.run_sync(lambda: sse_server.restart(empty=False, abrupt=True))
        sse_server.publish('{"text": "upon"}', event="done")

    assert words == ["Once", "upon"]
