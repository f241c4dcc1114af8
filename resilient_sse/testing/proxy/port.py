"""
A port that can be closed, so that the system refuses connections to it, and opened again.

While it is closed it must not become somebody else's.  On Linux a second socket, bound but never listening, keeps
it: the system then answers a connection as it does where nothing listens, and gives the number to nobody.
Elsewhere nothing can keep it, and it may be lost in between.
"""

from __future__ import annotations

import errno
import os
import socket
import sys

from resilient_sse.testing.proxy.sockets import Address, close

__all__ = ["Port"]

_BACKLOG = 4096
_TAKEN = frozenset({errno.EADDRINUSE, errno.EACCES})


class Port:
    """
    A port, open at first.

    Args:
        address: Where; port 0 takes a free one.

    Raises:
        OSError: The port is in use, or the address is none of this machine.
    """

    def __init__(self, address: Address) -> None:
        self._address = address
        self._keeper: socket.socket | None = None
        self._listener: socket.socket | None = None
        try:
            if sys.platform == "linux":
                self._keeper = self._bind()
                self._address = Address(address.family, self._keeper.getsockname())
            self._address = Address(address.family, self.open().getsockname())
        except OSError as error:
            self.release()
            raise _explained(error, address) from error

    @property
    def number(self) -> int:
        """The number."""
        return int(self._address.where[1])

    @property
    def is_shut(self) -> bool:
        """Whether connections are refused."""
        return self._listener is None

    def open(self) -> socket.socket:
        """
        Accept connections from now on; harmless when open.

        Raises:
            OSError: The port was lost while it was closed; impossible on Linux.
        """
        if self._listener is None:
            listener = self._bind()
            try:
                listener.listen(_BACKLOG)
            except OSError:
                listener.close()
                raise
            self._listener = listener
        return self._listener

    def shut(self) -> None:
        """Refuse connections from now on, with those that nobody has accepted yet; harmless when shut."""
        if self._listener is not None:
            close(self._listener)
            self._listener = None

    def release(self) -> None:
        """Give the port back; harmless when done before."""
        self.shut()
        if self._keeper is not None:
            self._keeper.close()
            self._keeper = None

    def _bind(self) -> socket.socket:
        sock = socket.socket(self._address.family, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            if os.name == "posix":  # on Windows it would let anybody share the port
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(self._address.where)
        except BaseException:
            sock.close()
            raise
        return sock


def _explained(error: OSError, address: Address) -> OSError:
    host, port = address.where[:2]
    if error.errno in _TAKEN and port:
        text = f"port {port} of {host} cannot be used ({error.strerror}); choose another, or 0 for a free one"
    else:
        text = (
            f"cannot listen on {host}: {error.strerror}; give an address of this machine, such as 127.0.0.1"
        )
    return OSError(error.errno, text)
