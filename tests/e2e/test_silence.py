"""Silence on a real connection: noticed, bounded, and mended."""

import time

import anyio
import pytest

from resilient_sse import ResilientStream, RetriesExhaustedError
from resilient_sse.testing import event, gzipped
from tests.e2e.watching import collect


@pytest.mark.both
async def test_the_notice_before_the_headers(serve):
    """3.3: silence before the response headers is told of, in the consumer's task, and it is bounded."""
    told = []

    def tell(change):
        told.append((change.new.value, anyio.get_current_task().id))

    stream = ResilientStream(
        serve(lambda peer: peer.hold()).url,
        max_retries=0,
        waiting_after=0.1,
        stall_timeout=0.3,
        on_state_change=tell,
    )
    with pytest.raises(RetriesExhaustedError) as caught:
        await anext(stream)
    here = anyio.get_current_task().id
    assert told == [("waiting", here), ("error", here)]
    assert "stall_timeout" in str(caught.value.__cause__)


async def test_judging_what_one_read_has_brought_is_no_silence(serve):
    """A compressed read is decoded in slices; what a filter takes for them is the program's own time (3.3)."""
    body = b"".join(gzipped(*(event("x" * 40_000, id=str(number)) for number in range(1, 41))))

    def compressed(peer):
        peer.open("Content-Encoding: gzip")
        peer.chunk(body)
        peer.hold()

    def last(item):
        time.sleep(0.02)
        return item.id == "40"

    stream = ResilientStream(
        serve(compressed).url, compression=True, events=last, stall_timeout=0.4, max_retries=0
    )
    assert await collect(stream, 1) == ["x" * 40_000]
    assert stream.stats.stalls == 0
