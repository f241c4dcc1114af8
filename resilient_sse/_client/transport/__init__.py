"""
From a prepared request to an open stream, or to one of our errors: alone imports httpx and httpx_sse.

`opener` accepts or refuses what `exchange` sends and follows; `connection` reads it, through `inflate`;
`failures` translates what the library of the client raises, and `library` knows which that is.
"""

from resilient_sse._client.transport.connection import CLOSE_SECONDS, Connection
from resilient_sse._client.transport.failures import of_callers
from resilient_sse._client.transport.library import Auth, Client, check_client
from resilient_sse._client.transport.opener import Transport, check_url

__all__ = [
    "CLOSE_SECONDS",
    "Auth",
    "Client",
    "Connection",
    "Transport",
    "check_client",
    "check_url",
    "of_callers",
]
