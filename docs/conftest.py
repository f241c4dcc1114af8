"""
Runs every Python block of the docs and of the README, offline.

Each document starts in an empty directory, and every `https://host/...` answers with the same short reply:
three pieces of text and a `done` event, with ids, so that a client that comes back resumes, and one that has
seen it all is told so by a 204.  Any other address is an error.  `<!-- skip: next -->` before a block leaves
it out.
"""

from __future__ import annotations

from contextlib import ExitStack, chdir
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import httpx
import respx
from sybil import Sybil
from sybil.parsers.myst import PythonCodeBlockParser, SkipParser

if TYPE_CHECKING:
    import pytest

DOCS = Path(__file__).parent

REPLY = {
    "1": 'retry: 100\nid: 1\ndata: {"text": "Hello"}\n\n',
    "2": 'id: 2\ndata: {"text": ", "}\n\n',
    "3": 'id: 3\ndata: {"text": "world"}\n\n',
    "4": 'id: 4\nevent: done\ndata: {"text": "."}\n\n',
}
"""The blocks by their id; `retry:` keeps the wait before a reconnect short."""


def answer(request: httpx.Request) -> httpx.Response:
    """Answer with what the client has not seen yet, or with 204 when that is nothing."""
    ids = list(REPLY)
    seen = request.headers.get("last-event-id")
    missing = ids[ids.index(seen) + 1 :] if seen in ids else ids
    if not missing:
        return httpx.Response(204)
    body = "".join(REPLY[event_id] for event_id in missing)
    return httpx.Response(200, headers={"content-type": "text/event-stream"}, content=body.encode())


def set_up(namespace: dict[str, Any]) -> None:
    """Give one document its directory and its server, and let its `__main__` guards run."""
    stack = namespace["_stack"] = ExitStack()
    stack.enter_context(chdir(stack.enter_context(TemporaryDirectory())))
    router = stack.enter_context(respx.mock(assert_all_called=False))
    router.route(host="host").mock(side_effect=answer)
    namespace["__name__"] = "__main__"


def tear_down(namespace: dict[str, Any]) -> None:
    """Put everything back."""
    namespace["_stack"].close()


def examples(directory: Path, pattern: str) -> Sybil:
    """Find the Python blocks of the files below *directory* that match *pattern*."""
    return Sybil(
        parsers=[PythonCodeBlockParser(), SkipParser()],
        path=str(directory),
        pattern=pattern,
        excludes=["_build/**"],
        setup=set_up,
        teardown=tear_down,
    )


class Readme:
    """A plugin of its own, since the hooks of this file see only what lies below `docs/`."""

    pytest_collect_file = staticmethod(examples(DOCS.parent, "README.md").pytest())


pytest_collect_file = examples(DOCS, "*.md").pytest()


def pytest_configure(config: pytest.Config) -> None:
    """Have the examples of the README collected as well."""
    config.pluginmanager.register(Readme())
