"""
What a connection goes through, as values and as people write it: profiles, toxics, and timelines, which say when.

Rates are in kbps, as network people write them: 1 kbps is 1,000 bits, that is 125 bytes, a second.  *times* is how
many connections a toxic befalls; `None` is every one.  A toxic is written `NAME` or `NAME:key=value,key=value`,
with the names of `TOXICS` and of its fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from types import MappingProxyType
from typing import Any, Literal, TypeAlias, cast, get_args

from resilient_sse.testing.checks import Checked, check, check_kbps, check_seconds, check_share

Direction: TypeAlias = Literal["down", "up", "both"]
"""`down` is from the server to the client."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """
    What one connection gets from the network; `ValueError` if a figure is out of its range.

    Latency is paid once per segment, on the way down: from the server to the client.  So a request and its answer
    together are late by *latency*, which is what a browser's developer tools mean by the word, too.
    """

    name: str  #: What it is called, in reports and on the command line.
    down_kbps: float | None = None  #: The rate from the server to the client.  `None`: no limit.
    up_kbps: float | None = None  #: The rate from the client to the server.  `None`: no limit.
    latency: float = 0.0  #: By how many seconds each segment is late.
    jitter: float = 0.0  #: By which share of *latency* each delay may differ from it, either way.
    loss: float = 0.0  #: The share of the segments, either way, that are lost once and sent again.
    loss_delay: float = 0.2  #: How many seconds later a lost segment arrives; those behind it wait.

    def __post_init__(self) -> None:
        check_kbps("down_kbps", self.down_kbps)
        check_kbps("up_kbps", self.up_kbps)
        check_seconds("latency", self.latency, zero=True)
        check_share("jitter", self.jitter)
        check_share("loss", self.loss)
        check_seconds("loss_delay", self.loss_delay, zero=True)


PROFILES: Mapping[str, Profile] = MappingProxyType(
    {
        made.name: made
        for made in (
            Profile(name="slow-3g", down_kbps=100, up_kbps=100, latency=0.15, jitter=0.2),
            Profile(name="3g", down_kbps=1_500, up_kbps=750, latency=0.1, jitter=0.1),
            Profile(name="4g", down_kbps=10_000, up_kbps=10_000, latency=0.05),
            Profile(name="mobile-4g", down_kbps=10_000, up_kbps=5_000, latency=0.05),
            Profile(name="5g", down_kbps=100_000, up_kbps=50_000, latency=0.01),
            Profile(name="wifi", down_kbps=50_000, up_kbps=50_000, latency=0.01),
            Profile(name="clean"),
        )
    }
)
"""The known profiles by name."""


def profile(name: str | Profile) -> Profile:
    """Return the profile of that name; one is returned as it is.  `ValueError` names those there are."""
    if isinstance(name, Profile):
        return name
    try:
        return PROFILES[name]
    except (KeyError, TypeError):
        known = ", ".join(PROFILES)
        raise ValueError(f"unknown profile {name!r}; choose one of {known}, or make a Profile") from None


# --- Toxics


@dataclass(frozen=True, slots=True, kw_only=True)
class Toxic(Checked):
    """What can be wrong with a connection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency(Toxic):
    """Each segment is late by *delay* seconds +- the share *jitter* of it, on top of the profile's latency."""

    delay: float
    jitter: float = 0.0
    direction: Direction = "down"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bandwidth(Toxic):
    """At most *kbps* x 1,000 bits a second pass; the smallest of several limits counts."""

    kbps: float
    direction: Direction = "down"


@dataclass(frozen=True, slots=True, kw_only=True)
class BlackHole(Toxic):
    """Nothing passes and nothing ends.  What was held back passes once the toxic is removed, as under TCP."""

    direction: Direction = "both"


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentLoss(Toxic):
    """A *share* of the segments is lost once and comes *delay* seconds late; those behind wait, as under TCP."""

    share: float
    delay: float = 0.2  # the least time-out for a retransmission on Linux
    direction: Direction = "both"


@dataclass(frozen=True, slots=True, kw_only=True)
class Slicer(Toxic):
    """What comes is cut into pieces of *size* bytes at most, which leave *delay* seconds apart."""

    size: int
    delay: float = 0.0
    direction: Direction = "down"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reset(Toxic):
    """A connection is reset (RST) once *after* bytes have reached the client; with 0, before the first."""

    after: int = 0
    times: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitBytes(Toxic):
    """A connection is closed in good form (FIN) once *after* bytes have reached the client."""

    after: int
    times: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SlowClose(Toxic):
    """The end of a direction is passed on *delay* seconds late."""

    delay: float
    direction: Direction = "both"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refuse(Toxic):
    """A new connection is reset at its first word, or after a second; `FaultProxy.refuse` closes the port."""

    times: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TLSFailure(Toxic):
    """The first words of a client are answered in plain text, as by a captive portal, and it is closed."""

    times: int | None = None


