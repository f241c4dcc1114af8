"""
`resilient-sse demo`: a real server, a network that misbehaves, and a client that loses nothing.

People see one picture that moves, or plain lines, and in the end what was promised and kept.
"""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from secrets import randbelow
from typing import TYPE_CHECKING, TypeAlias

from resilient_sse.cli.arguments import command, plain_option, seed_option
from resilient_sse.cli.exits import Exit

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rich.console import Console, RenderableType
    from rich.panel import Panel
    from rich.table import Table

    from resilient_sse.testing.report import Judged
    from resilient_sse.testing.scenarios import Entry, Follower, RunLog

__all__ = ["demo"]

_Row: TypeAlias = tuple[float, str, str, str]
"""When, who, what, and in which style."""

_SEEDS = 10_000
_FRAME = 0.1
"""Seconds between two drawings."""
_PLAIN_COLUMNS = 200

_STYLES = {
    "connected": "green",
    "waiting": "yellow",
    "reconnecting": "magenta",
    "error": "red",
    "closed": "blue",
}
_FAULTS = {
    "reset": "resets the connection, with messages under way",
    "silence": "falls silent, on an open connection",
    "restart": "restarts: ends the connection, then answers 503",
}
_NEXT = (
    "Next: docs/start/first-stream.md writes such a client in ten lines; `resilient-sse tail URL` follows a "
    "stream of yours; `resilient-sse report` plays six production scenarios."
)


@command(
    "Watch a stream survive a bad network (about 20 s).",
    "Start a server on this machine, stream a reply of 50 messages from it over connections that break in four "
    "ways, and show that none is lost and none repeated.  Needs the extra resilient-sse[demo].",
    examples="resilient-sse demo\nresilient-sse demo --plain --seed 7",
    exits={0: "all promises were kept", 1: "one was not"},
)
@seed_option
@plain_option
def demo(*, seed: int | None, plain: bool) -> int:
    """Play the demo, show it, and return the exit code: 0 only if every promise was kept."""
    import anyio

    from resilient_sse.testing.extra import require

    require("the demo", "rich", extra="demo")
    # The server is on this machine: a proxy that the environment names has no part in this.
    os.environ["no_proxy"] = "*"
    live = sys.stdout.isatty() and not plain
    judged = anyio.run(_run, randbelow(_SEEDS) if seed is None else seed, live)
    return Exit.ENDED if judged.passed else Exit.GAVE_UP


async def _run(seed: int, live: bool) -> Judged:
    """Play the demo, show it, and return what it came to."""
    import anyio
    from rich.console import Console
    from rich.live import Live

    from resilient_sse.cli.demo.scenario import REPLY, demo_scenario
    from resilient_sse.testing.report import Judged
    from resilient_sse.testing.scenarios import Run, play
    from resilient_sse.testing.scenarios.real import RealDriver

    plain = Console(width=_PLAIN_COLUMNS, color_system=None, highlight=False)
    console = Console(highlight=False) if live else plain
    followers: list[Follower] = []
    logs: list[RunLog] = []
    shown = 0
    scenario = demo_scenario(followers.append)
    print(f"A reply of {len(REPLY)} messages over a network that misbehaves, seed {seed}.", flush=True)

    async def playing() -> None:
        logs.append(await play(scenario, RealDriver(seed)))

    # Drawn here and not by a thread of rich's: the record may change under a thread.
    with Live(console=console, auto_refresh=False, transient=True) if live else nullcontext() as picture:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(playing)
            while not logs:
                await anyio.sleep(_FRAME)
                entries = followers[0].log.entries if followers else []
                for at, source, text, style in _rows(entries[shown:], words=not live):
                    if live:
                        console.print(_row(at, source, text, style))
                    else:
                        print(f"{at:6.2f}  {source:<7}  {text}", flush=True)
                shown = len(entries)
                if picture is not None and followers:
                    picture.update(_picture(followers[0]), refresh=True)
    judged = Judged.of(Run(logs[0].name, logs[0].entries), scenario)
    if live:
        console.print(_reply(followers[0]))
    _conclude(console, judged, scenario.words, seconds=logs[0].now())
    return judged


