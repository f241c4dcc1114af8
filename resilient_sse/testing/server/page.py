"""The page at `/`: a stream in a browser, for people who throttle one by hand."""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from importlib.resources import files

from starlette.responses import HTMLResponse


def stream_page() -> HTMLResponse:
    """Answer with the page; it asks for the stream with the query that it was asked for with itself."""
    return HTMLResponse(
        _html(), headers={"Cache-Control": "no-cache", "Content-Security-Policy": _policy(_html())}
    )


@cache
def _html() -> str:
    return files("resilient_sse.testing.server").joinpath("page.html").read_text(encoding="utf-8")


@cache
def _policy(html: str) -> str:
    """Allow the page's own style and script and its stream, and nothing besides."""
    return (
        f"default-src 'none'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
        f"script-src {_hash(html, 'script')}; style-src {_hash(html, 'style')}"
    )


def _hash(html: str, element: str) -> str:
    (inside,) = re.findall(rf"<{element}>(.*?)</{element}>", html, re.DOTALL)
    return f"'sha256-{base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()}'"
