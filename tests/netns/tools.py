"""The programs that shape a kernel's network, called one at a time, and the errors about them."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "INSTALL",
    "ROOT",
    "NetnsCommandError",
    "NetnsError",
    "NetnsProgramError",
    "NetnsUnavailableError",
    "call",
    "tool",
]

INSTALL = "apt-get install iproute2 nftables"
"""What brings the programs on Debian and its kin."""

ROOT = "run as root, and a container with `--privileged`"
"""What brings the rights."""

_CALL_SECONDS = 10.0

# Users who are not root often lack these.
_SYSTEM_PATHS = ("/usr/local/sbin", "/usr/sbin", "/sbin")


class NetnsError(Exception):
    """The root of what goes wrong with namespaces."""


class NetnsUnavailableError(NetnsError):
    """
    This machine, or this user, cannot have what is needed.

    Attributes:
        missing: What is missing.
        fix: What to do about it.
    """

    def __init__(self, missing: str, fix: str) -> None:
        super().__init__(f"{missing}; {fix}")
        self.missing = missing
        self.fix = fix


class NetnsCommandError(NetnsError):
    """
    A program refused what it was told to do.

    Attributes:
        command: The whole command.
        output: What it said.
    """

    def __init__(self, command: Sequence[str], output: str) -> None:
        super().__init__(f"`{' '.join(command)}` failed: {output.strip() or 'it did not say why'}")
        self.command: tuple[str, ...] = tuple(command)
        self.output = output


class NetnsProgramError(NetnsError):
    """A program in a namespace ended too early, or did not say in time what was waited for."""


def tool(name: str) -> str:
    """
    Find a program.

    Raises:
        NetnsUnavailableError: It is not installed.
    """
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), *_SYSTEM_PATHS))
    found = shutil.which(name, path=path)
    if found is None:
        raise NetnsUnavailableError(f"the program `{name}` is not installed", INSTALL)
    return found


def call(name: str, *arguments: str, text: str | None = None) -> str:
    """
    Run a program to its end and return its standard output.

    Args:
        name: The program.
        arguments: Its arguments.
        text: Its standard input.

    Raises:
        NetnsCommandError: It failed, or it did not end within ten seconds.
        NetnsUnavailableError: It is not installed.
    """
    command = [tool(name), *arguments]
    try:
        done = subprocess.run(
            command,
            input=text or "",
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_CALL_SECONDS,
            check=False,
            env={**os.environ, "LC_ALL": "C"},
        )
    except subprocess.TimeoutExpired:
        raise NetnsCommandError(command, f"it did not end within {_CALL_SECONDS:g} s") from None
    if done.returncode:
        raise NetnsCommandError(command, done.stderr or done.stdout)
    return done.stdout
