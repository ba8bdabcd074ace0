"""Declared values: frozen keyword-only dataclasses with checked fields, a canonical form and an identity.

Everything that says *what* to compute is one of these. A run's id is the hash of its canonical form, so the form
must stay the same for years: it is written here by hand, in JSON with sorted keys, and depends on no library.
"""

import difflib
import functools
import hashlib
import json
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from typing import Annotated, Any, Literal, Union

from simlaw.errors import SimlawError

#: What JSON can hold; the insides of lists and objects are not spelled out.
Json = None | bool | int | float | str | list[Any] | dict[str, Any]


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
        hints = _hints(cls)  # type: ignore[arg-type]  # mypy holds no dataclass type to be hashable
        for name, value in given.items():
            if name not in hints:
                near = difflib.get_close_matches(name, hints, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"its fields are {', '.join(hints)}"
                raise SimlawError(f"{cls.__name__} has no field {name!r}: {hint}")
            if wrong := mismatch(value, hints[name]):
                raise SimlawError(f"{cls.__name__}.{name} is {_short(value)}: {wrong}")
        for each in fields(cls):  # type: ignore[arg-type]  # every subclass is a dataclass
            if each.name not in given and each.default is each.default_factory:
                raise SimlawError(f"{cls.__name__} needs the field {each.name!r}: add {each.name}=…")
        return super().__new__(cls)

    def __post_init__(self) -> None:
        self.check()

    def check(self) -> None:
        """Nothing; a subclass raises `SimlawError` where its fields do not fit each other."""


def mismatch(value: object, hint: Any) -> str | None:
    """What `value` must be, as half a sentence, or None where it satisfies the type `hint`."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        if wrong := mismatch(value, args[0]):
            return wrong
        for bound in args[1:]:
            assert isinstance(value, int | float)
            inside = value > bound.low if isinstance(bound, Above) else bound.low <= value <= bound.high
            if not inside:
                return f"it must be {bound}"
        return None
    if origin is Literal:
        return None if value in args else f"it must be one of {', '.join(map(repr, args))}"
    if origin in (Union, types.UnionType):
        wrongs = [mismatch(value, arg) for arg in args]
        if None in wrongs:
            return None
        kin = [w for w, arg in zip(wrongs, args, strict=True) if _same_kind(value, arg)]
        return kin[0] if kin else f"it must be {' or '.join(_name(arg) for arg in args)}"
    if origin is tuple:
        if not isinstance(value, tuple):
            example = _short(tuple(value)) if isinstance(value, list | set | range) else f"({_short(value)},)"
            return f"it must be a tuple, for example {example}"
        for i, item in enumerate(value):
            if wrong := mismatch(item, args[0]):
                return f"item {i} is {_short(item)}, {wrong}"
        return None
    if hint is float:
        good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        return None if good else "it must be a finite number"
    if hint is int:
        return None if isinstance(value, int) and not isinstance(value, bool) else "it must be a whole number"
    if hint is None or hint is types.NoneType:
        return None if value is None else "it must be None"
    return None if isinstance(value, hint) else f"it must be {_name(hint)}"


def encode(value: object, *, identity: bool = False) -> Json:
    """The canonical form of a declared value: plain JSON data, each declaration tagged with its type.

    With `identity=True` the fields marked `metadata={"identity": False}` (where to look for a file, say) are left out,
    and each `option` that has its default.
    """
    if isinstance(value, Declared):
        form: dict[str, Json] = {"type": type(value).__name__}
        for each in fields(value):  # type: ignore[arg-type]
            if not identity or _identifies(each, value):
                form[each.name] = encode(getattr(value, each.name), identity=identity)
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
        return tuple(decode(args[0], item) for item in form)
    if isinstance(hint, type) and issubclass(hint, Declared):
        if not _accepts(hint, form):
            raise SimlawError(f"{_short(form)} is not a {hint.__name__}: was it written by another version?")
        hints = _hints(hint)  # type: ignore[arg-type]
        given = {name: item for name, item in form.items() if name != "type"}
        return hint(**{name: decode(hints[name], item) if name in hints else item for name, item in given.items()})
    return float(form) if hint is float else form


def canonical(value: object) -> str:
    """The canonical text of a value's identity: one line of JSON with sorted keys."""
    return json.dumps(encode(value, identity=True), sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def digest(*parts: object) -> str:
    """The identity of declared values together: 16 hexadecimal digits of the SHA-256 of their canonical texts."""
    text = "\n".join(_remembered(part) if isinstance(part, Declared) else canonical(part) for part in parts)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@functools.lru_cache(maxsize=65_536)
def _remembered(value: "Declared") -> str:
    """The canonical text of a declaration; a plan asks for those of the same few thousand again and again."""
    return canonical(value)


@functools.cache
def _hints(cls: Any) -> Mapping[str, Any]:
    return typing.get_type_hints(cls, include_extras=True)


def _identifies(each: "Field[Any]", value: object) -> bool:
    """Whether a field is part of the identity of `value`."""
    kind = each.metadata.get("identity", True)
    return bool(kind) if kind != "unless default" else getattr(value, each.name) != each.default


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
    return {int: "a whole number", float: "a number", str: "a text", bool: "True or False"}.get(
        hint, getattr(hint, "__name__", str(hint))
    )


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
