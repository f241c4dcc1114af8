"""What a stream says about itself: states, texts, callbacks, observers and figures."""

import anyio
import pytest

from resilient_sse import Closed, Opened, Reason, RetriesExhaustedError, ServerSentEvent, StreamState
from tests.client.support import drain, make, numbered


async def test_activity_tells_of_closing_by_the_program(script):
    """`Closed` is the last thing on `activity()` and for observers, also after `aclose()` (section 1)."""
    script.respond(*numbered(1)).hang()
    facts = []
    stream = make(script, observers=[facts.append])
    seen = []

    async def watch() -> None:
        seen.extend(await drain(stream.activity()))

    async with anyio.create_task_group() as group:
        group.start_soon(watch)
        await anyio.sleep(5)
        await stream.aclose()
    assert [type(item) for item in seen] == [Opened, ServerSentEvent, Closed]
    assert seen[-1] == Closed(reason=Reason.CLOSED)
    assert seen[-1] in facts


async def test_closing_in_the_callback_of_the_error_does_not_hide_it(script):
    """Retries spent come out of the iterator even if a callback closes the stream upon ERROR (section 3.4)."""
    script.refuse(times=2)
    stream = make(script, max_retries=1)

    @stream.on_state_change
    async def _(change):
        if change.new is StreamState.ERROR:
            await stream.aclose()

    with pytest.raises(RetriesExhaustedError):
        await drain(stream)