TOXICS: Mapping[str, type[Toxic]] = MappingProxyType(
    {
        "latency": Latency,
        "bandwidth": Bandwidth,
        "black-hole": BlackHole,
        "loss": SegmentLoss,
        "slicer": Slicer,
        "reset": Reset,
        "limit-bytes": LimitBytes,
        "slow-close": SlowClose,
        "refuse": Refuse,
        "tls-failure": TLSFailure,
    }
)
"""The kinds by the names they have on the command line."""


# --- Timelines, and how people write

Word: TypeAlias = Literal["refuse", "accept", "black-hole", "flow", "reset", "close", "clear"]
"""Each does what the method of the proxy does: `reset_all` for `reset`, `close_all` for `close`."""

Action: TypeAlias = Word | Profile | Toxic
"""A profile is used from then on, a toxic is put in force."""

_WORDS: tuple[str, ...] = get_args(Word)


@dataclass(frozen=True, slots=True)
class Timeline:
    """
    Actions at times, counted in seconds from the beginning; they are put in order of time.

    `ValueError` if a time is negative, or a word unknown; `TypeError` if an action is none.
    """

    moments: tuple[tuple[float, Action], ...] = ()

    def __post_init__(self) -> None:
        for at, action in self.moments:
            check_seconds("the time of a moment", at, zero=True)
            check("an action", action, (str, Profile, Toxic), "a word, a Profile or a toxic")
            if isinstance(action, str) and action not in _WORDS:
                raise _unknown(action)
        object.__setattr__(self, "moments", tuple(sorted(self.moments, key=lambda moment: moment[0])))

    def at(self, seconds: float, *actions: Action | str) -> Timeline:
        """Return a timeline with more in it, in this order; text is read as `parse_action` reads it."""
        added: list[tuple[float, Action]] = [
            (seconds, parse_action(action) if isinstance(action, str) else action) for action in actions
        ]
        return Timeline((*self.moments, *added))


def parse_action(text: str) -> Action:
    """Read a word, the name of a profile, or a toxic; `ValueError` names those there are."""
    text = text.strip()
    if text in _WORDS:
        return cast("Word", text)
    if text in PROFILES:
        return PROFILES[text]
    if text.partition(":")[0] in TOXICS:
        return parse_toxic(text)
    raise _unknown(text)


def parse_toxic(text: str) -> Toxic:
    """Read a toxic, such as `latency:delay=0.2,jitter=0.1`; `ValueError` names what would make sense."""
    name, _, rest = text.strip().partition(":")
    kind = TOXICS.get(name)
    if kind is None:
        raise ValueError(f"unknown toxic {name!r}; choose one of {', '.join(TOXICS)}")
    form = f"write {_form(name, kind)}"
    values: dict[str, Any] = {}
    types = {field.name: str(field.type) for field in fields(kind)}
    for pair in filter(None, rest.split(",")):
        key, equals, value = (part.strip() for part in pair.partition("="))
        if not equals or key not in types or key in values:
            raise ValueError(f"{pair!r} is not understood in the toxic {name!r}; {form}")
        values[key] = _value(types[key], value, f"{pair!r} is no number in the toxic {name!r}; {form}")
    missing = [field.name for field in fields(kind) if field.default is MISSING and field.name not in values]
    if missing:
        raise ValueError(f"the toxic {name!r} needs {' and '.join(missing)}; {form}")
    try:
        return kind(**values)
    except ValueError as error:
        raise ValueError(f"the toxic {name!r}: {error}") from None


def _value(kind: str, text: str, complaint: str) -> str | int | float | None:
    if kind == "Direction":
        return text
    if kind == "int | None" and text == "none":
        return None
    try:
        return float(text) if kind == "float" else int(text)
    except ValueError:
        raise ValueError(complaint) from None


def _form(name: str, kind: type[Toxic]) -> str:
    """Show how a toxic is written."""
    needed = ",".join(f"{field.name}=..." for field in fields(kind) if field.default is MISSING)
    optional = ", ".join(
        f"{field.name}={'none' if field.default is None else field.default}"
        for field in fields(kind)
        if field.default is not MISSING
    )
    return f"{name}{':' if needed else ''}{needed}" + (f" (optional: {optional})" if optional else "")


def _unknown(text: str) -> ValueError:
    return ValueError(
        f"unknown action {text!r}; choose one of {', '.join(_WORDS)}, "
        f"a profile ({', '.join(PROFILES)}) or a toxic ({', '.join(TOXICS)})"
    )
