"""
From a prepared request to an open stream, or to one of our errors: alone imports httpx and httpx_sse.

`opening` accepts or refuses what `redirects` sends and follows; `connection` reads it, through `body`; `errors`
translates what the library of the client raises, and `clients` knows which that is.
"""

from resilient_sse._client.transport.clients import Auth, Client, check_client
from resilient_sse._client.transport.connection import Connection
from resilient_sse._client.transport.errors import of_callers
from resilient_sse._client.transport.opening import Transport, check_url

__all__ = ["Auth", "Client", "Connection", "Transport", "check_client", "check_url", "of_callers"]
