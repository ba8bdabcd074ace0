"""Declared values: frozen keyword-only dataclasses with checked fields, a canonical form and an identity.

Everything that says *what* to compute is one of these. A run's id is the hash of its canonical form, so the form
must stay the same for years: it is written here by hand, in JSON with sorted keys, and depends on no library.
"""

import difflib
import functools
import hashlib
import json
import math
import sys
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from json.encoder import encode_basestring_ascii
from typing import Annotated, Any, Literal, Union

from simlaw.errors import SimlawError

#: What JSON can hold; the insides of lists and objects are not spelled out.
Json = None | bool | int | float | str | list[Any] | dict[str, Any]

#: Says what a value must be, or None where it is that.
_Judge = Callable[[Any], str | None]


@dataclass(frozen=True)
class Between:
    """The bounds of a number, both included: `Annotated[int, Between(1, 16)]`."""

    low: float
    high: float = math.inf

    def __str__(self) -> str:
        high = int(self.high) if float(self.high).is_integer() else self.high
        return f"at least {self.low:g}" if self.high == math.inf else f"from {self.low:g} to {high}"


@dataclass(frozen=True)
class Above:
    """An excluded lower bound: `Annotated[float, Above(0)]`."""

    low: float

    def __str__(self) -> str:
        return f"above {self.low:g}"


Count = Annotated[int, Between(1)]
Natural = Annotated[int, Between(0)]
Positive = Annotated[float, Above(0)]
Fraction = Annotated[float, Between(0, 1)]


def option(default: Any) -> Any:
    """A field that joined its declaration later: where it has its default, identities stay what they were."""
    return field(default=default, metadata={"identity": "unless default"})


class Declared:
    """Base of every declaration: refuses unknown and ill-typed fields in one sentence.

    Subclasses are `@dataclass(frozen=True, kw_only=True)` and final; rules that join several fields go into `check`.
    Raises `SimlawError` on construction, never later.
    """

    def __new__(cls, *positional: object, **given: object) -> Any:
        """The value, where its fields are known, there and of the declared types."""
        if positional:
            raise SimlawError(f"{cls.__name__}({_short(positional[0])}) needs field names: {cls.__name__}(name=…)")
        # Before `__init__`, so that the reader sees one sentence about the declaration and no Python signature.
        judges, needed = _judges(cls)  # type: ignore[arg-type]  # mypy holds no dataclass type to be hashable
        for name, value in given.items():
            if name not in judges:
                near = difflib.get_close_matches(name, judges, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"its fields are {', '.join(judges)}"
                raise SimlawError(f"{cls.__name__} has no field {name!r}: {hint}")
            if wrong := judges[name](value):
                raise SimlawError(f"{cls.__name__}.{name} is {_short(value)}: {wrong}")
        for name in needed:
            if name not in given:
                raise SimlawError(f"{cls.__name__} needs the field {name!r}: add {name}=…")
        return super().__new__(cls)

    def __init_subclass__(cls) -> None:
        # in the class itself, where `dataclass` leaves it: plans look the same nested values up again and again
        cls.__hash__ = Declared.__hash__  # type: ignore[method-assign]

    def __hash__(self) -> int:
        return self._hash

    @functools.cached_property
    def _hash(self) -> int:
        return hash((type(self), *(getattr(self, each.name) for each in fields(self))))  # type: ignore[arg-type]

    def _identifying(self) -> list[str]:
        """The fields that are part of the identity."""
        each = _identities(type(self))  # type: ignore[arg-type]
        return [name for name, always, default in each if always or getattr(self, name) != default]

    @functools.cached_property
    def _identity(self) -> str:
        """The canonical text, kept with the value: the same models and optimizers are part of thousands of runs."""
        parts = [f'"{name}":{canonical(getattr(self, name))}' for name in self._identifying()]
        parts.append(f'"type":{canonical(type(self).__name__)}')
        return f"{{{','.join(sorted(parts))}}}"

    def __post_init__(self) -> None:
        self.check()

    def check(self) -> None:
        """Nothing; a subclass raises `SimlawError` where its fields do not fit each other."""


def mismatch(value: object, hint: Any) -> str | None:
    """What `value` must be, as half a sentence, or None where it satisfies the type `hint`."""
    return _judge(hint)(value)


def encode(value: object, *, identity: bool = False) -> Json:
    """The canonical form of a declared value: plain JSON data, each declaration tagged with its type.

    With `identity=True` the fields marked `metadata={"identity": False}` (where to look for a file, say) are left out,
    and each `option` that has its default.
    """
    if isinstance(value, Declared):
        form: dict[str, Json] = {"type": type(value).__name__}
        names = value._identifying() if identity else [each.name for each in fields(value)]  # type: ignore[arg-type]
        for name in names:
            form[name] = encode(getattr(value, name), identity=identity)
        return form
    if isinstance(value, tuple | list):
        return [encode(item, identity=identity) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)  # 1.0 and 1 in a float field are the same declaration, so they have the same form
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"{value!r} has no canonical form")


