"""A project of a user of the pytest plugin: a directory of its own, and a pytest of its own."""

import os
import re
import subprocess
import sys
from textwrap import dedent

PLUGIN = "resilient_sse.testing.pytest_plugin"


class Project:
    """A directory with tests, and what pytest says about them."""

    def __init__(self, directory):
        self.directory = directory

    def write(self, **files):
        """Write modules."""
        for name, text in files.items():
            (self.directory / f"{name}.py").write_text(dedent(text), encoding="utf-8")

    def run(self, *options, **files):
        """Write modules, run pytest on the project and return what it printed, with its exit code."""
        self.write(**files)
        load = [] if PLUGIN in options else ["-p", "anyio", "-p", PLUGIN]
        settings = ["-W", "error", "--strict-markers", "--rootdir=.", "-p", "no:cacheprovider"]
        result = self.python("-m", "pytest", *settings, *load, *options)
        return result.returncode, result.stdout + result.stderr

    def python(self, *arguments):
        """Run Python in the project."""
        command = [sys.executable, *arguments]
        # Half the time of a short run is that of plugins that nobody asks for here.
        environment = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", **os.environ}
        return subprocess.run(
            command,
            cwd=self.directory,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


def section(output, title):
    """Return the lines of one section of a failure report."""
    found = re.search(rf"^-+ {title} -+\n((?:(?![-=]{{5}}).*\n)*)", output, re.MULTILINE)
    assert found, output
    return found[1].splitlines()
