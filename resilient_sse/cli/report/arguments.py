"""What `report` accepts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["FORMS", "SCENARIO_NAMES", "ReportOptions"]

FORMS = ("virtual", "real", "both")

# Written down again, so that --help needs nothing optional; a test compares the two.
SCENARIO_NAMES = ("slow-3g", "stall", "packet-loss", "handoff", "rapid-reconnects", "user-experience")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportOptions:
    """
    What `report` was asked for.

    Attributes:
        form: One of `FORMS`.
        scenarios: The names of those to be played.
        seed: Where randomness starts; `None` draws one.
        json: Print the JSON and no table.
        plain: Print plain lines, also on a terminal.
        output: A directory for `report.json`, `report.html` and `log.jsonl`.
        html: A file for the page.
        log: A file for the raw log.
        check: A report and a log to be compared; nothing is played then.
    """

    form: str = "both"
    scenarios: tuple[str, ...] = SCENARIO_NAMES
    seed: int | None = None
    json: bool = False
    plain: bool = False
    output: Path | None = None
    html: Path | None = None
    log: Path | None = None
    check: tuple[Path, Path] | None = None
