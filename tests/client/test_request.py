"""What is asked of the server."""

import httpx

from tests.client.support import URL, make, numbered


async def test_lists_of_values_are_repeated_parameters(script):
    """A parameter with several values is sent as httpx sends it, not as the text of a Python list."""
    script.respond(*numbered(1)).hang()
    async with make(script, params={"tag": ["a", "b"]}) as stream:
        await anext(stream)
    assert script.requests[0].url == str(httpx.URL(URL, params={"tag": ["a", "b"]}))