def decode(hint: Any, form: Any) -> Any:
    """The value of type `hint` whose canonical form is `form`; the inverse of `encode`.

    Raises `SimlawError` where the form does not fit the type.
    """
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return decode(args[0], form)
    if origin in (Union, types.UnionType):
        for arg in args:
            if _accepts(arg, form):
                return decode(arg, form)
        raise SimlawError(f"{_short(form)} is none of {', '.join(_name(arg) for arg in args)}")
    if origin is tuple:
        if not isinstance(form, list):
            return form  # the declaration says what is wrong with it, by the name of its field
        return tuple(decode(args[0], item) for item in form)
    if isinstance(hint, type) and issubclass(hint, Declared):
        if not _accepts(hint, form):
            raise SimlawError(f"{_short(form)} is not a {hint.__name__}: was it written by another version?")
        hints = _hints(hint)  # type: ignore[arg-type]
        given = {name: item for name, item in form.items() if name != "type"}
        return hint(**{name: decode(hints[name], item) if name in hints else item for name, item in given.items()})
    whole = isinstance(form, int) and not isinstance(form, bool) and abs(form) <= sys.float_info.max
    return float(form) if hint is float and whole else form


def parsed(data: str | bytes) -> Json:
    """The value in a JSON text.

    Raises `SimlawError` where it is none in UTF-8, or is nested too deeply to read: half a sentence, of which the
    caller says where it was found.
    """
    try:
        found: Json = json.loads(data)
    except RecursionError as error:
        raise SimlawError("nested too deeply to read") from error
    except ValueError as error:
        raise SimlawError(f"no JSON in UTF-8: {error}") from error
    return found


def canonical(value: object) -> str:
    """The canonical text of a value's identity, `encode(value, identity=True)`: one line of JSON with sorted keys."""
    if isinstance(value, Declared):
        return value._identity
    if isinstance(value, str):
        return encode_basestring_ascii(value)
    if isinstance(value, tuple | list):
        return f"[{','.join(map(canonical, value))}]"
    if type(value) is int:
        return repr(value)
    return json.dumps(encode(value))


def digest(*parts: object) -> str:
    """The identity of declared values together: 16 hexadecimal digits of the SHA-256 of their canonical texts."""
    return hashlib.sha256("\n".join(map(canonical, parts)).encode()).hexdigest()[:16]


def digests(first: object, each: Iterable[object]) -> tuple[str, ...]:
    """The `digest` of a value with each of some others in turn."""
    head = f"{canonical(first)}\n"
    return tuple(hashlib.sha256(f"{head}{canonical(one)}".encode()).hexdigest()[:16] for one in each)


@functools.cache
def _judges(cls: Any) -> tuple[Mapping[str, _Judge], tuple[str, ...]]:
    """What judges each field of a declaration, and the fields that it needs."""
    needed = tuple(each.name for each in fields(cls) if each.default is each.default_factory)
    return {name: _judge(hint) for name, hint in _hints(cls).items()}, needed


