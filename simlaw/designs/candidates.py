"""Candidates: rows that could be added to a design, one step beyond what it has."""

import functools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from simlaw.accounting import flops_6nd
from simlaw.designs.rows import Rows
from simlaw.report import count, precision

#: Bits that a quantizer may have, and that fits take: below is outside the regime that the laws describe.
_BITS = (3.0, 16.0)
#: The step to the next size or token count, where a design has one level of it.
_STEP = {"N": 4.0, "D": 2.0}

#: The variables of a trained run, in the order of the design's.
_Key = tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """Rows that could be added: what they are, how many runs they take, and those runs' training FLOPs (6·N·D)."""

    what: str
    rows: Rows
    runs: int
    flops: float


def candidates(rows: Rows) -> list[Candidate]:
    """What could be added, each thing once.

    To every trained cell its neighbours in size, tokens and training precision, on as many trunks as it has; to every
    size one more seed; to every checkpoint one more bit-width.
    """
    trained = tuple(name for name in rows.x if name != "P_post")
    cells: dict[_Key, _Cell] = {}
    posts = rows.x.get("P_post", np.full(len(rows.trunk), np.inf))
    for *key, post, trunk in zip(*(rows.x[name] for name in trained), posts, rows.trunk, strict=True):
        cell = cells.setdefault(tuple(float(value) for value in key), _Cell(trunks={}, posts={}))
        cell.trunks[trunk] = cell.posts[float(post)] = None
    whole = _Grid(names=tuple(rows.x), trained=trained, cells=cells)
    return [*whole.neighbours(), *whole.seeds(), *whole.bits()]


@dataclass(frozen=True, kw_only=True)
class _Cell:
    """One kind of trained run: its trunks, and the precisions at which its checkpoints are measured; both in order."""

    trunks: dict[str, None]
    posts: dict[float, None]


@dataclass(frozen=True, kw_only=True)
class _Grid:
    """The trained cells of a design by the values of its `trained` variables."""

    names: tuple[str, ...]
    trained: tuple[str, ...]
    cells: Mapping[_Key, _Cell]

    @functools.cached_property
    def groups(self) -> Mapping[_Key, list[_Key]]:
        """The cells of every size and precision, which differ in their token counts alone."""
        found: dict[_Key, list[_Key]] = {}
        for key in self.cells:
            found.setdefault(self._apart(key), []).append(key)
        return found

    def neighbours(self) -> Iterator[Candidate]:
        """Cells that are one step from another one along one axis."""
        done = set(self.cells)
        for at, name in enumerate(self.trained):
            if name not in _STEP and not name.startswith("P_"):
                continue
            everywhere = _extended(name, {key[at] for key in self.cells})
            lines: dict[_Key, list[_Key]] = {}
            for key in self.cells:
                lines.setdefault(key[:at] + key[at + 1 :], []).append(key)
            for line in lines.values():
                line.sort(key=lambda key: key[at])
                # token counts are a ladder of each size's own
                levels = everywhere if name != "D" else _extended(name, {key[at] for key in line})
                for key in (line[0], line[-1]):
                    i = levels.index(key[at])
                    steps = [*levels[max(i - 1, 0) : i], *levels[i + 1 : i + 2]]
                    # the unquantized run is one step from any other: what the effect of bits is measured against
                    for value in steps + [np.inf] * name.startswith("P_"):
                        if (new := (*key[:at], value, *key[at + 1 :])) in done:
                            continue
                        done.add(new)
                        trunks = self._trunks(new, len(self.cells[key].trunks))
                        yield self._made(self._says(new), {new: trunks}, self.cells[key].posts, runs=len(trunks))

    def seeds(self) -> Iterator[Candidate]:
        """One more trunk of each size and training precision, with all its token counts."""
        for apart, keys in self.groups.items():
            have = {trunk for key in keys for trunk in self.cells[key].trunks}
            name = f"seed {len(have) + 1} of {apart}"
            posts = self.cells[keys[0]].posts
            cells = dict.fromkeys(keys, (name,))
            tokens = f" ({len(keys)} token counts)" if len(keys) > 1 else ""
            yield self._made(f"a seed more at {self._says(keys[0], 'D')}{tokens}", cells, posts, runs=len(keys))

    def bits(self) -> Iterator[Candidate]:
        """One more bit-width of every checkpoint; nothing is trained for it."""
        if "P_post" not in self.names:
            return
        have = {post for cell in self.cells.values() for post in cell.posts}
        for value in _extended("P_post", have):
            if value not in have:
                cells = {key: tuple(cell.trunks) for key, cell in self.cells.items()}
                yield self._made(f"int{value:g} of every checkpoint", cells, (value,), runs=0)

    def _made(self, what: str, cells: Mapping[_Key, tuple[str, ...]], posts: Iterable[float], runs: int) -> Candidate:
        each = [(key, trunk, post) for key, trunks in cells.items() for trunk in trunks for post in posts]
        columns = {name: np.array([key[i] for key, _, _ in each]) for i, name in enumerate(self.trained)}
        columns["P_post"] = np.array([post for _, _, post in each])
        flops = sum(self._flops(key) * len(trunks) for key, trunks in cells.items()) if runs else 0.0
        return Candidate(
            what=what,
            rows=Rows(x={name: columns[name] for name in self.names}, trunk=tuple(trunk for _, trunk, _ in each)),
            runs=runs,
            flops=flops,
        )

    def _trunks(self, new: _Key, most: int) -> tuple[str, ...]:
        """The trunks that a new cell branches from: those of its size and precision, or as many new ones."""
        alike = self.groups.get(self._apart(new), [])
        if not alike or "D" not in self.trained:
            return tuple(f"new {i} of {self._apart(new)}" for i in range(most))
        at = self.trained.index("D")
        return tuple(self.cells[min(alike, key=lambda key: abs(np.log(key[at] / new[at])))].trunks)

    def _apart(self, key: _Key) -> _Key:
        """A key without its token count: what a trunk has."""
        return tuple(value for name, value in zip(self.trained, key, strict=True) if name != "D")

    def _flops(self, key: _Key) -> float:
        by_name = dict(zip(self.trained, key, strict=True))
        return flops_6nd(by_name["N"], by_name["D"]) if {"N", "D"} <= set(by_name) else float("nan")

    def _says(self, key: _Key, without: str = "") -> str:
        by_name = [(name, value) for name, value in zip(self.trained, key, strict=True) if name != without]
        return ", ".join(f"{name} = {_written(name, value)}" for name, value in by_name)


def _written(name: str, value: float) -> str:
    if name in _STEP:
        return count(value)
    return precision(value) if name.startswith("P_") else f"{value:g}"


def _extended(name: str, values: Iterable[float]) -> list[float]:
    """The levels of an axis with one more below and above; bits stay whole, and end at an unquantized tensor."""
    levels = sorted(value for value in values if np.isfinite(value))
    if name in _STEP:
        step = float(np.median(np.divide(levels[1:], levels[:-1]))) if len(levels) > 1 else _STEP[name]
        return [levels[0] / step, *levels, levels[-1] * step]
    more = [levels[0] - 1, levels[-1] + 1] if levels else [4.0]
    bits = {*levels, *(value for value in more if _BITS[0] <= value <= _BITS[1])}
    return [*sorted(bits), np.inf]
