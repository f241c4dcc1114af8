"""The example `relay_app`: over the wire in the suite, in a real browser as a proof (issue 14, R50, R64-R76)."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import time

import anyio
import httpx
import pytest

from examples.relay_app import FAULTS, REPLY, Chat
from resilient_sse.testing.proxy import Bandwidth, BlackHole, FaultProxy, SegmentLoss
from tests.browser.chromium import PATIENCE, PROGRAM, Chromium
from tests.client.support import one_loop
from tests.docs.pages import ROOT
from tests.skipping import skip_aloud

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(os.name == "nt", reason="the service is ended by a signal")]

TEXT = " ".join(REPLY.split())
WORDS = len(TEXT.split())
ENDED = (-signal.SIGTERM, "")  # uvicorn raises the signal again when all is done
START = """
import sys, uvicorn
import examples.relay_app as example
example.SECONDS_A_WORD = float(sys.argv[2])
uvicorn.run(example.app, port=int(sys.argv[1]), log_level="warning", timeout_graceful_shutdown=5)
"""


class Service:
    """The example as a process, as quick as a test likes it."""

    def __init__(self, seconds_a_word, port=0):
        if not port:
            with socket.create_server(("127.0.0.1", 0)) as free:
                port = free.getsockname()[1]
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.process = subprocess.Popen(
            [sys.executable, "-c", START, str(port), str(seconds_a_word)],
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.get("/")

    def get(self, path, **options):
        """Ask, until it listens."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                return httpx.get(self.url + path, trust_env=False, **options)
            except httpx.TransportError:
                assert time.monotonic() < deadline
                assert self.process.poll() is None, self.process.stderr.read()
                time.sleep(0.05)

    def post(self, path):
        """Press a button."""
        return httpx.post(self.url + path, trust_env=False)

    def stop(self):
        """End it as uvicorn is ended, and return its exit code and what it complained about."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            _, complaints = self.process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        return self.process.returncode, complaints


@pytest.fixture
def started():
    """Start services, and end them."""
    services = []

    def start(seconds_a_word=0.05, port=0):
        services.append(Service(seconds_a_word, port))
        return services[-1]

    yield start
    for service in services:
        service.stop()


@one_loop
async def test_each_button_breaks_the_line():
    """What is pressed is in force, and told; healing takes all of it away, and opens the port again."""
    async with FaultProxy("127.0.0.1", 9) as proxy, anyio.create_task_group() as tasks:
        chat = Chat(None, proxy, tasks)
        for name in FAULTS.keys() - {"heal"}:
            chat.apply(name)
        assert {type(toxic) for toxic in proxy.toxics} == {BlackHole, Bandwidth, SegmentLoss}
        assert set(chat.broken) == {"stall", "slow", "loss", "down"}
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", proxy.port)
        chat.apply("heal")
        assert (proxy.toxics, chat.broken) == ((), [])
        _, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.close()


def blocks(lines, until):
    """Read the fields of blocks, up to one of the type *until*."""
    block = {}
    for line in lines:
        name, _, value = line.partition(": ")
        block |= {name: value} if line else {}
        if not line and "data" in block:
            yield block
            if block.get("event") == until:
                return
            block = {}


def test_a_reply_over_the_wire(started):
    """Every client gets it whole over a reset and resumes by id, and SIGTERM ends open streams cleanly."""
    service = started(0.01)
    assert "<title>A reply that survives its network</title>" in service.get("/").text
    assert service.post("/fault/nonsense").status_code == 404
    with socket.create_connection(("127.0.0.1", service.port)) as stuck:  # takes nothing, and holds up nobody
        stuck.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        with httpx.stream("GET", service.url + "/events", timeout=PATIENCE, trust_env=False) as first:
            assert service.post("/ask").status_code == 202
            assert service.post("/ask").status_code == 409
            seen = []
            for block in blocks(first.iter_lines(), "done"):
                seen.append(block)
                if block.get("id") == "20":
                    assert service.post("/fault/reset").json() == []
            after = {"Last-Event-ID": "40"}
            with httpx.stream("GET", service.url + "/events", headers=after, timeout=PATIENCE) as second:
                lines = second.iter_lines()
                resumed = list(blocks(lines, "done"))
                assert service.stop() == ENDED
                assert not any("id:" in line for line in lines)  # a response that was cut would raise
    words = [re.search(r'"text": "([^"]*)"', block["data"])[1] for block in seen if "text" in block["data"]]
    assert "".join(words) == TEXT
    texts = [
        re.search(r'"message": "([^"]*)"', block["data"])[1] for block in seen if "state" in block["data"]
    ]
    assert texts[:3] == [
        "Connected",
        "Connection lost - attempting to reconnect...",
        "Connection restored - resuming stream...",
    ]
    assert [block["id"] for block in resumed if "text" in block["data"]] == [
        str(number) for number in range(41, WORDS + 1)
    ]


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    """Run a browser for all proofs."""
    if PROGRAM is None:
        skip_aloud("chromium, for the page of examples/relay_app")
    with Chromium(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def opened(chromium):
    """Open tabs, and close them."""
    tabs = []

    def tab(service):
        tabs.append(chromium.open(service.url))
        tabs[-1].wait_for_text("#downstream", "connected")
        return tabs[-1]

    yield tab
    for tab in tabs:
        tab.close()


def click(page, selector):
    """Click a button."""
    page.evaluate(f"document.querySelector('{selector}').click()")


def log(page):
    """Return what the page lists as said by the stream, the oldest first."""
    return page.evaluate(
        "[...document.querySelectorAll('#log li')].map(li => li.lastChild.textContent).reverse()"
    )


def assert_whole(page):
    """The reply is complete, with every word once."""
    page.wait_for_text("#message", "Response complete")
    page.wait(f"counts.words === {WORDS}")
    assert page.text("#replies") == TEXT
    assert (page.text("#missing"), page.text("#twice")) == ("0", "0")
    assert page.text("#word") == "complete"


LOST, RESTORED = "Connection lost - attempting to reconnect...", "Connection restored - resuming stream..."


@pytest.mark.proof
@pytest.mark.parametrize(
    "fault, said",
    [
        ("stall", ["Connected", "Waiting for server response...", LOST]),
        ("reset", ["Connected", LOST, RESTORED]),
        ("slow", ["Connected"]),
        ("loss", ["Connected"]),
    ],
)
def test_each_way_to_break_it(started, opened, fault, said):
    """The page says what happens, both tabs show the network, and after healing no word is missing or twice."""
    service = started()
    page, other = opened(service), opened(service)
    assert page.text("#replies") == "Nothing asked yet."
    click(page, "#ask")
    page.wait("counts.words >= 10")
    click(page, f"[data-fault={fault}]")
    if fault != "reset":
        for each in (page, other):
            each.wait(
                f"document.querySelector('[data-fault={fault}]').getAttribute('aria-pressed') === 'true'"
            )
    page.wait(f"document.querySelectorAll('#log li').length >= {len(said)}")
    assert log(page)[: len(said)] == said
    click(other, "#heal")
    for each in (page, other):
        assert_whole(each)
        assert each.evaluate("document.querySelectorAll('[aria-pressed=true]').length") == 0
    if fault in ("stall", "reset"):
        assert page.text("#mended") == "1"
        assert log(page)[-2:] == [RESTORED, "Response complete"]


@pytest.mark.proof
def test_giving_up_and_going_on(started, opened):
    """Each attempt is counted, the end is told, who comes then learns of it, and the reply goes on (R75)."""
    service = started()
    page = opened(service)
    click(page, "#ask")
    page.wait("counts.words >= 10")
    click(page, "[data-fault=down]")
    page.wait_for_text("#retry", "3 of 5")
    page.wait_for_text("#next", " s")
    page.wait_for_text("#message", "Failed to connect. Please refresh.")
    assert log(page)[1:] == [
        LOST,
        *(f"Reconnecting (attempt {attempt})..." for attempt in range(2, 6)),
        "Failed to connect. Please refresh.",
    ]
    assert page.text("#word") == page.text("#upstream") == "error"
    late = opened(service)
    late.wait_for_text("#message", "Failed to connect. Please refresh.")
    click(page, "#heal")
    assert page.text("#ask") == late.text("#ask") == "Try again"
    click(late, "#ask")
    for each in (page, late):
        assert_whole(each)


@pytest.mark.proof
def test_with_the_keyboard_alone(started, opened):
    """Every control is reached in the order of the page, shows its focus, and works (Tab, Enter, Space)."""
    page = opened(started())
    reached = []
    while "log" not in reached:
        page.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.dataset.fault"))
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    assert reached == ["replies", "ask", "stall", "reset", "slow", "loss", "down", "heal", "log"]
    for _ in range(7):
        page.press("Tab", shift=True)
    page.press("Enter")
    page.wait("counts.words >= 5")
    assert page.evaluate("document.activeElement.id") == "ask"  # it keeps the focus while it can do nothing
    page.press("Tab")
    page.press(" ")
    page.wait_for_text("#message", "Waiting for server response...")
    for _ in range(5):
        page.press("Tab")
    page.press("Enter")
    assert_whole(page)


@pytest.mark.proof
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_for_those_who_see_little_or_nothing(started, opened, scheme):
    """Changes are announced, controls have names, all text has contrast, and nothing moves that should not."""
    page = opened(started())
    features = {"prefers-color-scheme": scheme, "prefers-reduced-motion": "reduce"}
    page.call("Emulation.setEmulatedMedia", features=[{"name": n, "value": v} for n, v in features.items()])
    click(page, "#ask")
    page.wait("counts.words >= 5")
    assert page.evaluate("getComputedStyle(reply, '::after').animationName") == "none"
    nodes = page.call("Accessibility.getFullAXTree")["nodes"]
    names = [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in nodes
        if not node["ignored"]
    ]
    assert ("button", "Stall nothing passes, nothing ends") in names
    assert {("log", "Reply"), ("group", "Break the network"), ("list", "What the stream said")} <= set(names)
    assert all(name for role, name in names if role == "button")
    (status,) = (node for node in nodes if node["role"]["value"] == "status")
    assert {each["name"]: each["value"]["value"] for each in status["properties"]}["live"] == "polite"
    assert page.evaluate("document.querySelector('[role=status]').innerText").split() == [
        "●",
        *["connected", "Connected"],
    ]
    assert page.evaluate(CONTRAST) >= 4.5


CONTRAST = """
(() => {
  const light = (c) => c.map((v) => (v /= 255) <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, at) => sum + v * [.2126, .7152, .0722][at], 0);
  const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
  const behind = (e) => { for (; e; e = e.parentElement) {
    const c = rgb(getComputedStyle(e).backgroundColor); if (c.length < 4 || c[3]) return c.slice(0, 3); } };
  let least = 21;
  for (const e of document.querySelectorAll("h1, h2, p, li, dt, dd, b, small, time, #word, #glyph")) {
    if (!e.innerText) continue;
    const [a, b] = [light(rgb(getComputedStyle(e).color).slice(0, 3)), light(behind(e))];
    least = Math.min(least, (Math.max(a, b) + .05) / (Math.min(a, b) + .05));
  }
  return least;
})()
"""
"""The least contrast of a text with what is behind it, as WCAG defines it."""


@pytest.mark.proof
def test_a_tab_that_is_offline(started, opened):
    """The five steps of a hand-off by the developer tools: the page resumes behind its last word (R50)."""
    page = opened(started())
    page.call("Network.enable")
    click(page, "#ask")
    page.wait("counts.words >= 10")
    offline = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    page.call("Network.emulateNetworkConditions", offline=True, **offline)
    page.wait_for_text("#downstream", "offline")
    page.call("Network.emulateNetworkConditions", offline=False, **offline)
    page.wait_for_text("#downstream", "connected")
    assert_whole(page)


@pytest.mark.proof
def test_a_service_that_hangs(started, opened):
    """The page notices the silence, which `EventSource` does not, and goes on when the service does."""
    service = started()
    page = opened(service)
    click(page, "#ask")
    page.wait("counts.words >= 10")
    service.process.send_signal(signal.SIGSTOP)
    try:
        page.wait_for_text("#downstream", "silent")
    finally:
        service.process.send_signal(signal.SIGCONT)
    page.wait_for_text("#downstream", "connected")
    assert_whole(page)


@pytest.mark.proof
def test_a_slow_tab_and_a_reload(started, opened):
    """A tab on a slow line comes to the end in its own time, another is not held up, a reload shows all again."""
    service = started(0.02)
    slow, quick = opened(service), opened(service)
    slow.call("Network.enable")
    slow.call(
        "Network.emulateNetworkConditions",
        offline=False,
        latency=0,
        downloadThroughput=500,
        uploadThroughput=-1,
    )
    slow.evaluate("open()")  # the developer tools throttle what is new
    slow.wait_for_text("#downstream", "connected")
    click(quick, "#ask")
    assert_whole(quick)
    assert slow.evaluate("counts.words") < WORDS
    assert_whole(slow)
    quick.call("Page.reload")
    quick.wait_for_text("#message", "Response complete")
    assert_whole(quick)


@pytest.mark.proof
def test_the_service_is_restarted(started, opened):
    """It ends at once although pages are open; they come back by themselves, and show what the new one has."""
    service = started()
    page = opened(service)
    click(page, "#ask")
    assert_whole(page)
    assert service.stop() == ENDED
    page.wait_for_text("#downstream", "reconnecting")
    started(port=service.port)
    page.wait_for_text("#downstream", "connected")
    page.wait_for_text("#log", "This page was away for too long")
    click(page, "#ask")
    page.wait(f"counts.words === {2 * WORDS}")
    assert page.text("#replies") == TEXT
