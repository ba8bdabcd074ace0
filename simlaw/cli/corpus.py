"""`simlaw corpus`: what a corpus looks like, and what each of its tokens costs the best predictor."""

import json
import shutil
from collections.abc import Mapping
from typing import Any

import click
import numpy as np

from simlaw.cli.options import json_option, print_json
from simlaw.config import ZRHM, Corpus, Digits, Graph, Step, Teach, Text, Tokens, ZFact
from simlaw.corpora import AbstractCorpus, open_corpus
from simlaw.corpora.fresh import AbstractFresh
from simlaw.corpora.tokenizer import tokenizer_of
from simlaw.counted import counted
from simlaw.errors import SimlawError
from simlaw.report import wrapped
from simlaw.sweep import load_sweep

#: The kinds, by the names that people call them, with what they have no default for.
_KINDS: Mapping[str, tuple[type[Corpus], Mapping[str, Any]]] = {
    "zfact": (ZFact, {}),
    "zrhm": (ZRHM, {}),
    "step": (Step, {}),
    "words": (Step, {"form": "words"}),
    "digits": (Digits, {}),
    "graph": (Graph, {"nodes": 64, "out": 8}),
    "teach": (Teach, {}),
    "text": (Text, {}),
    "tokens": (Tokens, {}),
}
#: Tokens of a sample of a corpus without items of its own.
_SHOWN = 64
#: Tokens over which the mean floor is taken.
_MEAN_OVER = 65_536
_WIDEST = 100


@click.command()
@click.argument("name", metavar="NAME")
@click.option("--show", type=click.IntRange(0), default=1, show_default=True, help="Windows to print.")
@click.option("--set", "given", multiple=True, metavar="FIELD=VALUE", help="A field of the corpus, as JSON or text.")
@click.option("--context", type=click.IntRange(1), help="Tokens predicted in a window; by default those of one item.")
@json_option
def command(name: str, show: int, given: tuple[str, ...], context: int | None, as_json: bool) -> None:
    """Print held-out windows of a corpus, and below each token the exact loss of the best predictor, in nats.

    NAME is a kind (zfact, zrhm, step, words, digits, graph, mix, teach, text, tokens), or a sweep, whose corpora are
    printed in turn. A token that no loss counts has a dot for its floor.

    \b
    Example:
      simlaw corpus zrhm --show 3 --set symbols=16
    """
    found = [_shown(open_corpus(spec), show, context) for spec in _specs(name, given)]
    if as_json:
        print_json({"corpora": found})
        return
    click.echo("\n\n".join(_text(each) for each in found))


def _specs(name: str, given: tuple[str, ...]) -> tuple[Corpus, ...]:
    if name not in _KINDS:
        try:
            specs = load_sweep(name).sweep.corpora
        except SimlawError as error:
            if "there is no sweep" not in str(error):
                raise
            raise SimlawError(
                f"there is no corpus and no sweep {name!r}: the corpora are {', '.join(_KINDS)}"
            ) from error
        if given:
            raise SimlawError(f"--set is for a kind of corpus, and {name} is a sweep: leave it out")
        return specs
    kind, fields = _KINDS[name]
    return (kind(**{**fields, **dict(map(_field, given))}),)


def _field(text: str) -> tuple[str, Any]:
    field, sign, value = text.partition("=")
    if not sign:
        raise SimlawError(f"--set {text}: it must read FIELD=VALUE, for example exponent=0.5")
    try:
        parsed = json.loads(value)
    except json.JSONDecodeError:
        parsed = value
    return field, tuple(parsed) if isinstance(parsed, list) else parsed


def _shown(corpus: AbstractCorpus, show: int, context: int | None) -> dict[str, Any]:
    """What there is to say of a corpus, as JSON has it."""
    context = context or (corpus.shortest if isinstance(corpus, AbstractFresh) else _SHOWN)
    windows = corpus.held_out(max(show, _MEAN_OVER // context) * context, context)
    tokenizer, left_out = tokenizer_of(corpus.spec, corpus.vocab), corpus.spec.left_out
    floors = corpus.floor_nll(windows)
    samples = []
    for i in range(show):
        count = counted(windows[i : i + 1], left_out)
        samples.append(
            {
                "tokens": windows[i].tolist(),
                "text": tokenizer.decode(windows[i]),
                "names": None if corpus.spec.names is None else [corpus.spec.names[token] for token in windows[i]],
                "floor": None if floors is None else floors[i].tolist(),
                "counted": None if count is None else count[0].tolist(),
            }
        )
    mean = corpus.floor(windows)
    return {
        "corpus": corpus.describe(),
        "context": context,
        "vocab": corpus.vocab,
        "entropy": corpus.entropy,
        "floor": None if mean is None else float(mean.mean()),
        "floor_se": None if mean is None else float(mean.std(ddof=1) / np.sqrt(len(mean))),
        "windows": len(windows),
        "samples": samples,
    }


def _text(found: Mapping[str, Any]) -> str:
    lines = [wrapped(found["corpus"])]
    for sample in found["samples"]:
        lines.append("")
        lines += _aligned(sample) if sample["floor"] is not None else [str(sample["text"])]
    lines.append("")
    if found["floor"] is None:
        lines.append("its floor is not known, so losses on it have no excess")
    else:
        known = "no closed form" if found["entropy"] is None else f"{found['entropy']:.4f} in closed form"
        lines.append(
            wrapped(
                f"floor: {found['floor']:.4f} ± {found['floor_se']:.4f} nats per token over {found['windows']} "
                f"held-out windows of {found['context']} tokens; the entropy of whole items: {known}"
            )
        )
    return "\n".join(lines)


def _aligned(sample: Mapping[str, Any]) -> list[str]:
    """Tokens over their floors, in as many lines as they take; the first token is given, and has none."""
    names = sample["names"] or [str(token) for token in sample["tokens"]]
    counted = sample["counted"] or [True] * len(sample["floor"])
    floors = ["", *(f"{floor:.2f}" if one else "·" for floor, one in zip(sample["floor"], counted, strict=True))]
    lines, above, below = [], "", ""
    widest = min(_WIDEST, shutil.get_terminal_size().columns)
    for name, floor in zip(names, floors, strict=True):
        width = max(len(name), len(floor)) + 1
        if len(above) + width > widest:
            lines += [above.rstrip(), below.rstrip()]
            above = below = ""
        above, below = above + name.rjust(width), below + floor.rjust(width)
    return [*lines, above.rstrip(), below.rstrip()]
