"""Silence on a real connection: noticed, bounded, and mended."""

import time

from resilient_sse import ResilientStream
from resilient_sse.testing import event, gzipped
from tests.e2e.watching import collect


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
