"""Code of yours that reads a stream; `test_words.py` tests it."""

import httpx

from resilient_sse import ResilientStream


async def collect(url: str, client: httpx.AsyncClient | None = None) -> list[str]:
    """Return the words of one reply."""
    async with ResilientStream(url, client=client, until="done") as stream:
        return [event.json()["text"] async for event in stream]
