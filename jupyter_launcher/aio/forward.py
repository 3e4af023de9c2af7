"""Methods and properties that stand for those of the library's objects; made from them, so that they cannot differ."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, cast

from jupyter_launcher.aio.loop import Loop
from jupyter_launcher.errors import EngineUnavailableError

__all__ = ["Async", "Same", "awaited", "awaited_as", "direct", "direct_as", "entered", "leave", "like", "taking"]

S = TypeVar("S")
T = TypeVar("T")
A = TypeVar("A")
P = ParamSpec("P")


class Async(Generic[S]):
    """Stands for an object of the library whose calls block."""

    _made: tuple[S, Loop] | None = None

    def __init__(self, sync: S, loop: Loop) -> None:
        self._made = sync, loop

    def __init_subclass__(cls, *, like: type | None = None) -> None:
        super().__init_subclass__()
        for name, value in vars(cls).items() if like else ():
            if isinstance(value, property) and not name.startswith("_"):
                value.__doc__ = getattr(getattr(like, name, None), "__doc__", None)
            elif hasattr(value, "__wrapped__"):
                value.__module__, value.__qualname__ = cls.__module__, f"{cls.__qualname__}.{name}"

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>" if self._made is None else f"<{type(self).__name__} of {self._made[0]!r}>"

    @property
    def _parts(self) -> tuple[S, Loop]:
        if self._made is None:
            msg = f"this {type(self).__name__} is not connected"
            raise EngineUnavailableError(msg, hint="use it inside of its `async with` block")
        return self._made


class Same(Generic[S, T]):
    """A property that is read at once, from the object that an :class:`Async` stands for."""

    def __init__(self, read: Callable[[S], T]) -> None:
        self._read = read

    def __set_name__(self, owner: type[Async[S]], name: str) -> None:
        setattr(owner, name, property(lambda own: self._read(own._parts[0])))  # noqa: SLF001 - a method of it

    def __get__(self, own: Async[S], owner: type[Async[S]]) -> T:
        raise NotImplementedError  # a property has taken its place


def direct(method: Callable[Concatenate[Any, P], T]) -> Callable[Concatenate[Any, P], T]:
    """A method that does not block."""

    @functools.wraps(method)
    def call(self: Async[Any], /, *given: P.args, **options: P.kwargs) -> T:
        return method(self._parts[0], *given, **options)

    return call


def direct_as(
    made: Callable[[T, Loop], A], method: Callable[Concatenate[Any, P], T]
) -> Callable[Concatenate[Any, P], A]:
    """As :func:`direct`, for a method whose result blocks: ``made`` stands for that."""

    def call(self: Async[Any], /, *given: P.args, **options: P.kwargs) -> A:
        sync, loop = self._parts
        return made(method(sync, *given, **options), loop)

    return like(call, method, _name(made))


def awaited(
    method: Callable[Concatenate[Any, P], T],
    *,
    undo: Callable[[T], object] | None = None,
    take_back: Callable[[Any, T], object] | None = None,
    is_limited: bool = True,
    is_shielded: bool = False,
) -> Callable[Concatenate[Any, P], Coroutine[Any, Any, T]]:
    """A method that blocks, awaited.

    Args:
        method: what it stands for.
        undo: as for :meth:`Loop.call`.
        take_back: the same for a result that cannot undo itself; called with the object of the method too.
        is_limited: False: it ends something, or takes as long as a user's work, so it does not wait for others.
        is_shielded: as for :meth:`Loop.call`.
    """
    kind = method.__name__ if is_limited and not is_shielded else ""

    @functools.wraps(method)
    async def call(self: Async[Any], /, *given: P.args, **options: P.kwargs) -> T:
        sync, loop = self._parts
        work = cast("Callable[[], T]", functools.partial(method, sync, *given, **loop.adapt(options)))
        options.clear()  # a traceback's locals show no secret
        found = undo if take_back is None else functools.partial(take_back, sync)
        return await loop.call(work, kind=kind, undo=found, is_shielded=is_shielded)

    return call


def awaited_as(
    made: Callable[[T, Loop], A],
    method: Callable[Concatenate[Any, P], T],
    *,
    undo: Callable[[T], object] | None = None,
) -> Callable[Concatenate[Any, P], Coroutine[Any, Any, A]]:
    """As :func:`awaited`, for a method whose result blocks, too: ``made`` stands for that."""
    plain = awaited(method, undo=undo)

    async def call(self: Async[Any], /, *given: P.args, **options: P.kwargs) -> A:
        result, loop = plain(self, *given, **options), self._parts[1]
        options.clear()
        return made(await result, loop)

    return like(call, method, _name(made))


def entered(
    method: Callable[Concatenate[Any, P], AbstractContextManager[T]],
) -> Callable[Concatenate[Any, P], AbstractAsyncContextManager[T]]:
    """A method that gives a block, whose begin and end are awaited."""

    @contextlib.asynccontextmanager
    async def call(self: Async[Any], /, *given: P.args, **options: P.kwargs) -> AsyncIterator[T]:
        sync, loop = self._parts
        block = cast("Callable[..., AbstractContextManager[T]]", method)(sync, *given, **loop.adapt(options))
        found = await loop.call(block.__enter__, undo=lambda _: leave(block))
        try:
            yield found
        finally:
            await loop.call(functools.partial(leave, block), is_shielded=True)

    returned = str(inspect.signature(method).return_annotation)
    return like(call, method, returned.replace(Iterator.__name__, AbstractAsyncContextManager.__name__))


def leave(block: AbstractContextManager[object]) -> None:
    """Leave a block, whatever was the reason for it."""
    block.__exit__(None, None, None)


def like(call: Callable[P, T], method: Callable[..., object], returned: str) -> Callable[P, T]:
    """A method with the signature and the docstring of another one, but for what it returns."""
    functools.update_wrapper(call, method)
    call.__signature__ = inspect.signature(method).replace(return_annotation=returned)  # type: ignore[attr-defined]
    return call


def taking(
    init: Callable[Concatenate[Any, P], None],
) -> Callable[[Callable[..., None]], Callable[Concatenate[Any, P], None]]:
    """An ``__init__`` with the signature of another one."""

    def decorate(own: Callable[..., None]) -> Callable[Concatenate[Any, P], None]:
        own.__signature__ = inspect.signature(init)  # type: ignore[attr-defined]
        return own

    return decorate


def _name(made: object) -> str:
    return str(getattr(made, "__name__", made))
