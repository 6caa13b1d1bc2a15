# SPDX-License-Identifier: Apache-2.0
"""What a mistake is answered with: the one place that raises, and the doors that name.

A check knows which argument is wrong, what it must be, what it is and what to do. How
the call was written is known by the outermost door alone: the public function that the
caller called, of jaxent or of another framework's names in `compat`. So a check raises
a `Refusal`, each door translates it into its own arguments' names, and the outermost
makes it the error that the caller sees, without the frames that lie between.
"""

import contextlib
import functools
import inspect
import itertools
import re
import textwrap
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any, NamedTuple, NoReturn, ParamSpec, TypeVar, cast, overload

import jax
from jax import Array
from jax.core import Tracer

from ._habits import FUNCTION, FUNCTION_FIRST, by_name, line, near

P = ParamSpec("P")
R = TypeVar("R")
Names = dict[str, str]
"""An argument's name in what a door calls, and in the door."""


class Refusal(Exception):
    """A mistake, on its way out to the outermost door."""

    def __init__(
        self, kind: type[Exception], argument: str, must: str, got: object, remedy: str
    ):
        super().__init__(kind, argument, must, got, remedy)
        self.kind, self.argument, self.must = kind, argument, must
        self.got, self.remedy = got, remedy

    def told_by(self, names: Names) -> "Refusal":
        """The same in the words of a door that it leaves by."""
        argument, *path = re.split(r"(?=[.\[])", self.argument, maxsplit=1)
        return Refusal(
            self.kind,
            "".join([names.get(argument, argument), *path]),
            _translated(self.must, names),
            self.got,
            _translated(self.remedy, names),
        )

    def error(self, call: str) -> Exception:
        """What the caller of `call` sees."""
        got = self.got
        if isinstance(got, Array):
            got = f"{got.dtype.name}{list(got.shape)}"
        named = f"{self.argument}=..." if self.argument else "..."
        text = f"`{call}({named})` must {self.must}; got {got}. {self.remedy}"
        return self.kind(text)


def _translated(text: str, names: Names) -> str:
    """The text with the arguments it quotes, in backticks, by their other names."""
    if not names:
        return text
    name = re.compile(rf"(?<![\w.])({'|'.join(map(re.escape, names))})\b(?!\.\w)")

    def quoted(span: re.Match) -> str:
        return name.sub(lambda m: names[m[0]], span[0])

    return re.sub(r"`[^`]*`", quoted, text)


def fail(
    kind: type[Exception], argument: str, must: str, got: object, remedy: str
) -> NoReturn:
    """Refuse an argument: all errors of the library have the form of this message."""
    raise Refusal(kind, argument, must, got, remedy)


class _Call(NamedTuple):
    """The call that the user wrote, as far as it is known."""

    name: str
    names: Names


_OUTERMOST: ContextVar[_Call | None] = ContextVar("outermost", default=None)


def quoted(argument: str) -> str:
    """The call that the user wrote and an argument of it, for a message at run time."""
    call = _OUTERMOST.get() or _Call("jaxent", {})
    return f"`{call.name}({call.names.get(argument, argument)}=...)`"


def outside(function: Callable[P, R]) -> Callable[P, R]:
    """A function of the caller's, called from inside: its mistakes are its own."""

    def call(*args: P.args, **options: P.kwargs) -> R:
        token = _OUTERMOST.set(None)
        try:
            return function(*args, **options)
        finally:
            _OUTERMOST.reset(token)

    return call


@contextlib.contextmanager
def noted(note: str) -> Iterator[None]:
    """A mistake inside the caller's function keeps its words, and gets this note."""
    try:
        yield
    except (AttributeError, TypeError, ValueError) as error:
        error.add_note(note)
        raise


@contextlib.contextmanager
def on_its_chip(implementation: str) -> Iterator[None]:
    """What JAX says of kernels of another device, told as all else is."""
    try:
        yield
    except ValueError as error:
        if "interpret mode" not in str(error):
            raise
        chip = "a TPU" if implementation == "pallas_tpu" else "a Hopper GPU"
        must, remedy = f"be one of this device: it needs {chip}", 'Use "xla".'
        fail(NotImplementedError, "implementation", must, repr(implementation), remedy)


