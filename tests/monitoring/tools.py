"""The real tools of Prometheus, and what a test does where there are none."""

import shutil
import subprocess

from tests.skipping import skip_aloud

PACKAGE = "the Debian package `prometheus` has it"


def need(name):
    """Return the path of a program; where it is missing skip aloud, or fail in CI."""
    return shutil.which(name) or skip_aloud(f"{name} is not installed: {PACKAGE}")


def promtool(*arguments, cwd):
    """Run promtool in a directory, and return how it ended and all that it said."""
    done = subprocess.run(
        [need("promtool"), *arguments],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=110,
        check=False,
    )
    return done.returncode, done.stdout
