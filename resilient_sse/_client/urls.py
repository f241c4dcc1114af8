"""URLs as most are, taken apart without httpx: to make an `httpx.URL` takes 13 us, and this 2."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

__all__ = ["DEFAULT_PORTS", "MAX_PORT", "UsualURL", "usual_url"]

# What httpx would leave as it is: no user, no dots to resolve, no fragment.
_BYTE: Final = r"(?:[1-9]?\d|1\d\d|2[0-4]\d|25[0-5])"
_HOST: Final = rf"(?:[a-z\d-]+\.)*[a-z][a-z\d-]*|(?:{_BYTE}\.){{3}}{_BYTE}"
_PATH: Final = r"(?:/(?!\.)[\w.~!$&'()*+,;=:@%-]*)+"
_QUERY: Final = r"(?:\?[\w.~!$&'()*+,;=:@%/?-]*)?"
_USUAL: Final = re.compile(rf"(https?)://({_HOST})(?::([1-9]\d{{0,4}}))?({_PATH}{_QUERY})", re.ASCII)

DEFAULT_PORTS: Final = {"http": 80, "https": 443}
"""By the schemes there are."""

MAX_PORT: Final = 65535


class UsualURL(NamedTuple):
    """As much of a URL as a request takes, under the names of `httpx.URL`."""

    text: str
    scheme: str
    host: str
    port: int | None
    raw_path: bytes

    @property
    def raw_host(self) -> bytes:
        """The host, as bytes."""
        return self.host.encode()

    @property
    def netloc(self) -> bytes:
        """Host and port."""
        return self.raw_host if self.port is None else b"%b:%d" % (self.raw_host, self.port)

    @property
    def redacted(self) -> str:
        """All but the query."""
        return self.text.partition("?")[0]

    def __str__(self) -> str:
        """Return all of it."""
        return self.text


def usual_url(url: str) -> UsualURL | None:
    """Take a URL apart; `None` if httpx has to."""
    match = _USUAL.fullmatch(url)
    if match is None:
        return None
    scheme, host, digits, path = match.groups()
    port = None if digits is None else int(digits)
    if port == DEFAULT_PORTS[scheme] or (port or 0) > MAX_PORT:
        return None
    return UsualURL(url, scheme, host, port, path.encode())
