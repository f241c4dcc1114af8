"""What the extra `testing` brings, and what to install where it is missing; imports nothing of it."""

from __future__ import annotations

from importlib.util import find_spec

_SERVER_PACKAGES = ("starlette", "sse_starlette", "uvicorn")
"""What the reference server is made of."""


class MissingExtraError(ModuleNotFoundError):
    """Packages that an extra brings are not installed; `name` is the first of the modules."""


def require(who: str, *more: str, extra: str = "testing", server: bool = True) -> None:
    """
    Find out whether what *who* needs can be imported: the modules *more*, and those of the reference *server*.

    Raises:
        MissingExtraError: Something is not installed, which the *extra* would bring.
    """
    wanted = (*(_SERVER_PACKAGES if server else ()), *more)
    missing = tuple(name for name in wanted if find_spec(name) is None)
    if missing:
        packages = ", ".join(name.replace("_", "-") for name in missing)
        text = f"{who} needs {packages}; install it with: pip install 'resilient-sse[{extra}]'"
        raise MissingExtraError(text, name=missing[0])
