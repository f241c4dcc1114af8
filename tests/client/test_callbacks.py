"""What may be given as callback and observer, and what is said of anything else."""

import pytest

from resilient_sse import ResilientStream
from tests.client.support import URL


async def asynchronous(_fact):
    """Take note, later."""


def of_two(_fact, _other):
    """Take two arguments."""


class Attaching:
    """An instrument whose observer is as given."""

    def __init__(self, observer):
        self.observer = observer

    def attach(self, _stats, _url):
        """Return it."""
        return self.observer


@pytest.mark.parametrize("wrap", [lambda observer: observer, Attaching], ids=["observer", "instrument"])
@pytest.mark.parametrize(
    "observer, words",
    [
        (3, "must be functions of the fact, not 3"),
        (asynchronous, "must be functions of the fact, and not async"),
        (of_two, r"must take one argument, not \(_fact, _other\)"),
    ],
    ids=["number", "async", "two-arguments"],
)
def test_what_is_no_observer(wrap, observer, words):
    """It is refused at once, given as it is or made by an instrument."""
    with pytest.raises(TypeError, match=f"^observers {words}"):
        ResilientStream(URL, observers=[wrap(observer)])


@pytest.mark.parametrize("observers", [print, Attaching(print)], ids=["observer", "instrument"])
def test_one_observer_is_no_sequence(observers):
    """The text says what to give."""
    with pytest.raises(TypeError, match="observers must be a sequence of observers, not one observer"):
        ResilientStream(URL, observers=observers)


@pytest.mark.parametrize("name", ["on_state_change", "on_gap"])
def test_what_is_no_callback(name):
    """It is refused at once; async ones are welcome, and so are functions that do not tell their arguments."""
    with pytest.raises(TypeError, match=f"^{name} must be callable, not 3"):
        ResilientStream(URL, **{name: 3})
    with pytest.raises(TypeError, match=rf"^{name} must take one argument, not \(_fact, _other\)"):
        ResilientStream(URL, **{name: of_two})
    ResilientStream(URL, **{name: asynchronous})
    ResilientStream(URL, **{name: dict})
