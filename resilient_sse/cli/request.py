"""What is asked of a server, as curl has it: the options, and the client and the request that they make."""

from __future__ import annotations

import getpass
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from resilient_sse.cli.arguments import SECONDS_OR_NONE, option, refuse

if TYPE_CHECKING:
    import httpx

NETWORK: Final = ("insecure", "cacert", "cert", "key", "proxy")
"""The arguments of `client_of`."""

_FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)


def url_of(text: str) -> str:
    """Return the URL that is meant: `http://` may be left out, and `:8000/path` is on this machine."""
    if "://" in text:
        return text
    return f"http://localhost{text}" if text.startswith(":") else f"http://{text}"


def _header(text: str) -> tuple[str, str]:
    if text.endswith(";") and ":" not in text:  # curl's way to send an empty value
        text = f"{text[:-1]}:"
    name, colon, value = text.partition(":")
    if not colon:
        raise click.BadParameter(f"{text!r} is not 'Name: value'")
    return name, value.strip(" \t")


def _data(text: str) -> bytes:
    """Read a part of the body as curl does: a file without its line ends."""
    if not text.startswith("@"):
        return os.fsencode(text)
    try:
        data = sys.stdin.buffer.read() if text == "@-" else Path(text[1:]).read_bytes()
    except OSError as error:
        raise click.BadParameter(f"{text[1:]} cannot be read: {error.strerror}") from error
    return data.translate(None, b"\r\n\0")


def _credentials(text: str) -> tuple[str, str]:
    name, colon, password = text.partition(":")
    if colon:
        return name, password
    if not sys.stdin.isatty():
        raise click.BadParameter("USER:PASSWORD is needed where nobody can be asked for the password")
    try:
        return name, getpass.getpass(f"Password for {name!r}: ")
    except EOFError:
        raise click.BadParameter("no password was given") from None


_request = partial(option, section="Request, as curl has it")
header_option: Final = _request(
    "-H", "--header", "headers", type=_header, metavar="'NAME: VALUE'", multiple=True, help="Repeatable."
)
_OPTIONS: Final = (
    click.argument("url", type=url_of),
    _request("-X", "--request", "method", help="GET by default, POST with -d."),
    header_option,
    _request(
        "-d",
        "--data",
        type=_data,
        metavar="DATA",
        multiple=True,
        help="The body; @FILE reads it, @- from standard input.",
    ),
    _request(
        "-u",
        "--user",
        "auth",
        type=_credentials,
        metavar="USER:PASSWORD",
        help="A password that is not given is asked for.",
    ),
    _request("-k", "--insecure", is_flag=True, help="Trust any certificate."),
    _request("--cacert", type=_FILE, without=["insecure"], help="Trust the certificates in this file only."),
    _request("--cert", type=_FILE, help="Your own certificate, and its key unless --key has it."),
    _request("--key", type=_FILE, help="The key of --cert."),
    _request("-x", "--proxy", metavar="URL", help="Instead of the proxy that the environment names."),
    _request("--connect-timeout", type=SECONDS_OR_NONE, default=10.0, help="For the connection, or none."),
    _request("-L", "--location", is_flag=True, expose_value=False, help="Ignored: redirects are followed."),
    _request(
        "-N", "--no-buffer", is_flag=True, expose_value=False, help="Ignored: nothing is ever buffered."
    ),
)


def request_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Declare the URL, and what is to be asked of it."""
    for declare in reversed(_OPTIONS):
        function = declare(function)
    return function


def request_of(
    method: str | None, headers: Sequence[tuple[str, str]], data: Sequence[bytes]
) -> dict[str, Any]:
    """Return the arguments of a stream; as with curl, a body is a form unless a header says otherwise."""
    given = [*headers]
    if data and "content-type" not in {name.lower() for name, _ in given}:
        given.append(("Content-Type", "application/x-www-form-urlencoded"))
    content = b"&".join(data) if data else None
    return {"method": method or ("POST" if data else "GET"), "headers": given, "content": content}


def client_of(
    *, insecure: bool, cacert: Path | None, cert: Path | None, key: Path | None, proxy: str | None
) -> httpx.AsyncClient:
    """Make a client that trusts, shows and goes through what was asked for."""
    if key and not cert:
        refuse("--key is the key of a certificate; give --cert, too")
    import ssl
    from importlib.metadata import version

    import httpx

    used = f"--cacert {cacert}" if cacert else "the environment's certificates"
    try:
        context = ssl.create_default_context(cafile=cacert) if cacert else httpx.create_ssl_context()
        if insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if cert:
            used = f"--cert {cert}"
            context.load_cert_chain(cert, key)
        used = "--proxy" if proxy else "the environment's proxy"  # whose value may hold a password
        if proxy and "://" not in proxy:
            proxy = f"http://{proxy}"
        # The name that a stream without a client gives itself.
        agent = {"User-Agent": f"resilient-sse/{version('resilient-sse')}"}
        return httpx.AsyncClient(verify=context, proxy=proxy, headers=agent)
    except (OSError, ValueError, ImportError, httpx.InvalidURL) as error:
        refuse(f"{used} cannot be used: {error}")
