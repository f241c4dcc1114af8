"""A real PostgreSQL for a test session: on a socket in a directory of its own, and no port."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from tests.skipping import skip_aloud


def _program(name: str) -> str:
    found = shutil.which(name)
    places = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))  # Debian's place, which is on no PATH
    if found is None and not places:
        skip_aloud("PostgreSQL, the server: in Debian it is the package postgresql")
    return found or str(places[-1])


@contextmanager
def postgres() -> Iterator[str]:
    """Run a server and give what connects to it."""
    initdb, server = _program("initdb"), _program("postgres")
    place = Path(tempfile.mkdtemp(prefix="postgres-"))
    user = "postgres" if os.geteuid() == 0 else None  # it does not run as root
    if user:
        shutil.chown(place, user)
    data = place / "data"
    subprocess.run(
        [initdb, "-D", data, "-A", "trust", "-U", "tests", "-N"], user=user, check=True, capture_output=True
    )
    options = ["-c", "listen_addresses=", "-c", f"unix_socket_directories={place}", "-c", "fsync=off"]
    process = subprocess.Popen([server, "-D", data, *options], user=user, stderr=subprocess.DEVNULL)
    try:
        dsn = f"host={place} user=tests dbname=postgres"
        for _ in range(500):
            try:
                psycopg.connect(dsn).close()
            except psycopg.OperationalError:
                time.sleep(0.02)
            else:
                break
        else:
            pytest.fail("PostgreSQL does not start")
        yield dsn
    finally:
        process.terminate()
        process.wait(20)
        shutil.rmtree(place)
