"""The public surface: what `__all__` promises is there, complete, sorted, and documented."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import types

import pytest

import resilient_sse

PUBLIC_NAMES = """
ResilientStream ServerSentEvent StreamState StateChange Backoff StreamStats Gap integers
ResilientSSEError HandshakeError BadStatusError BadContentTypeError ConnectionLostError LimitExceededError
RetriesExhaustedError NotResumableError CheckpointError
"""
"""What the root package must offer."""

COMMANDS = ("resilient_sse.__main__", "resilient_sse.cli")


def found_modules() -> list[str]:
    """Find every module of the package that can be imported without being run."""
    names = [module.name for module in pkgutil.walk_packages(resilient_sse.__path__, "resilient_sse.")]
    return ["resilient_sse", *(name for name in names if not name.startswith(COMMANDS))]


MODULES = found_modules()
PUBLIC = [name for name in MODULES if name.count(".") < 2 and "._" not in name]
"""The root package and the packages beside core and shell; what lies inside them is reached through them."""


def exported(module: types.ModuleType) -> dict[str, object]:
    """Look up what a module exports."""
    return {name: getattr(module, name) for name in module.__all__}


def sort_key(name: str) -> tuple[int, str]:
    """Sort as isort does: constants, then classes, then the rest."""
    rank = 0 if name.isupper() and len(name) > 1 else 1 if name[0].isupper() else 2
    return rank, name


def test_the_public_modules():
    """What has no underscore is public; a new module is made so on purpose."""
    packages = {name.removeprefix("resilient_sse.") for name in PUBLIC[1:]}
    assert packages <= {"checkpoints", "metrics", "monitoring", "testing", "relay", "resume", "sync"}


def test_the_root_package_offers_what_it_must():
    """The names that the design promises are in the root package."""
    assert set(resilient_sse.__all__) >= {*PUBLIC_NAMES.split()}


@pytest.mark.parametrize("name", MODULES)
def test_exports_exist_once_and_sorted(name):
    """`__all__` names what is there, each name once, in order."""
    module = importlib.import_module(name)
    names = list(getattr(module, "__all__", []))
    assert len(names) == len(set(names))
    assert names == sorted(names, key=sort_key)
    assert set(exported(module)) == set(names) if names else True


@pytest.mark.parametrize("name", PUBLIC)
def test_exports_are_complete(name):
    """A public package exports every class and function of ours that can be found in it."""
    module = importlib.import_module(name)
    found = {
        attribute
        for attribute, value in vars(module).items()
        if not attribute.startswith("_")
        and (inspect.isclass(value) or inspect.isfunction(value))
        and value.__module__.startswith("resilient_sse")
    }
    assert found <= set(module.__all__)


@pytest.mark.parametrize("name", PUBLIC)
def test_what_is_public_is_documented(name):
    """Every public class and function has a docstring of its own, and so have their public methods."""
    module = importlib.import_module(name)
    undocumented = []
    for label, value in exported(module).items():
        if not (inspect.isclass(value) or inspect.isfunction(value)):
            continue
        if not (value.__doc__ or "").strip():
            undocumented.append(label)
        for method, function in vars(value).items():
            callable_here = inspect.isfunction(function) or isinstance(function, property | classmethod)
            if callable_here and not method.startswith("_") and not inspect.getdoc(function):
                undocumented.append(f"{label}.{method}")
    assert undocumented == []


def test_a_star_import_gives_the_public_names():
    """What `from resilient_sse import *` brings is what is promised, and no module."""
    namespace = exported(resilient_sse)
    assert not any(isinstance(value, types.ModuleType) for value in namespace.values())


def test_the_version():
    """The version is that of the installed package, and other names are unknown."""
    assert resilient_sse.__version__.count(".") >= 2
    with pytest.raises(AttributeError, match="no attribute 'unheard_of'"):
        _ = resilient_sse.unheard_of
