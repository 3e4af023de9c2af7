"""What is awaited is what the library has: names, arguments, docstrings, types."""

from __future__ import annotations

import inspect
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

import pytest

from jupyter_launcher import (
    AsyncKernel,
    AsyncLauncher,
    AsyncPreparation,
    AsyncSession,
    AsyncWarmPool,
    Kernel,
    Launcher,
    Preparation,
    ReapedSession,
    RunningGateway,
    Session,
    StopReport,
    WarmPool,
)

PAIRS: list[tuple[type, type]] = [
    (Launcher, AsyncLauncher),
    (Session, AsyncSession),
    (Kernel, AsyncKernel),
    (Preparation, AsyncPreparation),
    (WarmPool, AsyncWarmPool),
]
PLAIN = {"lab_url_of", "published", "kernel", "run_gateway"}
"""Methods that block nothing; the last two give a block, whose begin and end are awaited."""
DOCUMENTED = {Preparation: {"session_id", "session", "cancel"}, Kernel: {"id", "execute", "interrupt", "restart"}}
"""What these have for users; the rest is for their own rooms."""
OF_OBJECTS = {"namespace", "owner", "image", "timeouts", "size"}
"""What the library's objects have, and not their classes."""


def names(kind: type) -> set[str]:
    return {name for name in dir(kind) if not name.startswith("_")}


@pytest.mark.parametrize(("kind", "awaited"), PAIRS)
def test_every_name_is_there_and_no_other(kind: type, awaited: type) -> None:
    assert names(awaited) - OF_OBJECTS == DOCUMENTED.get(kind, names(kind))


@pytest.mark.parametrize(
    ("kind", "awaited", "name"),
    [(kind, awaited, name) for kind, awaited in PAIRS for name in sorted(names(awaited) - OF_OBJECTS)],
)
def test_what_it_takes_and_says_is_the_same(kind: type, awaited: type, name: str) -> None:
    plain, own = getattr(kind, name), getattr(awaited, name)
    assert own.__doc__ == plain.__doc__
    assert own.__doc__ or name == "size"
    if isinstance(plain, property):
        assert isinstance(own, property)
        return
    before, after = inspect.signature(plain), inspect.signature(own)
    assert list(before.parameters.values()) == list(after.parameters.values())
    assert inspect.iscoroutinefunction(own) is (name not in PLAIN)
    assert own.__qualname__ == f"{awaited.__name__}.{name}"
    own_types = {kind.__name__: awaited.__name__ for kind, awaited in PAIRS}
    own_types |= {"Iterator[str]": "AsyncStream", "SessionEvents": "AsyncStream"}
    own_types["Iterator[RunningGateway]"] = "AbstractAsyncContextManager[RunningGateway]"
    expected = before.return_annotation
    assert after.return_annotation == own_types.get(expected, expected)


def test_it_is_made_with_the_same_arguments() -> None:
    assert inspect.signature(AsyncLauncher).parameters == inspect.signature(Launcher).parameters


def test_a_user_may_have_a_subclass() -> None:
    class Own(AsyncLauncher):
        """Of a user's."""

    assert Own.get is AsyncLauncher.get
    assert Own.get.__qualname__ == "AsyncLauncher.get"


if TYPE_CHECKING:
    from typing_extensions import assert_type

    async def types(launcher: AsyncLauncher, made: AsyncSession, pool: AsyncWarmPool, item: AsyncPreparation) -> None:
        """What a type checker knows."""
        assert_type(await launcher.start("/x", memory="1g", session_id=None), AsyncSession)
        assert_type(await launcher.get("one"), AsyncSession)
        assert_type(await launcher.prepare("/x", cpus=1.0), AsyncPreparation)
        assert_type(await launcher.pool(size=1, user="1:1"), AsyncWarmPool)
        assert_type(await pool.start("/x", lease=5), AsyncSession)
        assert_type(await item.session(5.0), AsyncSession)
        assert_type(await launcher.stop("one"), StopReport)
        assert_type([item async for item in await launcher.logs("one", follow=True)], list[str])
        assert_type(launcher.run_gateway("/x"), AbstractAsyncContextManager[RunningGateway, bool | None])
        assert_type(await launcher.start_gateway("/x", kernels={"py": "x"}), RunningGateway)
        assert_type(await launcher.stop_gateway("x"), StopReport)
        assert_type(next(iter(await launcher.reap(min_age=5))), ReapedSession)
        assert_type(launcher.namespace, str)
        assert_type(made.url, str)
        assert_type(made.published(5), tuple[str, int])
        async with made.kernel(name="python3") as kernel:
            assert_type(kernel, AsyncKernel)
            assert_type(kernel.id, str)
            await kernel.execute("1", timeout="no")  # type: ignore[arg-type]
        await launcher.start("/x", memori=5)  # type: ignore[call-arg]
        await launcher.get()  # type: ignore[call-arg]
        AsyncLauncher(namespace=5)  # type: ignore[arg-type]
        AsyncLauncher(nonsense=5)  # type: ignore[call-arg]
