"""What the tests of the proxy share with those of real sockets."""

from tests.e2e.conftest import diary, no_proxy, serve, trust

__all__ = ["diary", "no_proxy", "serve", "trust"]
