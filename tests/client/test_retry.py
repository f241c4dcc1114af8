"""What follows a failure: again, never again, and when."""

import pytest

from resilient_sse import HandshakeError, NotResumableError, ResilientSSEError
from resilient_sse.testing import comment, event
from tests.client.support import make, numbered, take


async def failing_once(script, **options):
    """Lose a connection while a function of the caller fails, and go on."""
    script.respond(*numbered(1)).drop()
    script.respond(*numbered(2)).hang()
    async with make(script, **options) as stream:
        assert (await anext(stream)).id == "1"
        with pytest.raises((ZeroDivisionError, ValueError)):
            await anext(stream)
        assert (await anext(stream)).id == "2"


async def test_a_failing_classify_leaves_a_stream_that_can_go_on(script):
    """What `classify` raises comes out, and iterating again reconnects (section 3.4)."""
    calls = []

    def classify(error):
        calls.append(error)
        if len(calls) == 1:
            raise ZeroDivisionError

    await failing_once(script, classify=classify)


async def test_a_failing_backoff_leaves_a_stream_that_can_go_on(script):
    """What the factory of delays raises comes out, and iterating again reconnects (section 3.4)."""
    calls = []

    def delays():
        calls.append(1)
        if len(calls) == 1:
            raise ZeroDivisionError
        return iter([1.0])

    await failing_once(script, backoff=delays)


async def test_a_spent_body_is_not_sent_again_to_a_redirect(script):
    """A body from an iterator can be sent once; a 307 would send an empty one instead (P12)."""

    async def body():
        yield b"hello"

    script.redirect("/there", status=307)
    script.respond(*numbered(1)).hang()
    async with make(script, method="POST", content=body()) as stream:
        with pytest.raises(ResilientSSEError) as caught:
            await anext(stream)
    assert isinstance(caught.value, (NotResumableError, HandshakeError))
    assert [request.content for request in script.requests] == [b"hello"]


async def test_a_post_that_delivered_nothing_is_sent_again(script):
    """Comments and heartbeats are no delivery, so a POST may be repeated after them (section 3.4, P12)."""
    script.respond(comment("hello"), event("", event="heartbeat")).drop()
    script.respond(*numbered(1)).hang()
    async with make(script, method="POST", content=b"q") as stream:
        assert (await take(stream, 1))[0].id == "1"


async def test_an_error_is_not_its_own_cause(script):
    """Whoever walks along `__cause__` comes to an end."""
    script.redirect("", status=302)
    async with make(script) as stream:
        with pytest.raises(HandshakeError) as caught:
            await anext(stream)
    assert caught.value.__cause__ is not caught.value
