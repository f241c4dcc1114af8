"""The contract of `CheckpointStore` as a suite of tests, for every store: ours and yours."""

from __future__ import annotations

import inspect
import multiprocessing
import pickle
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from functools import wraps
from typing import Any, ClassVar

import anyio
import pytest

from resilient_sse._core.errors import CheckpointError
from resilient_sse._core.ports import Checkpoint, CheckpointStore

_TEXTS = (
    *("42", "0", " ", "é ✓ 日本", "a'b\"c\\d;--", "%s ? :x $1 {}", "x" * 255, "x" * 256, "x" * 4096),
    *("a", "A", "a ", "é", "e\u0301"),  # each of which some database takes for another, unless told not to
)

_ROUNDS = 100
_RACE_SECONDS = 60.0


def _on_each_loop(
    test: Callable[[Any, OpenedStore], Coroutine[Any, Any, None]],
) -> Callable[[CheckpointSuite, Callable[[], Any]], None]:
    """Make a test out of a coroutine, which is run on each event loop, with keys of its own on each."""

    @wraps(test)
    def run(self: CheckpointSuite, open_store: Callable[[], Any]) -> None:
        for backend in self.backends:
            anyio.run(test, self, OpenedStore(open_store, backend), backend=backend)

    del run.__wrapped__  # by which pytest would ask for the arguments of the coroutine
    return run


class CheckpointSuite:
    """
    Judges a store: subclass it in a test module, and give it the fixture `open_store`.

    The fixture returns a function without arguments, sync or async, that opens the store; each call within one
    test must open the same positions, which are empty when the test begins.  If it can be pickled, as
    `functools.partial(Store, ...)` can, two processes race for a position.  A store's `aclose()` or `close()` is
    called, if it has one.  Every test runs on an event loop of its own, with no plugin for async tests.

    Attributes:
        backends: The event loops that the store is for.
        survives: Whether positions outlive the store object, as those in a file or a server do.
        heals: Whether a position that was lost or went back in the store is written anew by who knows it.
    """

    backends: ClassVar[tuple[str, ...]] = ("asyncio",)
    survives: ClassVar[bool] = True
    heals: ClassVar[bool] = False

    @pytest.fixture
    def open_store(self) -> Callable[[], CheckpointStore | Awaitable[CheckpointStore]]:
        """Return a function that opens the store."""
        raise NotImplementedError("give CheckpointSuite a fixture open_store that returns a function")

    @_on_each_loop
    async def test_what_was_saved_is_loaded(self, opened: OpenedStore) -> None:
        """`load` returns `None` at first, then what `save` has returned; each save has a version of its own."""
        key = opened.key("a")
        async with opened.store() as store:
            assert await store.load(key) is None
            versions: list[int] = []
            known: Checkpoint | None = None
            for last_event_id in ("1", "2", "2", "", "1"):  # back, again and empty are positions as well
                known = await store.save(key, last_event_id, expected=known)
                assert isinstance(known, Checkpoint)
                assert known.last_event_id == last_event_id
                assert await store.load(key) == known
                versions.append(known.version)
            assert len(set(versions)) == len(versions)

    @_on_each_loop
    async def test_a_save_over_another_position_is_refused(self, opened: OpenedStore) -> None:
        """A save whose *expected* is not the present position raises `CheckpointError` and changes nothing."""
        key = opened.key("a")
        async with opened.store() as store:
            first = await store.save(key, "1", expected=None)
            second = await store.save(key, "2", expected=first)
            for stale in (None, first, Checkpoint("3", second.version)):
                with pytest.raises(CheckpointError) as refused:
                    await store.save(key, "9", expected=stale)
                assert refused.value.key == key
                assert await store.load(key) == second
            assert (await store.save(key, "3", expected=second)).last_event_id == "3"

    @_on_each_loop
    async def test_a_position_that_was_lost(self, opened: OpenedStore) -> None:
        """A save over a position that the store lacks, or has an older one of, is refused, or heals the store."""
        async with opened.store() as store:
            for present, version in (
                (None, 1),
                (await store.save(opened.key("b"), "1", expected=None), 3),
            ):
                key = opened.key("a" if present is None else "b")
                try:
                    saved = await store.save(key, "9", expected=Checkpoint("8", version))
                except CheckpointError:
                    assert not self.heals
                    assert await store.load(key) == present
                else:
                    assert self.heals
                    assert await store.load(key) == saved == Checkpoint("9", saved.version)

    @_on_each_loop
    async def test_keys_are_apart(self, opened: OpenedStore) -> None:
        """Any text is a key, and any text an id, and no key touches another."""
        async with opened.store() as store:
            saved = {
                key: await store.save(key, last_event_id, expected=None)
                for last_event_id, key in zip(_TEXTS, map(opened.key, reversed(_TEXTS)), strict=True)
            }
            for key, checkpoint in saved.items():
                assert await store.load(key) == checkpoint
            assert [saved[opened.key(text)].last_event_id for text in reversed(_TEXTS)] == [*_TEXTS]

    @_on_each_loop
    async def test_of_saves_at_once_one_wins(self, opened: OpenedStore) -> None:
        """Of ten saves over one position, through two open stores, just one is accepted."""
        key = opened.key("a")
        known: Checkpoint | None = None

        async def save(store: CheckpointStore, last_event_id: str, won: list[Checkpoint]) -> None:
            with suppress(CheckpointError):
                won.append(await store.save(key, last_event_id, expected=known))

        async with opened.store() as one, opened.store() as other:
            for _ in range(2):  # the first save of a key, and one over another
                won: list[Checkpoint] = []
                async with anyio.create_task_group() as tasks:
                    for number in range(10):
                        tasks.start_soon(save, (one, other)[number % 2], str(number), won)
                assert len(won) == 1
                assert await one.load(key) == await other.load(key) == won[0]
                known = won[0]

    def test_of_two_processes_one_wins(self, open_store: Callable[[], Any]) -> None:
        """Two processes that save as fast as they can never both replace one position."""
        if not self.survives:
            return
        try:
            pickle.dumps(open_store)
        except Exception as error:  # noqa: BLE001 - what pickling calls may raise anything
            pytest.skip(
                f"NOT TESTED WITH TWO PROCESSES: what open_store gives cannot be pickled ({error});"
                " functools.partial of a class can"
            )
        processes = multiprocessing.get_context("spawn")
        start = processes.Barrier(2)
        with processes.Pool(2, _begin_race, (start,)) as pool:
            won = pool.starmap_async(_race, [(open_store, self.backends[0], name) for name in "ab"], 1)
            versions = [version for each in won.get(_RACE_SECONDS) for version in each]
        assert len(versions) > _ROUNDS / 2, "next to no save is accepted"
        assert len(set(versions)) == len(versions), "two saves were accepted over one position"

    @_on_each_loop
    async def test_a_cancelled_save_has_happened_or_not(self, opened: OpenedStore) -> None:
        """After a save that was cancelled the position is the one before or the new one, and the store goes on."""
        key = opened.key("a")
        async with opened.store() as store:
            known = await store.save(key, "0", expected=None)
            for number in range(20):
                with anyio.move_on_after(number / 10_000):
                    await store.save(key, str(number), expected=known)
                found = await store.load(key)
                assert found is not None
                assert found == known or found.last_event_id == str(number)
                known = await store.save(key, f"then {number}", expected=found)

    @_on_each_loop
    async def test_positions_outlive_the_store(self, opened: OpenedStore) -> None:
        """What one open store has saved, the next finds."""
        if not self.survives:
            return
        key = opened.key("a")
        async with opened.store() as store:
            saved = await store.save(key, "7", expected=None)
        async with opened.store() as store:
            assert await store.load(key) == saved


