"""TLS: the right certificate works, a wrong one is a typed failure that says what is wrong."""

import ssl
import time

import httpx
import pytest

from resilient_sse import ConnectionLostError, Reason, ResilientStream, RetriesExhaustedError
from tests.e2e.raw_server import hello
from tests.e2e.watching import QUICK, Diary, causes, collect


async def test_right_certificate(serve, trust):
    """P4, P25: an injected client's own trust is used, and the client is not closed with the stream."""
    server = serve(hello, tls=trust.server("127.0.0.1"))
    async with httpx.AsyncClient(verify=trust.client) as client:
        assert await collect(ResilientStream(server.url, client=client, max_retries=0), 1) == ["hello"]
        assert not client.is_closed


@pytest.mark.parametrize(
    "name,trusted,words",
    [
        pytest.param("127.0.0.1", False, "the certificate is not trusted", id="unknown-authority"),
        pytest.param("other.example", True, "not valid for '127.0.0.1'", id="another-name"),
    ],
)
async def test_wrong_certificate(serve, trust, name, trusted, words):
    """P25, P42: a certificate that cannot be trusted fails typed, within the budget, and says why."""
    server = serve(hello, tls=trust.server(name))
    diary = Diary()
    async with httpx.AsyncClient(verify=trust.client if trusted else True) as client:
        stream = ResilientStream(
            server.url,
            client=client if trusted else None,
            backoff=QUICK,
            max_retries=1,
            on_state_change=diary,
        )
        started = time.monotonic()
        with pytest.raises(RetriesExhaustedError) as raised:
            await collect(stream, 1)
    assert time.monotonic() - started < 5
    lost = raised.value.__cause__
    assert isinstance(lost, ConnectionLostError)
    assert lost.reason is Reason.CONNECT
    assert words in str(lost)
    assert any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes(raised.value))
    assert diary.losses == [Reason.CONNECT]
    assert server.requests == []
