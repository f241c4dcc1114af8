"""What the extra `testing` brings, and what to install where it is missing; imports nothing of it."""

from __future__ import annotations

from importlib.util import find_spec

_SERVER_PACKAGES = ("starlette", "sse_starlette", "uvicorn")
"""What the reference server is made of."""


class MissingExtraError(ModuleNotFoundError):
    """
    Packages that an *extra* brings are not installed: the modules *names*, which *who* needs, in words.

    `name` is the first of the modules.
    """

    def __init__(self, who: str, names: tuple[str, ...], extra: str) -> None:
        super().__init__(who, names, extra, name=names[0])
        self.who = who
        self.names = names
        self.extra = extra

    def __str__(self) -> str:
        packages = ", ".join(name.replace("_", "-") for name in self.names)
        return f"{self.who} needs {packages}; install it with: pip install 'resilient-sse[{self.extra}]'"


def require(who: str, *more: str, extra: str = "testing", server: bool = True) -> None:
    """
    Find out whether what *who* needs can be imported: the modules *more*, and those of the reference *server*.

    Raises:
        MissingExtraError: Something is not installed, which the *extra* would bring.
    """
    wanted = (*(_SERVER_PACKAGES if server else ()), *more)
    missing = tuple(name for name in wanted if find_spec(name) is None)
    if missing:
        raise MissingExtraError(who, missing, extra)