_start: Any = None


def _begin_race(start: Any) -> None:  # noqa: ANN401 - a barrier of another process
    global _start  # noqa: PLW0603 - a pool hands a barrier on at the start only
    _start = start


def _race(open_store: Callable[[], Any], backend: str, name: str) -> list[int]:
    """Save as fast as one can, over what one has just loaded, and return the versions of what was accepted."""

    async def race() -> list[int]:
        won: list[int] = []
        async with OpenedStore(open_store, backend).store() as store:
            known = await store.load("race")
            _start.wait(_RACE_SECONDS)
            for number in range(_ROUNDS):
                try:
                    known = await store.save("race", f"{name}{number}", expected=known)
                    won.append(known.version)
                except CheckpointError:
                    known = await store.load("race")
        return won

    return anyio.run(race, backend=backend)


class OpenedStore:
    """The store under test, on one event loop."""

    def __init__(self, open_store: Callable[[], Any], backend: str) -> None:
        self._open = open_store
        self._backend = backend

    def key(self, text: str) -> str:
        """Return a key that is not used on another event loop."""
        return f"{self._backend} {text}"

    @asynccontextmanager
    async def store(self) -> AsyncGenerator[CheckpointStore]:
        """Open the store, and close it."""
        store = self._open()
        if inspect.isawaitable(store):
            store = await store
        try:
            yield store
        finally:
            close = getattr(store, "aclose", None) or getattr(store, "close", None)
            if close is not None and inspect.isawaitable(closing := close()):
                await closing