def _rows(entries: Sequence[Entry], *, words: bool = False) -> Iterator[_Row]:
    """Yield what happened, as people read it; single messages only where *words* are wanted."""
    from resilient_sse.cli.demo.scenario import REPLY

    for entry in entries:
        facts = entry.facts
        match entry.kind:
            case "fault":
                yield entry.at, "server", _FAULTS[facts["name"]], "bold"
            case "state":
                text = f"{facts['new']}: {facts['message']}"
                if facts["delay"] is not None:
                    text += f" ({facts['reason']}; attempt {facts['attempt']} in {facts['delay']:.1f} s)"
                yield entry.at, "client", text, _STYLES.get(facts["new"], "")
            case "gap":
                yield entry.at, "client", f"gap: {facts['missing']} missing", "red"
            case "received" if words and facts["type"] == "message":
                yield entry.at, "message", f"{facts['id']:>2}  {REPLY[facts['id'] - 1]}", ""
            case _:
                pass


def _row(at: float, source: str, text: str, style: str) -> Table:
    from rich.table import Table
    from rich.text import Text

    row = Table.grid(padding=(0, 2, 0, 0))
    row.add_row(Text(f"{at:6.2f}", "dim"), f"{source:<6}", Text(text, style))
    return row


def _picture(follower: Follower) -> RenderableType:
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    from resilient_sse.cli.demo.scenario import REPLY

    state, entries = follower.state.value, follower.log.entries
    message = next((x.facts["message"] for x in reversed(entries) if x.kind == "state"), "Connecting...")
    progress = Table.grid(padding=(0, 1), expand=True)
    progress.add_column(ratio=1)
    progress.add_column(justify="right", no_wrap=True)
    count = len(_received(follower))
    progress.add_row(ProgressBar(total=len(REPLY), completed=count), f"{count}/{len(REPLY)} messages")
    told = Text.assemble((state.upper(), f"bold {_STYLES.get(state, 'cyan')}"), "  ", message)
    return Group(_reply(follower), told, progress)


def _received(follower: Follower) -> list[int]:
    entries = follower.log.entries
    return [x.facts["id"] for x in entries if x.kind == "received" and x.facts["type"] == "message"]


def _reply(follower: Follower) -> Panel:
    from rich.panel import Panel
    from rich.text import Text

    from resilient_sse.cli.demo.scenario import REPLY

    words = " ".join(REPLY[number - 1] for number in _received(follower))
    # Of a fixed height, so that what stands below does not move while the reply grows.
    return Panel(Text(words, style="bold"), height=6, border_style="dim")


def _conclude(console: Console, judged: Judged, words: Mapping[str, str], *, seconds: float) -> None:
    from rich.table import Table
    from rich.text import Text

    from resilient_sse.testing.report.page import figure_name, written

    table = Table.grid(padding=(0, 2, 0, 0))
    for verdict in judged.verdicts:
        if verdict.gate.scenario == judged.run.scenario or not verdict.passed:
            mark = Text("ok", "green") if verdict.passed else Text("BROKEN", "bold red")
            figure = verdict.gate.figure
            table.add_row(figure_name(figure, words), Text(written(figure, verdict.value)), mark)
    console.print("\nWhat was promised", style="bold")
    console.print(table)
    back = Table.grid(padding=(0, 2, 0, 0))
    for recovery in judged.run.recoveries():
        took = "never" if recovery.reconnect is None else f"back after {recovery.reconnect:.2f} s"
        attempts = f"{recovery.attempts} attempt{'s' if recovery.attempts > 1 else ''}"
        back.add_row(recovery.reason, attempts, took)
    console.print("\nHow the connection was lost, and when the next message came", style="bold")
    console.print(back)
    kept = "Passed" if judged.passed else "FAILED"
    console.print(f"\n{kept} in {seconds:.1f} s.", style="bold green" if judged.passed else "bold red")
    console.print(_NEXT, markup=False)
