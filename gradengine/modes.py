"""Whether the tape records: no_grad, enable_grad, inference_mode, each for one thread and context.

Floor 1: imports nothing of gradengine.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncGenerator, Callable, Generator
from contextvars import ContextVar
from typing import Any, ClassVar

_recording: ContextVar[bool | None] = ContextVar("gradengine_recording", default=True)
grad_enabled = _recording.get


class _GradMode:
    """A context manager and decorator that switches recording, for this thread and context only.

    A decorated generator or coroutine (or both in one) switches only while its own body runs.
    """

    mode: ClassVar[bool | None]

    def __new__(cls, function: Callable[..., Any] | None = None) -> Any:
        """`@no_grad` without parentheses decorates too."""
        made = object.__new__(cls)
        return made if function is None else made(function)

    def __init__(self, function: Callable[..., Any] | None = None) -> None:
        self._before: list[Any] = []

    def __enter__(self) -> None:
        self._before.append(_recording.set(self.mode))

    def __exit__(self, *_: object) -> None:
        token = self._before.pop()
        try:
            _recording.reset(token)
        except ValueError:  # entered in another context, as a generator moved between tasks is
            before = token.old_value
            _recording.set(True if before is token.MISSING else before)

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        mode = type(self)
        if inspect.isgeneratorfunction(function):

            @functools.wraps(function)
            def generator(*args: Any, **kwargs: Any) -> Any:
                return (yield from _resumed(mode, function(*args, **kwargs)))

            return generator
        if inspect.isasyncgenfunction(function):

            @functools.wraps(function)
            def stream(*args: Any, **kwargs: Any) -> Any:
                return _streamed(mode, function(*args, **kwargs))

            return stream
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def coroutine(*args: Any, **kwargs: Any) -> Any:
                with mode():
                    return await function(*args, **kwargs)

            return coroutine

        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            with mode():
                return function(*args, **kwargs)

        return wrapper


def _resumed(mode: type[_GradMode], inner: Any) -> Generator[Any, Any, Any]:
    """Run a generator with the mode set inside it and unset while it is paused."""
    step: Callable[[], Any] = functools.partial(next, inner)
    while True:
        try:
            with mode():
                value = step()
        except StopIteration as stop:
            return stop.value
        try:
            sent = yield value
            step = functools.partial(inner.send, sent)
        except GeneratorExit:
            with mode():
                inner.close()
            raise
        except BaseException as error:
            step = functools.partial(inner.throw, error)


async def _streamed(mode: type[_GradMode], inner: Any) -> AsyncGenerator[Any, Any]:
    """`_resumed` for an asynchronous generator."""
    step: Callable[[], Any] = inner.__anext__
    while True:
        try:
            with mode():
                value = await step()
        except StopAsyncIteration:
            return
        try:
            sent = yield value
            step = functools.partial(inner.asend, sent)
        except GeneratorExit:
            with mode():
                await inner.aclose()
            raise
        except BaseException as error:
            step = functools.partial(inner.athrow, error)


class no_grad(_GradMode):
    """Record nothing inside: `with no_grad():` or `@no_grad()`."""

    mode = False


class enable_grad(_GradMode):
    """Record again inside a `no_grad` block."""

    mode = True


class tangents_only(_GradMode):
    """What forward mode sets in a `no_grad` block around it: tangents are computed, no tape."""

    mode = None


class inference_mode(no_grad):
    """PyTorch's name for code that never differentiates; here the same as `no_grad`."""