@functools.cache
def _judge(hint: Any) -> _Judge:
    """`mismatch` of one type, with its parts taken apart once: plans make the same declarations by the thousand."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return _judge_of_bounds(_judge(args[0]), args[1:])
    if origin is Literal:
        return _unless(lambda value: value in args, f"it must be one of {', '.join(map(repr, args))}")
    if origin in (Union, types.UnionType):
        return _judge_of_any(args)
    if origin is tuple:
        return _judge_of_items(_judge(args[0]))
    if hint is float:
        return _unless(
            # the comparison is exact, where a whole number of 400 digits would not become a float
            lambda value: (
                isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
            ),
            "it must be a finite number",
        )
    if hint is int:
        return _unless(
            lambda value: isinstance(value, int) and not isinstance(value, bool), "it must be a whole number"
        )
    if hint is None or hint is types.NoneType:
        return _unless(lambda value: value is None, "it must be None")
    return _unless(lambda value: isinstance(value, hint), f"it must be {_name(hint)}")


def _unless(good: Callable[[Any], bool], wrong: str) -> _Judge:
    return lambda value: None if good(value) else wrong


def _judge_of_bounds(base: _Judge, bounds: Sequence[Any]) -> _Judge:
    def judge(value: Any) -> str | None:
        if wrong := base(value):
            return wrong
        for bound in bounds:
            inside = value > bound.low if isinstance(bound, Above) else bound.low <= value <= bound.high
            if not inside:
                return f"it must be {bound}"
        return None

    return judge


def _judge_of_any(args: Sequence[Any]) -> _Judge:
    judges = tuple(map(_judge, args))

    def judge(value: object) -> str | None:
        wrongs = []
        for one in judges:
            wrong = one(value)
            if wrong is None:
                return None
            wrongs.append(wrong)
        kin = [w for w, arg in zip(wrongs, args, strict=True) if _same_kind(value, arg)]
        return kin[0] if kin else f"it must be {' or '.join(_name(arg) for arg in args)}"

    return judge


def _judge_of_items(each: _Judge) -> _Judge:
    def judge(value: object) -> str | None:
        if not isinstance(value, tuple):
            example = _short(tuple(value)) if isinstance(value, list | set | range) else f"({_short(value)},)"
            return f"it must be a tuple, for example {example}"
        for i, item in enumerate(value):
            if wrong := each(item):
                return f"item {i} is {_short(item)}, {wrong}"
        return None

    return judge


@functools.cache
def _hints(cls: Any) -> Mapping[str, Any]:
    return typing.get_type_hints(cls, include_extras=True)


@functools.cache
def _identities(cls: Any) -> tuple[tuple[str, bool, Any], ...]:
    """The fields that are part of an identity: whether each always is, or else its default."""
    kinds = [(each, each.metadata.get("identity", True)) for each in fields(cls)]
    return tuple((each.name, kind != "unless default", each.default) for each, kind in kinds if kind)


def _accepts(hint: Any, form: Any) -> bool:
    if isinstance(hint, type) and issubclass(hint, Declared):
        return isinstance(form, dict) and form.get("type") == hint.__name__
    origin = typing.get_origin(hint)
    if origin is tuple:
        return isinstance(form, list)
    return not isinstance(form, dict | list) and mismatch(form, hint) is None


def _same_kind(value: object, hint: Any) -> bool:
    base = typing.get_origin(hint) or hint
    if base is Annotated:
        base = typing.get_args(hint)[0]
    return isinstance(base, type) and isinstance(value, base)


def _name(hint: Any) -> str:
    if typing.get_origin(hint) is Annotated:
        return f"a number {typing.get_args(hint)[1]}"
    if typing.get_origin(hint) is tuple:
        return f"a tuple of {_name(typing.get_args(hint)[0])}"
    if typing.get_origin(hint) is Literal:
        return f"one of {', '.join(map(repr, typing.get_args(hint)))}"
    if hint is types.NoneType:
        return "None"
    kinds = {int: "a whole number", float: "a number", str: "a text", bool: "True or False"}
    return {**kinds, list: "a list", dict: "an object"}.get(hint, getattr(hint, "__name__", str(hint)))


def _short(value: object) -> str:
    try:
        text = repr(value)
    except ValueError:  # a whole number of more digits than Python writes out
        text = f"a {type(value).__name__} of thousands of digits"
    return text if len(text) <= 60 else text[:57] + "..."
