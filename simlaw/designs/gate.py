"""The gate: what a planned set of runs could identify, whether it is refused, and what to add to it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from numpy.typing import ArrayLike

from simlaw.designs.extra import Extra, extras
from simlaw.designs.plausible import plausible
from simlaw.designs.prospect import Prospect, prospect, prospect_table
from simlaw.designs.rows import Rows, planned
from simlaw.errors import SimlawError
from simlaw.law import AbstractLaw, QuantizedLaw
from simlaw.simulation import TYPICAL, AnyLaw, Noise, law_of


@dataclass(frozen=True, kw_only=True)
class Design:
    """Planned rows with the prospects of every form, and the cheapest extra cells.

    `laws` are the plausible laws that each form was judged at, with a leading axis; `noise` is what rows scatter by.
    """

    rows: Rows
    noise: Noise
    laws: tuple[AbstractLaw, ...]
    prospects: tuple[Prospect, ...]
    extras: tuple[Extra, ...]

    @property
    def refusals(self) -> tuple[str, ...]:
        """Why forms cannot be held, a sentence each; empty where all can."""
        return _merged([(str(refusal), one) for one in self.prospects for refusal in one.refusals])

    @property
    def notes(self) -> tuple[str, ...]:
        """What is just enough, or not estimated at all, a sentence each."""
        return _merged([(note, one) for one in self.prospects for note in one.notes])

    def __str__(self) -> str:
        parts = [prospect_table(self.prospects)]
        parts += [f"refused: {sentence}" for sentence in self.refusals]
        parts += [f"note: {sentence}" for sentence in self.notes]
        if self.extras:
            parts += ["cheapest extra cells, one after the other:", *(f"  {extra}" for extra in self.extras)]
        return "\n".join(parts)


def _merged(said: Sequence[tuple[str, Prospect]]) -> tuple[str, ...]:
    """Each sentence once, after the forms that it is said of."""
    found: dict[str, list[str]] = {}
    for sentence, one in said:
        found.setdefault(sentence, []).append(one.form.__name__)
    return tuple(f"{', '.join(forms)}: {sentence}" for sentence, forms in found.items())


def design(
    forms: type[AbstractLaw] | Sequence[type[AbstractLaw]],
    x: Mapping[str, ArrayLike],
    trunk: Sequence[object] | None = None,
    *,
    law: AnyLaw | Sequence[AnyLaw] | None = None,
    noise: Noise = TYPICAL,
    extra: int = 3,
) -> Design:
    """What planned rows could identify of each form, before anything is run; nothing is refused but by `refusals`.

    `x` holds one value for each planned row: N parameters, D tokens, bits P_w, P_post … (infinite where a tensor is not
    quantized). `trunk` names what rows share that move together (a run and its branches and quantizations). A form
    sees the rows in precisions that it knows, a penalty the quantized ones. It is judged at `law` where that is one of
    its own (a fit is taken with its draws), else at laws drawn from the ranges that fits start from. `extra` is the
    number of additions to propose. Raises `SimlawError` where a form sees no row, where `law` is of none of the forms,
    and for lengths that differ.
    """
    each = [forms] if isinstance(forms, type) else list(forms)
    if not each:
        raise SimlawError("no form was given: design(sl.laws.Chinchilla, …)")
    rows = planned(x, trunk)
    known = _known(law)
    if known and not any(form in known for form in each):
        given, wanted = (", ".join(form.__name__ for form in some) for some in (known, each))
        raise SimlawError(f"the law is a {given} and the forms are {wanted}: give a law of one of them")
    for form in each:
        for name in form.needs:
            if name not in rows.x:
                raise SimlawError(f"{form.__name__} needs {name}, which the rows lack: give x={{'{name}': …}}")
        if not rows.of(form).trunk:
            raise SimlawError(
                f"no row is one that {form.__name__} could be fitted to: give P_post as infinite, or bits"
            )
    laws = tuple(plausible(form, rows.of(form).x, known.get(form)) for form in each)
    return Design(
        rows=rows,
        noise=noise,
        laws=laws,
        prospects=tuple(prospect(one, rows.of(type(one)), noise) for one in laws),
        extras=extras(laws, rows, noise, extra),
    )


def _known(law: AnyLaw | Sequence[AnyLaw] | None) -> dict[type[AbstractLaw], AbstractLaw]:
    """The given laws by their forms; a fit by its draws, a law that joins two by its parts."""
    given = [] if law is None else list(law) if isinstance(law, Sequence) else [law]
    found: dict[type[AbstractLaw], AbstractLaw] = {}
    for one in given:
        draws = getattr(one, "draws", None)
        plain = draws if draws is not None else law_of(one)
        for part in (plain.base, plain.penalty) if isinstance(plain, QuantizedLaw) else (plain,):
            found[type(part)] = part
    return found
