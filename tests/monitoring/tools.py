"""The real tools of Prometheus, and what a test does where there are none."""

import os
import shutil
import subprocess

import pytest

PACKAGE = "the Debian package `prometheus` has it"


def need(config, name):
    """Return the path of a program; where it is missing skip aloud, or fail in CI."""
    found = shutil.which(name)
    if found:
        return found
    text = f"{name} is not installed: {PACKAGE}"
    if os.environ.get("CI"):
        pytest.fail(text, pytrace=False)
    with config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        config.get_terminal_writer().line(f"\nSKIPPED, {text}", yellow=True)
    pytest.skip(text)


def promtool(config, *arguments, cwd):
    """Run promtool in a directory, and return how it ended and all that it said."""
    done = subprocess.run(
        [need(config, "promtool"), *arguments],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=110,
        check=False,
    )
    return done.returncode, done.stdout
