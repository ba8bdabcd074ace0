"""Byte-pair encoding of a text by the `tokenizers` library: trained on its training part, kept in the store."""

import contextlib
import hashlib
import itertools
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import UInt

from simlaw.config import BPE
from simlaw.corpora.array import small
from simlaw.errors import SimlawError
from simlaw.store import open_store

if TYPE_CHECKING:
    from tokenizers import Tokenizer

#: The kind of artefact that holds a text's tokens, and the tokenizer among its files.
KIND, JSON = "tokenized", "tokenizer.json"
#: A text is cut into pieces of about so many characters, and so many of them are encoded at once.
_PIECE, _AT_ONCE = 2**17, 64
#: Nothing that is merged spans a newline behind a letter, so a text may be cut there.
_CUT = re.compile(r"(?<=\S)\n")
#: A pair that stands once in a text is no merge.
_LEAST = 2


@dataclass(frozen=True, kw_only=True)
class Tokenized:
    """A text as tokens, with the tokenizer as the library's JSON and the hash of its merges."""

    train: UInt[np.ndarray, " n"]
    test: UInt[np.ndarray, " m"]
    tokenizer: str
    sha256: str


def tokenized(bpe: BPE, key: str, train: Sequence[bytes], test: Sequence[bytes], separator: int) -> Tokenized:
    """The tokens of UTF-8 texts with a separator after each, by merges that `train` alone decides.

    They are kept in the store under `key`, and read from there the next time. Raises `SimlawError` where the text has
    too few merges, or the library is missing.
    """
    store = open_store()
    folder = store.locate(KIND, key)
    if folder is None:
        trained = train_bpe(bpe, train)
        encoder, dtype = library().Tokenizer.from_str(trained), small(bpe.vocab).newbyteorder("<")
        draft = store.draft()
        for name, texts in (("train.bin", train), ("held_out.bin", test)):
            with Path(draft, name).open("wb") as file:
                for part in _encoded(encoder, texts, separator):
                    file.write(part.astype(dtype).tobytes())
        Path(draft, JSON).write_text(trained)
        store.adopt(KIND, key, draft)
        folder = store.locate(KIND, key)
    if folder is None:
        raise SimlawError(f"the tokens of the text vanished from {store.root}: start it again")
    trained = Path(folder, JSON).read_text()
    return Tokenized(
        train=_mapped(folder / "train.bin", bpe),
        test=_mapped(folder / "held_out.bin", bpe),
        tokenizer=trained,
        sha256=hashlib.sha256(json.dumps(json.loads(trained)["model"]["merges"]).encode()).hexdigest(),
    )


def train_bpe(bpe: BPE, texts: Sequence[bytes]) -> str:
    """The tokenizer of UTF-8 texts as the library's JSON: tokens below 256 are bytes, the others merges in their order.

    Raises `SimlawError` where the texts have fewer merges than declared, or the library is missing.
    """
    found = library()
    trainer = found.trainers.BpeTrainer(
        vocab_size=bpe.vocab,
        min_frequency=_LEAST,
        initial_alphabet=found.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    blank = _byte_level(found, found.models.BPE())
    blank.train_from_iterator((piece for text in texts for piece in _pieces(text.decode())), trainer=trainer)
    merges = [tuple(pair) for pair in json.loads(blank.to_str())["model"]["merges"]]
    vocab = {character: byte for byte, character in enumerate(_characters())}
    for left, right in merges:
        vocab.setdefault(left + right, len(vocab))
    if len(vocab) < bpe.vocab:
        raise SimlawError(
            f"the training text yields {len(vocab)} tokens, its bytes and pairs that it has at least twice, and "
            f"BPE.vocab is {bpe.vocab}: take {len(vocab)} or fewer, or add text"
        )
    trained: str = _byte_level(found, found.models.BPE(vocab, merges)).to_str()
    return trained


def library() -> Any:
    """The `tokenizers` library; raises `SimlawError` where it is not installed."""
    try:
        import tokenizers
    except ImportError as error:
        raise SimlawError(
            "tokenizers is not installed, which Text(bpe=…) needs: pip install 'simlaw[bpe]', or pip install tokenizers"
        ) from error
    return tokenizers


def _byte_level(found: Any, model: Any) -> "Tokenizer":
    """A tokenizer without a normaliser, so that every text comes back as it was."""
    made = found.Tokenizer(model)
    made.pre_tokenizer = found.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = found.decoders.ByteLevel()
    return made


def _characters() -> list[str]:
    """The character that the library writes for each byte: itself where it can be seen, else the next from 256 on."""
    seen = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    others = iter(range(256, 512))
    return [chr(byte if byte in seen else next(others)) for byte in range(256)]


def _pieces(text: str) -> Iterator[str]:
    """The text in pieces whose tokens are together those of the whole."""
    at = 0
    while len(text) - at > _PIECE and (cut := _CUT.search(text, at + _PIECE)):
        yield text[at : cut.start()]
        at = cut.start()
    yield text[at:]


def _encoded(encoder: "Tokenizer", texts: Sequence[bytes], separator: int) -> Iterator[UInt[np.ndarray, " n"]]:
    """The tokens of the texts, in parts, with a separator after each text."""
    every = (piece for text in texts for piece in (*_pieces(text.decode()), None))
    while waiting := list(itertools.islice(every, _AT_ONCE)):
        ids = iter(encoder.encode_batch_fast([piece for piece in waiting if piece is not None]))
        for piece in waiting:
            yield np.array([separator] if piece is None else next(ids).ids, np.uint32)


def _mapped(path: Path, bpe: BPE) -> UInt[np.ndarray, " n"]:
    dtype = small(bpe.vocab).newbyteorder("<")
    with contextlib.suppress(ValueError):  # of an empty file
        return np.asarray(np.memmap(path, dtype, mode="r"))
    return np.zeros(0, dtype)