@overload
def door(function: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def door(**names: str) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
def door(function: Any = None, /, **names: str) -> Any:
    """A public function, that tells what is refused inside in its caller's words.

    `names` are for doors that call other doors: `hidden="input"` where the argument
    that those name `hidden` is this one's `input`.
    """
    if function is None:
        return functools.partial(_door, names=names)
    return _door(function, names)


def _door(function: Callable[P, R], names: Names) -> Callable[P, R]:
    @functools.wraps(function)
    def call(*args: P.args, **options: P.kwargs) -> R:
        outer = _OUTERMOST.get()
        here = outer or _Call(_shown(function, args), names)
        token = _OUTERMOST.set(here)
        try:
            return function(*args, **options)
        except Refusal as refusal:
            mistake = refusal.told_by(names)
        except TypeError as error:
            # With frames of its own it comes from inside; else Python did not enter.
            if error.__traceback__ is None or error.__traceback__.tb_next is not None:
                raise
            mistake = _not_entered(function, args, options)
        finally:
            _OUTERMOST.reset(token)
        if outer:
            raise mistake
        raise mistake.error(_shown(function, args, mistake.argument)) from None

    return cast(Callable[P, R], call)


def _shown(function: Callable, args: tuple, argument: str = "") -> str:
    """The name that the shop window has it under, such as `jaxent.samplers.uniform`.

    An argument that a method does not have is one that its object was made with.
    """
    owner, _, name = function.__qualname__.rpartition(".")
    rooms = function.__module__.split(".")
    parts = [*itertools.takewhile(lambda room: not room.startswith("_"), rooms)]
    if owner:
        parts.append(owner if isinstance(args[0], type) else type(args[0]).__name__)
        first = re.split(r"[.\[]", argument, maxsplit=1)[0]
        if first in getattr(args[0], "__dataclass_fields__", {}):
            return ".".join(parts)
    return ".".join([*parts, *([] if name.startswith("__") else [name])])


def _not_entered(function: Callable, args: tuple, options: dict) -> Refusal:
    """What Python refuses a call for, told as all else is."""
    parameters = dict(inspect.signature(function).parameters)
    if parameters.pop("self", None):
        args = args[1:]
    options_of = [n for n, p in parameters.items() if p.kind is p.KEYWORD_ONLY]
    arrays = [n for n in parameters if n not in options_of]
    takes = f"It takes {', '.join(arrays)}" if arrays else "It takes"
    takes += f"; by name {', '.join(options_of)}." if options_of else "."
    for name, x in options.items():
        if name not in parameters:
            got = shown(x)
            remedy = line(name, got, parameters) or f"{near(name, parameters)}{takes}"
            return Refusal(TypeError, name, "be an argument it has", got, remedy)
        if name in arrays[: len(args)]:
            return Refusal(TypeError, name, "be given once", "it twice", takes)
    if len(args) > len(arrays):
        must = f"be called with {len(arrays)} argument{'s' * (len(arrays) != 1)}"
        must += " by position"
        remedy = f"{by_name(arrays, options_of, args)}{takes}"
        return Refusal(TypeError, "", must, len(args), remedy)
    if arrays[:1] == ["function"] and args and not callable(args[0]):
        remedy = FUNCTION_FIRST
        return Refusal(TypeError, "function", FUNCTION, shown(args[0]), remedy)
    given = {*arrays[: len(args)], *options}
    lacking = (n for n, p in parameters.items() if p.default is p.empty)
    missing = next((n for n in lacking if n not in given), "")
    remedy = line(missing, None, parameters) or takes
    return Refusal(TypeError, missing, "be given", "nothing", remedy)


def traced(x: object) -> bool:
    """Whether any part of an option is not known yet."""
    return any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(x))


def static(argument: str) -> str:
    """How an option is told to `jax.jit`, for which all arguments are arrays."""
    return f'Under `jax.jit` it is static: `static_argnames="{argument}"`.'


def shown(x: object) -> object:
    """An array is told by its dtype and shape; else what Python writes, cut short."""
    return x if isinstance(x, Array) else textwrap.shorten(repr(x), 60)
