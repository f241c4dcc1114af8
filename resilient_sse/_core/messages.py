"""
What people are told at each state change: a catalogue of texts, replaceable and translatable.

The default texts are those of the report this project started from, to the letter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TypeAlias

from resilient_sse._core.checks import check_callable
from resilient_sse._core.states import Reason, StateChange, StreamState

Messages: TypeAlias = Mapping[str, str] | Callable[[StateChange], str]

DEFAULT_MESSAGES: Mapping[str, str] = MappingProxyType(
    {
        "connected": "Connected",
        "waiting": "Waiting for server response...",
        "waiting_retry": "Waiting for server response... (retry {attempt}/{max_retries})",
        "waiting_retry_unlimited": "Waiting for server response... (retry {attempt})",
        "lost": "Connection lost - attempting to reconnect...",
        "reconnecting": "Reconnecting (attempt {attempt})...",
        "unavailable": "Server unavailable - waiting to reconnect...",
        "restored": "Connection restored - resuming stream...",
        "complete": "Response complete",
        "closed": "Stream closed",
        "exhausted": "Failed to connect. Please refresh.",
        "unstable": "Connection keeps failing. Please refresh.",
        "failed": "Stream failed: {error}",
    }
)
"""The default texts.  A mapping given as `messages` may replace any of them; a missing key falls back."""

_A_CHANGE = StateChange(
    old=StreamState.CONNECTED,
    new=StreamState.RECONNECTING,
    reason=Reason.EOF,
    attempt=1,
    max_retries=5,
    delay=1.0,
)

# Up to this attempt the compact texts say that the stream is reconnecting, then that it is lost.
_COMPACT_ATTEMPTS = 3


def message_key(change: StateChange) -> str:
    """Name the text of the catalogue that belongs to *change*."""
    match change.new:
        case StreamState.CONNECTED | StreamState.CONNECTING:
            again = change.old is StreamState.WAITING and not change.was_up and change.attempt > 0
            interrupted = again or change.old in (StreamState.RECONNECTING, StreamState.ERROR)
            return "restored" if interrupted else "connected"
        case StreamState.WAITING:
            if change.attempt == 0:
                return "waiting"
            return "waiting_retry" if change.max_retries is not None else "waiting_retry_unlimited"
        case StreamState.RECONNECTING if change.reason is Reason.CIRCUIT:
            return "unavailable"
        case StreamState.RECONNECTING:
            return "lost" if change.was_up else "reconnecting"
        case StreamState.CLOSED:
            return "complete" if change.reason is Reason.COMPLETE else "closed"
        case StreamState.ERROR:
            if change.reason is not Reason.RETRIES:
                return "failed"
            return "unstable" if change.was_up else "exhausted"


def compose(change: StateChange, messages: Messages | None = None) -> str:
    """Compose the text for *change* by a function, or by templates over the defaults."""
    if callable(messages):
        return messages(change)
    key = message_key(change)
    return _render((messages or DEFAULT_MESSAGES).get(key, DEFAULT_MESSAGES[key]), change)


def compose_or_default(change: StateChange, messages: Messages | None) -> tuple[str, Exception | None]:
    """Compose the text for *change*, the default one if the caller's fails; return also what that one raised."""
    failure: Exception = TypeError("messages must return a text")
    try:
        text = compose(change, messages)
        if isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            return text, None
    except Exception as exc:  # noqa: BLE001 - of the caller's own function; a missing text must not stop the stream
        failure = exc
    return compose(change), failure


def _render(template: str, change: StateChange) -> str:
    """Fill in one template; these five names are what it may use."""
    return template.format(
        attempt=change.attempt,
        max_retries=change.max_retries,
        delay=change.delay,
        error=change.error,
        reason=change.reason.value,
    )


def check_messages(texts: Messages | None) -> None:
    if callable(texts):
        check_callable("messages", texts, what="a mapping or a function of the change")
        return
    if texts is not None and not isinstance(texts, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"messages must be a mapping or a callable, not {texts!r}")
    for key, template in (texts or {}).items():
        if key not in DEFAULT_MESSAGES:
            known = ", ".join(DEFAULT_MESSAGES)
            raise ValueError(f"messages: there is no text named {key!r}; the names are {known}")
        try:
            _render(template, _A_CHANGE)
        except (AttributeError, KeyError, IndexError, TypeError, ValueError) as exc:
            raise ValueError(
                f"messages: the text {key!r} cannot be filled in ({exc!r}); it may use {{attempt}}, "
                "{max_retries}, {delay}, {error} and {reason}"
            ) from None


def compact_messages(change: StateChange) -> str:
    """
    Speak in the shorter texts of the report's browser sample; pass it as `messages`.

    The first two attempts of an outage reassure, later ones ask for a refresh.
    """
    match change.new:
        case StreamState.CONNECTED:
            return "Connected"
        case StreamState.WAITING:
            return "Waiting for server..."
        case StreamState.RECONNECTING if change.attempt < _COMPACT_ATTEMPTS:
            return f"Reconnecting (attempt {change.attempt})..."
        case StreamState.RECONNECTING:
            return "Connection lost. Please refresh."
        case StreamState.ERROR if change.reason is Reason.RETRIES:
            return "Failed to reconnect. Refresh to try again."
        case _:
            return compose(change)
