"""`resilient-sse probe`: its verdict on servers that do one thing wrong, mostly in virtual time."""

import json
import shutil
import subprocess
import tempfile
import time
from contextlib import contextmanager
from functools import partial
from itertools import count
from pathlib import Path

import anyio
import httpx
import pytest

from resilient_sse._client.request import RequestTemplate
from resilient_sse._core.errors import HandshakeError
from resilient_sse.cli.exits import Exit
from resilient_sse.cli.probe.asking import examine
from resilient_sse.cli.probe.checks import check_all, compare
from resilient_sse.cli.probe.seen import Arrival, Item, Seen
from resilient_sse.testing import comment, event, pause
from resilient_sse.testing.script import Reply
from resilient_sse.testing.server import ReferenceServer, faults
from resilient_sse.testing.server import serving as running_server
from tests.e2e.raw_server import CHUNKED, EVENT_STREAM, RawServer
from tests.skipping import skip_aloud

URL = "https://host/stream"
GOOD = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",
    "Transfer-Encoding": "chunked",
}
GOOD_LOWER = {name.lower(): value for name, value in GOOD.items()}
EVENTS = tuple((str(number), f"event {number}") for number in range(1, 7))
BEATS = (pause(10), comment("ping")) * 4
NUMBERS = count(1)
FROM = {name: number for number, (name, _) in enumerate(EVENTS, 1)}


def written(due):
    """Write events, a second apart."""
    return [part for name, data in due for part in (pause(1), event(data, id=name))][1:]


