"""What is asked of real servers: redirects, credentials, bodies, proxies, and where connections lead."""

import re
import socket

import httpx
import httpx2
import pytest

from resilient_sse import HandshakeError, ResilientStream, RetriesExhaustedError
from resilient_sse.testing import event
from tests.e2e.raw_server import hello
from tests.e2e.watching import QUICK, collect


def greet_and_end(peer):
    """Send one event and end the answer as it should end, without closing the connection."""
    peer.open("Connection: keep-alive")
    peer.chunk(event("hello", id=str(peer.number)))
    peer.end()
    peer.hold()


SECRETS = {"Authorization": "Bearer secret", "Cookie": "session=secret", "X-API-Key": "secret"}


@pytest.mark.parametrize("status", ["302 Found", "307 Temporary Redirect", "308 Permanent Redirect"])
async def test_redirect_to_another_origin_tells_no_secrets(serve, status):
    """P11, P42, F26: another port learns nothing of the caller's, and the next attempt starts at the first."""
    elsewhere = serve(greet_and_end)
    home = serve(lambda peer: peer.answer(status, f"Location: {elsewhere.url}"))
    stream = ResilientStream(home.url, headers=SECRETS, backoff=QUICK)
    assert await collect(stream, 2) == ["hello", "hello"]
    assert len(home.requests) == len(elsewhere.requests) == 2
    for request in home.requests:
        assert {name: request.headers[name.lower()] for name in SECRETS} == SECRETS
    for request in elsewhere.requests:
        assert "secret" not in str(request)
    assert home.requests[1].cursor == "1"


@pytest.mark.own
async def test_redirect_tells_nothing_of_the_client(serve):
    """P11, P42, P58, F26: nor credentials, cookies and headers of an injected client, here of httpx2."""
    elsewhere = serve(hello)
    home = serve(lambda peer: peer.answer("307 Temporary Redirect", f"Location: {elsewhere.url}"))
    client = httpx2.AsyncClient(
        auth=("user", "secret"), headers={"X-API-Key": "secret"}, cookies={"session": "secret"}
    )
    async with client:
        stream = ResilientStream(home.url, client=client, headers={"X-Own": "secret"})
        assert await collect(stream, 1) == ["hello"]
    assert {"authorization", "x-api-key", "cookie", "x-own"} <= set(home.requests[0].headers)
    assert "secret" not in str(elsewhere.requests)


class Renewing(httpx.Auth):
    """Answers a 401 with a fresh token, as OAuth clients do."""

    def auth_flow(self, request):
        request.headers["Authorization"] = "Bearer stale"
        response = yield request
        if response.status_code == 401:
            request.headers["Authorization"] = "Bearer fresh"
            yield request


def private(peer):
    """Send one event to whom it knows."""
    given = peer.request.headers.get("authorization")
    if given in (httpx.BasicAuth("user", "secret")._auth_header, "Bearer fresh"):
        peer.open()
        peer.chunk(event(f"welcome {given.partition(' ')[0]}"))
        peer.hold()
    else:
        peer.answer("401 Unauthorized", "Connection: close")


@pytest.mark.parametrize(
    "auth,scheme", [(("user", "secret"), "Basic"), (Renewing(), "Bearer")], ids=["basic", "flow"]
)
async def test_credentials(serve, auth, scheme, over):
    """P10: whatever httpx takes as `auth` is carried out, a flow of several requests included."""
    if over == "httpx2" and scheme == "Bearer":
        pytest.skip("a flow of httpx's")
    stream = ResilientStream(serve(private).url, auth=auth, max_retries=0)
    assert await collect(stream, 1) == [f"welcome {scheme}"]


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
async def test_proxy_of_the_environment(serve, monkeypatch, variable):
    """P4, R201: our client goes through the proxy that the environment names, but to where `NO_PROXY` says."""
    proxy, server = serve(greet_and_end), serve(hello)
    monkeypatch.setenv(variable, proxy.origin)
    stream = ResilientStream("http://stream.invalid/events?topic=a", backoff=QUICK)
    assert await collect(stream, 2) == ["hello", "hello"]
    assert [request.target for request in proxy.requests] == ["http://stream.invalid/events?topic=a"] * 2
    assert proxy.requests[1].cursor == "1"
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    assert await collect(ResilientStream(server.url, max_retries=0), 1) == ["hello"]
    assert len(proxy.requests) == 2


def has_ipv6():
    """Tell whether this machine has an IPv6 loopback address."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 loopback")
async def test_ipv6(serve):
    """P25: an IPv6 address in brackets works."""
    server = serve(hello, host="::1")
    assert await collect(ResilientStream(server.url, max_retries=0), 1) == ["hello"]
    assert server.requests[0].headers["host"] == f"[::1]:{server.port}"


def ask_for_credentials(peer):
    """Refuse as a proxy."""
    peer.answer("407 Proxy Authentication Required", body=b"who are you?")


DEAD = {
    "refused": ("127.0.0.1:1", "connection refused"),
    "no-such-host": ("nowhere.invalid:3128", "no such host|cannot be looked up"),
    "no-port": ("Nowhere.invalid", "no such host|cannot be looked up"),
}


@pytest.mark.own
@pytest.mark.parametrize("injected", [False, True], ids=["environment", "client"])
@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("dead", DEAD)
async def test_a_dead_proxy_is_named(monkeypatch, dead, scheme, injected):
    """X24, 3.9: what cannot be reached is the proxy and not the server, and a setting says which."""
    where, words = DEAD[dead]
    if not injected:
        monkeypatch.setenv(f"{scheme}_proxy", f"http://user:secret@{where}")
    setting = "client=" if injected else f"{scheme}_proxy"
    async with httpx.AsyncClient(proxy=f"http://{where}") as client:
        stream = ResilientStream(
            f"{scheme}://stream.invalid/", max_retries=0, client=client if injected else None
        )
        with pytest.raises(RetriesExhaustedError, match=words) as caught:
            await anext(stream)
    named = where.lower() if ":" in where else f"{where.lower()}:80"
    assert f"over the proxy {named} ({setting}): " in str(caught.value)


@pytest.mark.own
@pytest.mark.parametrize(
    "scheme, behave, kind, words",
    [
        (
            "http",
            lambda peer: peer.hold(),
            RetriesExhaustedError,
            r"over the proxy {} \(ALL_PROXY\).*stall_timeout",
        ),
        (
            "http",
            ask_for_credentials,
            HandshakeError,
            r"^the proxy {} \(ALL_PROXY\) refuses the request: .*407",
        ),
        (
            "https",
            ask_for_credentials,
            HandshakeError,
            r"^the proxy {} \(ALL_PROXY\) refuses the request: .*407",
        ),
        (
            "https",
            lambda peer: peer.answer("503 Service Unavailable"),
            RetriesExhaustedError,
            r"over the proxy {} \(ALL_PROXY\): 503 Service Unavailable",
        ),
    ],
    ids=["silence", "407", "407 to a tunnel", "503 to a tunnel"],
)
async def test_a_proxy_that_fails_is_named(serve, monkeypatch, scheme, behave, kind, words):  # noqa: PLR0917 - fixtures
    """3.4, 3.9: with the setting, and the limit that struck; a 407 is the proxy's, to a request or a tunnel."""
    proxy = serve(behave)
    monkeypatch.setenv("ALL_PROXY", proxy.origin)
    stream = ResilientStream(f"{scheme}://stream.invalid/", max_retries=0, stall_timeout=0.5)
    with pytest.raises(kind, match=words.format(re.escape(proxy.origin.removeprefix("http://")))):
        await anext(stream)
