"""How a connection is reset on purpose."""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncio.trsock import TransportSocket

# SO_LINGER, on and with zero seconds.
_LINGER = struct.pack("ii", 1, 0)


def reset_at_close(sock: socket.socket | TransportSocket) -> None:
    """
    Have the close of *sock* send RST instead of FIN; the kernel then frees at once what it still held.

    Raises:
        OSError: The socket is closed, or the other side has reset it before.
    """
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER)