def behind(more, of=1):
    """Begin so many events behind the one that is named, or before it; of all, only each second has come."""

    def position(request):
        asked = FROM.get(request.last_event_id, 0)
        return max(asked // of + more, 0) if asked else 0

    return position


def serving(*, headers=(), beats=BEATS, events=EVENTS, position=None, shape=written, **options):
    """Return a handler that gives again what follows a *position*, and is live."""

    def answer(request):
        return Reply(
            *shape(events[(position or behind(0))(request) :]),
            *beats,
            headers={**GOOD, **dict(headers)},
            **options,
        ).hang()

    return answer


async def examined(script, step, request=(), **options):
    """Return what a probe finds with a server that always answers so."""
    script.always(step)
    async with script.client() as client:
        return await examine(client, RequestTemplate(**{"url": URL, **dict(request)}), **options)


def complaints(found):
    """Return the checks that warn or fail."""
    return {check.id: check.verdict for check in check_all(found) if check.verdict in ("warn", "fail")}


def said(found, name):
    """Return the verdict of one check, and what it has found."""
    return next((check.verdict, check.found) for check in check_all(found) if check.id == name)


async def test_a_good_server(script):
    """R133-R142: nothing to complain of, and nothing that was not seen."""
    found = await examined(script, serving())
    assert complaints(found) == {}
    assert [check.id for check in check_all(found) if check.verdict == "not seen"] == []
    assert (found.first.headers_at, found.first.first_event, found.first.cadence) == (0, 0, 10)
    told = "by the header Last-Event-ID: 3 of 3 events came again, in order"
    assert said(found, "resume") == ("ok", told)
    assert [request.last_event_id for request in script.requests] == [None, "3", None]
    assert [request.headers["accept-encoding"] for request in script.requests][1:] == ["identity", "gzip"]
    assert script.requests[-1].at < 30  # a server that shows all of it needs no 45 s


def by_param(request):
    """Begin where a query parameter says."""
    return FROM.get(httpx.URL(request.url).params.get("last_event_id"), 0)


def of_the_connection(request):
    """Number the events of a connection."""
    return Reply(
        *[event(f"at {request.at}, {number}", id=str(number)) for number in range(4)], *BEATS, headers=GOOD
    ).hang()


def limited(request):
    """Give again one event at most."""
    due = EVENTS[3:4] if request.last_event_id else EVENTS
    return Reply(*written(due), *BEATS, headers=GOOD).hang()


def held(due):
    """Have what is due arrive in blocks of a size, as a buffer lets it out."""
    data = b"".join(part for part in written(due) if isinstance(part, bytes))
    return [part for at in range(0, len(data), 50) for part in (pause(2), data[at : at + 50])]


def trickling(due, every=0.03):
    """Have every byte come alone."""
    return [
        part
        for byte in b"".join(event(data, id=name) for name, data in due)
        for part in (bytes([byte]), pause(every))
    ]


def at_once(due):
    """Have three events arrive at once."""
    return [
        part
        for at in (0, 3)
        for part in (pause(5), b"".join(event(data, id=name) for name, data in due[at : at + 3]))
    ][: 2 + 2 * (len(due) > 3)]


def greeted(due):
    """Begin with an event that has no id and differs each time, as many servers do."""
    return [event(f"connection {next(NUMBERS)}", event="open"), *written(due)]


def in_latin_1(due):
    """Write another encoding."""
    return [event(f"\xe9t\xe9 {name}", id=name).decode().encode("latin-1") for name, _ in due]


def endless(due):
    """Write a line that is longer than an event may be."""
    return [*written(due), b"data: ", *[b"x" * 2**20] * 17]


PAIR = (event("a", id="1"), event("b", id="2"))
TOKENS = tuple((str(number // 2), f"token {number}") for number in range(6))

SERVERS = {
    "no Cache-Control": (serving(headers={"Cache-Control": ""}), {"cache-control": "warn"}),
    "cached": (serving(headers={"Cache-Control": "public, max-age=60"}), {"cache-control": "fail"}),
    "answered by a cache": (serving(headers={"Age": "7"}), {"cache-control": "fail"}),
    "X-Accel-Buffering: yes": (serving(headers={"X-Accel-Buffering": "yes"}), {"x-accel-buffering": "fail"}),
    "another charset": (
        serving(headers={"Content-Type": f"text/event-stream; charset=latin-1; {'x' * 1000}"}),
        {"content-type": "warn"},
    ),
    "Content-Length": (serving(headers={"Content-Length": "900"}), {"framing": "warn"}),
    "Connection: close": (serving(headers={"Connection": "close"}), {"framing": "warn"}),
    "gzip unasked": (serving(gzip=True), {"compression": "fail"}),
    "br unasked": (serving(headers={"Content-Encoding": "br"}), {"compression": "fail", "end": "fail"}),
    "late headers": (serving(after=2.0), {"headers": "warn"}),
    "no headers": (serving(after=100.0), {"headers": "fail"}),
    "a buffer": (serving(shape=held), {"buffering": "fail"}),
    "heartbeats held back": (
        serving(beats=(pause(14), comment("ping 1") + comment("ping 2"), pause(14))),
        {"buffering": "fail"},
    ),
    "bursts": (serving(shape=at_once), {"buffering": "warn"}),
    "one burst": (serving(shape=lambda due: [*at_once(due)[:2], pause(1), *written(due[3:])]), {}),
    "silent": (serving(events=(), beats=()), {"buffering": "warn", "heartbeat": "fail"}),
    "no heartbeats": (serving(beats=()), {"heartbeat": "fail"}),
    "slow heartbeats": (serving(beats=(pause(20), comment("ping"))), {"heartbeat": "warn"}),
    "ids taken by heartbeats": (
        serving(shape=lambda due: [event("{}", event="heartbeat", id="4"), *written(due)]),
        {"heartbeat": "fail"},
    ),
    "no ids": (
        serving(shape=lambda due: [event(data) for _, data in due]),
        {"ids": "fail", "resume": "fail"},
    ),
    "shared ids": (serving(events=TOKENS, position=behind(-6)), {"ids": "warn", "resume": "fail"}),
    "each twice": (serving(shape=lambda due: [part for part in written(due) for _ in "ab"]), {"ids": "fail"}),
    "out of order": (
        serving(events=[EVENTS[at] for at in (0, 2, 1, 3, 5, 4)], position=behind(0)),
        {"ids": "fail"},
    ),
    "trickling": (serving(shape=trickling), {"buffering": "warn"}),
    "trickling at ticks": (serving(shape=partial(trickling, every=0.1)), {"buffering": "warn"}),
    "gzip that is none": (
        serving(headers={"Content-Encoding": "gzip"}),
        {"compression": "fail", "end": "fail"},
    ),
    "holes": (serving(events=EVENTS[::2], position=behind(1, of=2)), {"ids": "warn"}),
    "from the start": (serving(position=behind(-6)), {"resume": "fail"}),
    "one too early": (serving(position=behind(-1)), {}),
    "a greeting": (serving(shape=lambda due: [event("hello"), *written(due)]), {}),
    "other greetings": (serving(shape=greeted), {}),
    "from the start, greeted": (serving(shape=greeted, position=behind(-6)), {"resume": "fail"}),
    "greeted, leaves out": (serving(shape=greeted, position=behind(1)), {"resume": "fail"}),
    "leaves out": (serving(position=behind(1)), {"resume": "fail"}),
    "a limit": (limited, {"resume": "warn"}),
    "live only": (serving(position=behind(6)), {"resume": "fail"}),
    "by a parameter": (serving(position=by_param), {}),
    "ids of a connection": (of_the_connection, {"resume": "fail"}),
    "no UTF-8": (serving(shape=in_latin_1), {"event-format": "fail"}),
    "half an event": (lambda _: Reply(PAIR[0], b"data: b\n", headers=GOOD), {"event-format": "fail"}),
    "JSON": (lambda _: Reply(b'{"error": "quota"}', headers=GOOD), {"event-format": "fail"}),
    "an endless line": (serving(shape=endless), {"event-format": "fail"}),
    "an idle limit": (lambda _: Reply(*PAIR, pause(15), headers=GOOD), {"end": "warn"}),
    "a reset": (lambda _: Reply(*PAIR, headers=GOOD).drop(), {"end": "fail"}),
}


@pytest.mark.parametrize("name", SERVERS)
async def test_one_thing_wrong(script, name):
    """R133-R142, P32: a server that does one thing wrong is told so, and nothing else; the others are right."""
    server, expected = SERVERS[name]
    found = await examined(script, server)
    assert complaints(found) == expected
    assert {check.id for check in check_all(found) if check.change} == {*expected}
    assert max(len(check.found) for check in check_all(found)) <= 200
    assert script.requests[-1].at <= 45


async def test_credentials(script):
    """P32: they are sent with each request, as they are given, or as they stand in the address."""
    await examined(script, serving(), auth=("me", "p"))
    await examined(script, serving(), {"url": "https://me:p@host/stream"})
    assert {request.headers["authorization"] for request in script.requests} == {"Basic bWU6cA=="}


async def test_one_heartbeat(script):
    """A rhythm takes two; of one is said when it came."""
    found = await examined(script, serving(beats=(pause(14), comment("ping"))))
    assert said(found, "heartbeat") == ("ok", "one, 19.0 s behind the headers")
    assert found.first.cadence is None


async def test_dialects(script):
    """P32: a server with a dialect of its own is asked in it, and the preset is named."""

    def answer(request):
        offset = httpx.URL(request.url).params.get("offset")
        due = EVENTS[FROM.get(offset, 0) :]
        blocks = [(event(data), event(f'{{"streamNextOffset": "{n}"}}', event="control")) for n, data in due]
        return Reply(*[part for block in blocks for part in block], *BEATS, headers=GOOD).hang()

    found = await examined(script, answer)
    assert said(found, "resume")[0] == "ok"
    assert said(found, "ids") == ("ok", "positions are read by resume.control_event()")
    assert complaints(found) == {}


@pytest.mark.parametrize("again", [False, True])
async def test_a_post_is_sent_once(script, again):
    """A request that may do something is sent once, and that is said; `--again` sends it for each question."""
    request = {"method": "POST", "content": b"{}"}
    found = await examined(script, serving(), request, again=again)
    assert len(script.requests) == (3 if again else 1)
    assert said(found, "resume")[0] == ("ok" if again else "not seen")
    assert said(found, "compression")[0] == ("ok" if again else "not seen")
    assert ("--again" in said(found, "resume")[1]) is not again


async def test_a_post_that_says_where_its_answer_is(script):
    """Such an answer is asked for with GET, for that repeats nothing."""
    found = await examined(
        script, serving(headers={"Location": "/runs/1"}), {"method": "POST", "content": b"{}"}
    )
    asked = [(request.method, request.url, request.last_event_id) for request in script.requests]
    assert asked == [("POST", URL, None), ("GET", "https://host/runs/1", "3")]
    assert said(found, "resume")[1].startswith("by resume.location(): 3 of 3")


@pytest.mark.parametrize("location", ["http://[::1", "file:///etc/passwd", "http://host:99999/"])
async def test_an_address_that_is_none(script, location):
    """What else was found is told all the same, and the other ways to resume are tried."""
    request = {"method": "POST", "content": b"{}"}
    found = await examined(script, serving(headers={"Location": location}), request)
    verdict, told = said(found, "resume")
    assert (verdict, told[:23]) == ("fail", "by resume.location(): r")
    found = await examined(script, serving(headers={"Location": location}), request, again=True)
    assert said(found, "resume") == (
        "ok", "by the header Last-Event-ID: 3 of 3 events came again, in order"
    )  # fmt: skip


@pytest.mark.parametrize(
    "body", ['{"sequence_number": %s, "response": "x"}', '{"sequence_number": %s, "x": ' + "[" * 200_000]
)
async def test_data_that_only_resembles_a_dialect(script, body):
    """What a preset cannot read, a string for an object or brackets without end, has no position in it."""
    found = await examined(script, serving(events=[(name, body % name) for name, _ in EVENTS]))
    assert said(found, "resume")[1].startswith("by the header Last-Event-ID: 3 of 3")


async def test_a_refused_resume(script):
    """A server that is away, or refuses, when it is asked to resume is told so; nothing is raised."""
    script.play(serving())
    script.refuse()
    script.reject(503)
    script.always(serving())
    async with script.client() as client:
        found = await examine(client, RequestTemplate(url=URL))
    verdict, told = said(found, "resume")
    assert verdict == "fail"
    assert "no answer" in told


@pytest.mark.parametrize(
    "named,got,status,ended,silence,verdict",
    [
        (3, "46", 200, "", 0, "fail"),
        (3, "4956", 200, "", 0, "fail"),
        (3, "9456", 200, "", 0, "fail"),
        (3, "9", 200, "", 0, "fail"),
        (3, "4", 200, "eof", 0, "fail"),
        (3, "4", 200, "", 0.5, "ok"),
        (3, "3", 200, "", 5, "fail"),
        (3, "", 204, "", 0, "fail"),
        (3, "", 410, "", 0, "fail"),
        (3, "", 0, "", 0, "not seen"),
        (6, "", 204, "", 0, "ok"),
        (6, "", 200, "", 0, "not seen"),
        (6, "", 410, "", 0, "fail"),
    ],
)
def test_what_resuming_came_to(*, named, got, status, ended, silence, verdict):
    """P32, R142: of six events one was named; what comes decides, and whether anything had to."""
    seen = Seen(status=status, headers=GOOD_LOWER, ended=ended, seconds=1 + silence)
    for name in got:
        seen.take(event(f"event {name}", id=name), 1)
    known = [Item("message", f"event {name}", name) for name in "123456"]
    assert compare(known, named - 1, seen)[0] == verdict
    seen.arrivals[:0] = [Arrival(0, 0, 0, [Item("open", "connection 2")])] * (status == 200)
    assert compare([Item("open", "connection 1"), *known], named, seen)[0] == verdict, "greeted"


async def test_a_server_that_only_goes_on(script):
    """P32: a server that ignores the id and sends what is new, as most without a history do, is told so."""
    script.play(serving())
    found = await examined(script, serving(events=(("7", "event 7"), ("8", "event 8")), position=lambda _: 0))
    told = "by the header Last-Event-ID: none of 3 events came again, but others, from 7 on"
    assert said(found, "resume") == ("fail", told)


@pytest.mark.parametrize(
    "beats,events,every",
    [
        ([2, 4, 6], [0.5, 1, 3.2, 5.9], 2),  # by the clock, whatever else is sent
        ([11, 24], [1, 14], 10),  # after so long a silence
        ([0.1, 12], [], None),  # a greeting, and one
    ],
)
def test_cadence(beats, events, every):
    """R138: heartbeats by the clock, and those that each event puts off, are told apart."""
    seen = Seen(status=200)
    for at in sorted(beats + events):
        seen.take(comment("ping") if at in beats else event("x"), at)
    assert seen.cadence == (every and pytest.approx(every))


# --- Real sockets


def upstream(peer):
    """Send an event each 0.1 s, behind three at once; on `/idle` those only; on `/default` without chunks."""
    last, target = int(peer.request.cursor or 0), peer.request.target
    chunked = "/default" not in target
    peer.head(EVENT_STREAM, "Cache-Control: no-cache", CHUNKED if chunked else "Connection: close")
    for number in range(last + 1, 1000):
        data = event(f"{number} {'x' * 150}", id=str(number))
        peer.chunk(data) if chunked else peer.send(data)
        if number > last + 2:
            peer.hold() if "/idle" in target else time.sleep(0.1)


NGINX = """
daemon off; pid {here}/pid; error_log stderr notice; user root;
events {{ worker_connections 64; }}
http {{
  access_log off; gzip_types text/event-stream; gzip_proxied any; gzip_min_length 0;
  client_body_temp_path {here}/body; proxy_temp_path {here}/proxy; fastcgi_temp_path {here}/fastcgi;
  uwsgi_temp_path {here}/uwsgi; scgi_temp_path {here}/scgi;
  proxy_buffer_size 1k; proxy_buffers 4 1k; proxy_busy_buffers_size 2k;
  proxy_http_version 1.1;
  server {{
    listen unix:{here}/nginx;
    location /direct {{ proxy_buffering off; proxy_pass http://127.0.0.1:{port}; }}
    location /default {{ proxy_http_version 1.0; proxy_pass http://127.0.0.1:{port}; }}
    location /flushed {{ proxy_buffering off; gzip on; proxy_pass http://127.0.0.1:{port}; }}
    location /gzip {{ gzip on; proxy_pass http://127.0.0.1:{port}; }}
    location /idle {{ proxy_buffering off; proxy_read_timeout 1s; proxy_pass http://127.0.0.1:{port}; }}
  }}
}}
"""


@contextmanager
def nginx(port):
    """Run nginx before what listens on a port, and give where it listens itself."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        skip_aloud("nginx is not installed: the Debian package `nginx-light` has it")
    with tempfile.TemporaryDirectory(prefix="probe-") as here:
        config = Path(here) / "nginx.conf"
        config.write_text(NGINX.format(here=here, port=port))
        command = [program, "-c", str(config), "-p", here, "-e", "stderr"]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            try:
                for line in process.stderr:
                    if "start worker process " in line:
                        break
                else:
                    pytest.fail("nginx has ended")
                yield f"{here}/nginx"
            finally:
                process.terminate()


@pytest.mark.e2e
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_nginx(anyio_backend):
    """P32, R135, R137: nginx that buffers, compresses, flushes, or cuts what is idle."""
    expected = {
        "direct": {},
        "default": {"buffering": "fail"},
        "flushed": {},
        "gzip": {"compression": "fail"},
        "idle": {"end": "fail"},
    }
    results = {}
    with RawServer(upstream) as server, nginx(server.port) as place:
        async with (
            httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=place)) as client,
            anyio.create_task_group() as tasks,
        ):

            async def ask(name):
                results[name] = await examine(
                    client, RequestTemplate(url=f"http://nginx/{name}"), seconds=6.0
                )

            for name in expected:
                tasks.start_soon(ask, name)
    told = {name: complaints(found) for name, found in results.items()}
    for complaint in told.values():
        complaint.pop("headers", None)  # of a machine that is slow to answer
    assert told == expected
    assert said(results["flushed"], "compression")[1].startswith("gzip for a client that takes it")
    assert "silence" in said(results["idle"], "end")[1]


ACCEPTED = b" 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"


@pytest.mark.e2e
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize(
    "endless,fails",
    [
        ((b"HTTP/1.1 200 OK\r\n", b"X-Drip: drip\r\n", 0.05), {"headers"}),
        ((b"HTTP/1.0" + ACCEPTED + b"data: ", b"x", 0.05), {"framing", "event-format"}),
        ((b"HTTP/1.1" + ACCEPTED, event("x" * 1000, id="1") * 50, 0.0), {"ids", "resume"}),
        ((b"HTTP/1.1" + ACCEPTED, comment("ping") * 50, 0.0), set()),
    ],
    ids=["headers", "a line", "events", "comments"],
)
async def test_hostile_servers(anyio_backend, endless, fails):
    """The probe ends in its time whatever a server sends without end."""
    head, part, every = endless

    def send(peer):
        peer.send(head)
        while True:
            peer.send(part)
            time.sleep(every)

    with RawServer(send) as server:
        async with httpx.AsyncClient() as client:
            found = await examine(client, RequestTemplate(url=server.url), seconds=1.0)
    assert {name for name, verdict in complaints(found).items() if verdict == "fail"} == fails
    assert found.first.size < 2 * 2**20


# --- The command


def test_what_is_printed(run, site):
    """P32: status, headers, times and verdicts fit 80 columns; standard error says what is waited for."""
    done = run("probe", f"{site}/reply")
    assert done.code == Exit.ENDED
    assert done.out.startswith(f"GET {site}/reply\nHTTP/1.1 200; headers 0.")
    assert "  content-type: text/event-stream; charset=utf-8\n" in done.out
    assert "\nok        resume             by the header Last-Event-ID: 2 of 2 events came" in done.out
    assert "\nwarn      cache-control      none\n" in done.out
    assert done.out.endswith("not seen.\n")
    assert max(map(len, done.out.splitlines())) <= 80
    assert done.err == "* waiting for events\n* waiting for what follows 2\n* waiting for gzip\n"


def test_json(run, site):
    """One object, with the figures and every check; a failed one is the exit code, and nothing else is said."""
    done = run("probe", "--json", "-q", "--timeout", "2", "-d", "x=1", f"{site}/echo?secret=1")
    told = json.loads(done.out)
    assert (done.code, done.err) == (Exit.GAVE_UP, "")
    assert (told["request"], told["status"], told["events"]) == (f"POST {site}/echo", 200, 1)
    assert told["headers"]["content-type"].startswith("text/event-stream")
    checks = {check["id"]: check for check in told["checks"]}
    assert checks["ids"]["verdict"] == "fail"
    assert checks["ids"]["change"]
    assert 0 <= told["headers_at"] <= told["first_byte_at"] <= told["first_event_at"] <= told["seconds"]


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_what_a_server_echoes(run, site, form):
    """No control character or cookie is printed, nor our query, user, password and headers, however sent back."""
    secrets = ["tok/en", "Bearer", "hunter2", "dTpodW50ZXIy", "Zorro"]
    query = "key=tok%2Fen&echo=" + "+".join(secrets)
    done = run(
        *("probe", "--timeout", "2", *form, "-u", "u:hunter2", "-H", "Authorization: Bearer Zorro"),
        f"{site}/mirror?{query}",
    )
    assert "x-mirror" in done.out
    assert "\x1b" not in done.out + done.err
    assert form or "  set-cookie: ...\n" in done.out
    assert [secret for secret in [*secrets, "tok%2Fen"] if secret in done.out + done.err] == []


@pytest.mark.parametrize(
    "path,words",
    [
        ("missing", "status 404, content type application/json"),
        ("page", "status 200, content type text/html"),
    ],
)
def test_what_is_no_stream(run, site, path, words):
    """The verdict on the answer, and one line on standard error."""
    done = run("probe", "-q", f"{site}/{path}")
    assert (done.code, done.err.count("\n")) == (Exit.REFUSED, 1)
    assert f"the answer is no event stream: {words}" in done.err
    assert "\nfail  answer  status" in done.out


@pytest.mark.e2e
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_redirects_without_end(anyio_backend):
    """They are an error, for there is no answer."""
    server = ReferenceServer(faults=faults.Faults(then=faults.RedirectLoop()))
    with running_server(server) as running:
        async with httpx.AsyncClient() as client:
            with pytest.raises(HandshakeError, match="redirect"):
                await examine(client, RequestTemplate(url=running.url))
