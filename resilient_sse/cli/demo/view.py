"""What people see of the demo: a picture that moves, or plain lines, and what was promised and kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import TypeAlias

import anyio
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from resilient_sse.cli.demo.scenario import REPLY, WORDS, demo_scenario
from resilient_sse.cli.exits import at_sigterm
from resilient_sse.cli.output import show
from resilient_sse.testing.report import Judged
from resilient_sse.testing.scenarios import Entry, Follower, Run, RunLog, play
from resilient_sse.testing.scenarios.gates import written
from resilient_sse.testing.scenarios.real import RealDriver
from resilient_sse.testing.wire import counted

_Row: TypeAlias = tuple[float, str, str, str]
"""When, who, what, and in which style."""

_FRAME = 0.1
"""Seconds between two drawings."""

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


async def play_and_show(seed: int, live: bool) -> Judged | None:
    """Play the demo, draw or print what happens, and return what it came to; `None` if SIGTERM ended it."""
    console = Console(highlight=False)
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
            at_sigterm(tasks.cancel_scope.cancel)
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
    if not logs:
        return None
    judged = Judged.of(Run(logs[0].name, logs[0].entries), scenario)
    reply = [_reply(followers[0])] if live else []
    show(*reply, *_concluded(judged, logs[0].now()), plain=not live)
    return judged


def _rows(entries: Sequence[Entry], *, words: bool = False) -> Iterator[_Row]:
    """Yield what happened, as people read it; single messages only where *words* are wanted."""
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
    row = Table.grid(padding=(0, 2, 0, 0))
    row.add_row(Text(f"{at:6.2f}", "dim"), f"{source:<6}", Text(text, style))
    return row


def _picture(follower: Follower) -> RenderableType:
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
    words = " ".join(REPLY[number - 1] for number in _received(follower))
    # Of a fixed height, so that what stands below does not move while the reply grows.
    return Panel(Text(words, style="bold"), height=6, border_style="dim")


def _concluded(judged: Judged, seconds: float) -> list[RenderableType]:
    """Say what was promised and kept, how the connection was lost, and what to do next."""
    table, back = Table.grid(padding=(0, 2, 0, 0)), Table.grid(padding=(0, 2, 0, 0))
    for verdict in judged.verdicts:
        if verdict.gate.scenario == judged.run.scenario or not verdict.passed:
            mark = Text("ok", "green") if verdict.passed else Text("BROKEN", "bold red")
            figure = verdict.gate.figure
            name = WORDS.get(figure, figure.replace("_", " "))
            table.add_row(name, Text(written(figure, verdict.value)), mark)
    for recovery in judged.run.recoveries():
        took = "never" if recovery.reconnect is None else f"back after {recovery.reconnect:.2f} s"
        back.add_row(recovery.reason, counted(recovery.attempts, "attempt"), took)
    kept = Text("Passed", "bold green") if judged.passed else Text("FAILED", "bold red")
    return [
        Text("\nWhat was promised", "bold"),
        table,
        Text("\nHow the connection was lost, and when the next message came", "bold"),
        back,
        Text.assemble("\n", kept.append(f" in {seconds:.1f} s.")),
        Text(_NEXT),
    ]
