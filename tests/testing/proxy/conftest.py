"""What the tests of the proxy share with those of real sockets."""

from tests.e2e.conftest import serve, trust

__all__ = ["serve", "trust"]
