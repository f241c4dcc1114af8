"""Resuming: which id is sent, and that nothing is lost or repeated."""

from tests.client.support import make, numbered, take


async def test_the_given_id_is_known_even_if_older_events_come_first(script):
    """A given id is in the window from the start: a server that overlaps by two does not repeat it (3.2)."""
    script.respond(*numbered(18, 19, 20, 21)).hang()
    async with make(script, last_event_id="20") as stream:
        assert [item.id for item in await take(stream, 3)] == ["18", "19", "21"]
