"""What a proxy has counted."""

from __future__ import annotations

from dataclasses import asdict, dataclass

__all__ = ["Counters"]


@dataclass(slots=True, kw_only=True)
class Counters:
    """
    The figures of one proxy.

    Attributes:
        accepted: Connections accepted.
        refused: Connections turned away by the proxy: by the toxic `Refuse`, or because the target could not be
            reached.  While the port is closed (`FaultProxy.refuse`) the system turns them away, and nobody counts.
        resets: Connections that ended with RST because of the proxy, refused ones not included.
        bytes_down: Bytes passed to clients.
        bytes_up: Bytes passed to the target.
        dropped: Segments lost once and sent again.
        live: Connections held at the moment.
    """

    accepted: int = 0
    refused: int = 0
    resets: int = 0
    bytes_down: int = 0
    bytes_up: int = 0
    dropped: int = 0
    live: int = 0

    def to_dict(self) -> dict[str, int]:
        """Return the figures by name."""
        return asdict(self)
