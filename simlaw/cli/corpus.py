"""`simlaw corpus`: what a corpus looks like, and what each of its tokens costs the best predictor."""

import contextlib
import shutil
import textwrap
from collections.abc import Mapping
from typing import Any, get_type_hints

import click
import numpy as np
from jaxtyping import Int

from simlaw.cli.options import json_option, print_json
from simlaw.config import ZRHM, Corpus, Digits, Graph, Mix, Part, Step, Teach, Text, Tokens, ZFact
from simlaw.corpora import AbstractCorpus, MixCorpus, TeachCorpus, open_corpus
from simlaw.corpora.fresh import AbstractFresh
from simlaw.corpora.tokenizer import AbstractTokenizer, Bytes, Names, tokenizer_of
from simlaw.counted import counted
from simlaw.declared import decode, parsed
from simlaw.errors import SimlawError
from simlaw.sweep import load_sweep, sweep_path

_MIXED = ((ZRHM(), 0.4), (ZFact(), 0.25), (Step(), 0.2), (Digits(), 0.15))
#: The kinds, by the names that people call them, with an example of what they have no default for.
KINDS: Mapping[str, tuple[type[Corpus], Mapping[str, Any]]] = {
    "zfact": (ZFact, {}),
    "zrhm": (ZRHM, {}),
    "step": (Step, {}),
    "words": (Step, {"form": "words"}),
    "digits": (Digits, {}),
    "graph": (Graph, {"nodes": 64, "out": 8}),
    "mix": (Mix, {"parts": tuple(Part(source=source, share=share) for source, share in _MIXED)}),
    "teach": (Teach, {}),
    "text": (Text, {}),
    "tokens": (Tokens, {}),
}
#: What is wanted of those that are nothing without a person's files, and how to come by it.
_WANTED = {
    "teach": (
        ("folder", "vocab"),
        "what a teacher wrote lies in a folder: make one with `simlaw teach RUN --out FOLDER`, which says the "
        "vocabulary too, and give both, as in --set folder=FOLDER --set vocab=256",
    ),
    "tokens": (
        ("vocab",),
        "token files say nothing of their vocabulary: give it, and where the files are not called train.bin and "
        "val.bin, their paths too, as in --set vocab=50257 --set train=a.bin --set held_out=b.bin",
    ),
}
#: Tokens of a sample of a corpus without items of its own, and the fewest of one whose items are shorter.
_SHOWN, _FEWEST = 64, 16
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
    printed in turn. A token that no loss counts has a dot for its floor. docs/corpora has a page on each kind.

    \b
    Example:
      simlaw corpus zrhm --show 3 --set symbols=16
      simlaw corpus teach --set folder=lessons --set vocab=256
    """
    try:
        found = [_shown(open_corpus(spec), show, context) for spec in _specs(name, given)]
    except SimlawError as error:
        raise SimlawError(str(error).replace("Family.context", "--context")) from error
    if as_json:
        print_json({"corpora": found})
        return
    click.echo("\n\n".join(_text(each) for each in found))


def _specs(name: str, given: tuple[str, ...]) -> tuple[Corpus, ...]:
    if name not in KINDS:
        if sweep_path(name) is None:
            raise SimlawError(f"there is no corpus and no sweep {name!r}: the corpora are {', '.join(KINDS)}")
        if given:
            raise SimlawError(f"--set is for a kind of corpus, and {name} is a sweep: leave it out")
        return load_sweep(name).sweep.corpora
    kind, fields = KINDS[name]
    mine = dict(_field(kind, text) for text in given)
    wanted, how = _WANTED.get(name, ((), ""))
    if any(field not in mine for field in wanted):
        raise SimlawError(how)
    return (kind(**{**fields, **mine}),)


def _field(kind: type[Corpus], text: str) -> tuple[str, Any]:
    field, sign, value = text.partition("=")
    if not sign:
        raise SimlawError(f"--set {text}: it must read FIELD=VALUE, for example seed=1")
    found: Any = value
    with contextlib.suppress(SimlawError):  # what is no JSON is a text
        found = parsed(value)
    each = found if isinstance(found, list) else [found]
    hint = get_type_hints(kind, include_extras=True).get(field)
    if hint is not None and any(isinstance(one, dict) for one in each):
        return field, decode(hint, found)
    return field, tuple(found) if isinstance(found, list) else found


def _shown(corpus: AbstractCorpus, show: int, context: int | None) -> dict[str, Any]:
    """What there is to say of a corpus, as JSON has it; raises `SimlawError` where held-out tokens are in training."""
    corpus.check_apart()
    context = context or _context(corpus)
    windows = _windows(corpus, show, context)
    tokenizer, left_out = tokenizer_of(corpus.spec, corpus.vocab, corpus.tokenizer), corpus.spec.left_out
    floors = corpus.floor_nll(windows)
    samples = []
    for i in range(show):
        count = counted(windows[i : i + 1], left_out)
        samples.append(
            {
                "tokens": windows[i].tolist(),
                "text": tokenizer.decode(windows[i]),
                "names": _names(tokenizer, windows[i]),
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


def _context(corpus: AbstractCorpus) -> int:
    """Tokens of one item, of several where they are short, or of the longest of a mixture."""
    if isinstance(corpus, MixCorpus):
        return max(_context(part) for part in corpus.corpora)
    if isinstance(corpus, AbstractFresh):
        return corpus.shortest * -(-_FEWEST // corpus.shortest)
    # beyond a teacher's own context its floor is not known
    return min(_SHOWN, corpus.lessons.teacher.model.context) if isinstance(corpus, TeachCorpus) else _SHOWN


def _windows(corpus: AbstractCorpus, show: int, context: int) -> Int[np.ndarray, "m w"]:
    """Held-out windows to show, and as many more as a mean floor is taken over and the corpus has."""
    least = max(show, 2)
    count = max(least, _MEAN_OVER // context) if corpus.floor_known else least
    while True:
        try:
            return corpus.held_out(count * context, context)
        except SimlawError:
            if count == least:
                raise
            count = max(least, count // 2)


def _names(tokenizer: AbstractTokenizer, window: Int[np.ndarray, " w"]) -> list[str] | None:
    """What people call each token: printable bytes by their character, others by their value; None of numbers."""
    if isinstance(tokenizer, Names):
        return [tokenizer.names[token] for token in window]
    if isinstance(tokenizer, Bytes):
        return [chr(byte) if 0x20 < byte < 0x7F else f"0x{byte:02x}" for byte in window]
    return None


def _text(found: Mapping[str, Any]) -> str:
    lines = [_wrapped(found["corpus"])]
    for sample in found["samples"]:
        lines.append("")
        lines += _aligned(sample) if sample["floor"] is not None else [str(sample["text"])]
    lines.append("")
    if found["floor"] is None:
        lines.append("its floor is not known, so losses on it have no excess")
    else:
        known = "no closed form" if found["entropy"] is None else f"{found['entropy']:.4f} in closed form"
        lines.append(
            _wrapped(
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
    for name, floor in zip(names, floors, strict=True):
        width = max(len(name), len(floor)) + 1
        if above and len(above) + width > _width():
            lines += [above.rstrip(), below.rstrip()]
            above = below = ""
        above, below = above + name.rjust(width), below + floor.rjust(width)
    return [*lines, above.rstrip(), below.rstrip()]


def _wrapped(text: str) -> str:
    return textwrap.fill(text, _width())


def _width() -> int:
    """Columns that there are room for."""
    return min(_WIDEST, shutil.get_terminal_size().columns)
