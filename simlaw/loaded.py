"""A trained model to look at: logits, losses and samples of one run's checkpoint, as trained or quantized."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from simlaw.accounting import parameters
from simlaw.arithmetic import AbstractArithmetic
from simlaw.config import EMA, PTQ, Average, RunSpec, run_id
from simlaw.corpora import open_corpus
from simlaw.corpora.calibration import calibration_windows
from simlaw.corpora.tokenizer import AbstractTokenizer, Merges, tokenizer_of
from simlaw.counted import counted
from simlaw.errors import SimlawError
from simlaw.evaluate import arithmetic_as_trained, as_trained
from simlaw.files import write_file
from simlaw.formats import Quantizer
from simlaw.lowprecision import STEPS
from simlaw.model import Params, logits, losses, matrices, with_matrices
from simlaw.packed import Packed, from_bytes, to_bytes
from simlaw.ptq import OnFormats, arithmetic_of, numbers_of, planted, quantized
from simlaw.report import count, precision
from simlaw.run.stored import find_run, read_run, trained_tokenizer
from simlaw.run.work import weights_of
from simlaw.sample import sample
from simlaw.store import open_store

#: The most windows that are computed at once.
_PART = 64

_LOGITS = jax.jit(logits, static_argnums=0)
_MADE = jax.jit(quantized, static_argnums=(0, 1, 2))
_LOSSES = jax.jit(losses, static_argnums=0)


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A run's model: call it for logits.

    `params` are the checkpoint's, by group: its last weights, or an `average` of them that it kept. `weights` are those
    that it computes with, which differ where it was trained with quantized weights, or is `quantized` here. Where it
    was trained with one scale for a batch, what is computed together shares one here too, the future included. Tokens
    are what `tokenizer` makes of text (bytes) or of a graph's nodes (integers).
    """

    run_id: str
    spec: RunSpec
    tokenizer: AbstractTokenizer
    params: Params = field(repr=False)
    weights: Params = field(repr=False)
    arithmetic: AbstractArithmetic = field(repr=False)
    average: Average | None = None
    ptq: PTQ | None = None
    packed: bool = field(default=False, repr=False)

    def __call__(self, what: Any) -> Float[np.ndarray, "*n v"]:
        """The logits behind each token of a text, of tokens (t), or of several of one length (b, t).

        Raises `SimlawError` beyond the model's context, which it cannot see.
        """
        tokens = self.tokenizer.encode(what)
        t, context = tokens.shape[-1] if tokens.ndim else 0, self.spec.model.context
        if tokens.ndim not in (1, 2) or not 0 < t <= context:
            raise SimlawError(
                f"tokens of shape {tokens.shape}: the model takes 1 to {context} of them, as (t) or (b, t); "
                "loss() cuts longer ones into windows"
            )
        # what fills the window stands in the future, and is not seen
        windows = np.zeros((int(np.prod(tokens.shape[:-1])), context), np.int32)
        windows[:, :t] = tokens.reshape(-1, t)
        found = [_LOGITS(self.spec.model, self.weights, part, self.arithmetic)[:, :t] for part in _parts(windows)]
        return np.concatenate(found)[: len(windows)].reshape(*tokens.shape, -1)

    def loss(self, what: Any) -> float:
        """The mean loss in nats per token of a text or of tokens, the first of which is given.

        A long one is cut into windows, each predicted from its own tokens alone, as evaluations are; an array (m, w) is
        m windows of context + 1 tokens. Tokens that the corpus leaves out do not count. Raises `SimlawError` where
        there is nothing to predict.
        """
        tokens, context = self.tokenizer.encode(what), self.spec.model.context
        if tokens.ndim not in (1, 2) or tokens.shape[-1] < 2 or (tokens.ndim == 2 and tokens.shape[1] > context + 1):
            raise SimlawError(
                f"tokens of shape {tokens.shape}: a loss takes 2 tokens or more, as (n), or windows of at most "
                f"{context + 1}, as (m, w)"
            )
        if tokens.ndim == 1:
            starts = range(0, len(tokens) - 1, context)
            pieces = [tokens[at : at + context + 1] for at in starts]
        else:
            pieces = list(tokens)
        windows = np.zeros((len(pieces), context + 1), np.int32)
        for window, piece in zip(windows, pieces, strict=True):
            window[: len(piece)] = piece
        lengths = np.array([len(piece) - 1 for piece in pieces])
        each = np.concatenate(
            [_LOSSES(self.spec.model, self.weights, part, self.arithmetic) for part in _parts(windows)]
        )
        # float64 from here on, as in an evaluation
        count = np.arange(context) < lengths[:, None]
        some = counted(windows, self.spec.corpus.left_out)
        found = each[: len(windows)].astype(np.float64)[count if some is None else count & some]
        if not found.size:
            raise SimlawError(f"none of these tokens counts: no loss is taken of {self.spec.corpus.left_out}")
        return float(found.mean())

    def sample(
        self,
        prompt: Any = None,
        length: int = 200,
        seed: int = 0,
        *,
        temperature: float = 1.0,
        top_k: int | None = None,
    ) -> str | list[int]:
        """What the model writes after a prompt; the same for the same seed.

        Without a prompt a text begins as a file does, and a walk at node 0. Temperature 0 takes the likeliest token
        each time; with `top_k` only so many of the likeliest are drawn from. Raises `SimlawError` for a temperature
        below 0, and where `top_k` is not from 1 to the vocabulary.
        """
        seen = self.tokenizer.encode([] if prompt is None else prompt).reshape(-1).tolist()
        if length < 1:
            raise SimlawError(f"length={length}: a sample has 1 token or more")
        begun = seen or [self.tokenizer.start]
        how = self.spec.model, self.weights, begun, length, seed, self.arithmetic
        drawn = sample(*how, temperature=temperature, top_k=top_k)
        return self.tokenizer.decode(drawn)

    def quantized(self, ptq: PTQ | Quantizer) -> "LoadedModel":
        """The model with its checkpoint quantized as an evaluation under `ptq` has it; a quantizer alone rounds.

        A method that looks at text reads the run's corpus. Raises `SimlawError` where `ptq` is no quantizer, for
        weights that are not finite, and where the corpus is not there as it was.
        """
        ptq = PTQ(quantizer=ptq) if isinstance(ptq, Quantizer) else ptq
        if not isinstance(ptq, PTQ):
            raise SimlawError(
                f"{ptq!r} is no quantizer: give one, such as Quantizer(format=Int(bits=4)) of simlaw.formats"
            )
        if self.packed:
            raise SimlawError(
                "the model was read from packed codes, and its checkpoint is not in them: quantize "
                f"sl.load_model({self.run_id[:8]!r})"
            )
        for place, w in matrices(self.params).items():
            if not np.isfinite(np.asarray(w)).all():
                raise SimlawError(
                    f"the matrix {place.matrix} of layer {place.layer} holds numbers that are not finite, which have "
                    f"no codes: `simlaw show {self.run_id[:8]}` tells whether the run diverged"
                )
        text, seen = ptq.looks_at, None
        if text is not None:
            corpus = open_corpus(self.spec.corpus)
            if run_id(self.spec, corpus.fingerprint) != self.run_id:
                raise SimlawError(
                    f"the corpus here has the fingerprint {corpus.fingerprint}, and {self.run_id} was trained on "
                    "another: bring its files back, or take RTN(), which looks at no text"
                )
            seen = jnp.asarray(calibration_windows(corpus, text, self.spec.model.context))
        own = {name: group for name, group in self.params.items() if name != STEPS}  # of its own format
        own = own if ptq.outliers is None else planted(self.spec.model, own, ptq.outliers)
        trained = as_trained(self.spec, self.params).arithmetic
        made = _MADE(self.spec.model, self.spec.dtype, ptq.kind, own, seen, numbers_of(ptq), trained)
        weights = with_matrices(own, {place: site.w for place, site in made.sites.items()})
        return replace(self, ptq=ptq, weights=weights, arithmetic=made)

    def save(self, path: str | Path) -> None:
        """Write a quantized model as one safetensors file: packed codes, scales, and the other groups as float16.

        Its matrices come back bit for bit; embedding, norms and head lose what float16 does not hold. Raises
        `SimlawError` for a model that is not quantized here, and for methods that leave no codes.
        """
        if self.ptq is None or not isinstance(self.arithmetic, OnFormats) or self.arithmetic.sites is None:
            raise SimlawError(
                "only a model that is quantized here has codes to save: sl.load_model(run).quantized(ptq).save(path)"
            )
        found = Packed(
            run_id=self.run_id,
            spec=self.spec,
            ptq=self.ptq,
            average=self.average,
            params=self.weights,
            sites=self.arithmetic.sites,
            tokenizer=self.tokenizer.json if isinstance(self.tokenizer, Merges) else None,
        )
        write_file(Path(path), to_bytes(found))

    def __repr__(self) -> str:
        """What was trained, on what, and the model's format."""
        spec, trained = self.spec, self.spec.precision.name
        how = "" if trained is None else f" trained with {trained},"
        how += "" if self.average is None else f" {_named(self.average)},"
        how += "" if self.ptq is None else f" rounded to {precision(self.ptq.quantizer.format.bits)},"
        size = f"{count(parameters(self.params).blocks)} block parameters, width {spec.model.width}"
        data = f"{count(spec.tokens)} tokens of {type(spec.corpus).__name__}, seed {spec.seed}"
        return f"LoadedModel({self.run_id}: {size}, {spec.model.layers} layers,{how} {data})"


def load_model(run: str, *, average: Average | None = None, store: str | Path | None = None) -> LoadedModel:
    """The model of a run, given by its id or the first digits of one; `store` is `.simlaw`, or `SIMLAW_STORE`.

    With an `average` that the run kept (`spec.averages`) the average of its weights, without one the last weights.
    Raises `SimlawError` where there is no such run, or no such average of it, where it diverged, or where its
    checkpoint is damaged or of another version.
    """
    where = open_store(store)
    if not where.root.is_dir():
        raise SimlawError(f"there is no store at {where.root}: give store=…, or run a sweep first")
    found = read_run(where, find_run(where, run))
    spec = found.spec
    if found.note is not None:
        raise SimlawError(f"run {found.run_id} diverged and has no model: {found.note}")
    if average is not None and not isinstance(average, Average):
        raise SimlawError(f"{average!r} is no average: give one of simlaw.config, such as EMA(tokens=8192)")
    params = weights_of(spec, found.files, average, found.run_id)
    trained = as_trained(spec, params)
    return LoadedModel(
        run_id=found.run_id,
        spec=spec,
        tokenizer=tokenizer_of(spec.corpus, spec.model.vocab, trained_tokenizer(where, found.run_id, spec)),
        params=params,
        weights=trained.params,
        arithmetic=trained.arithmetic,
        average=average,
    )


def load_quantized(path: str | Path) -> LoadedModel:
    """The model that `LoadedModel.save` wrote, ready for logits, losses and samples; no store is needed.

    Raises `SimlawError` where there is no such file, where it is damaged, and where another version wrote it in another
    form.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise SimlawError(f"cannot read {path}: {error.strerror}; save a quantized model there first") from error
    found = from_bytes(data)
    trained = arithmetic_as_trained(found.spec)
    return LoadedModel(
        run_id=found.run_id,
        spec=found.spec,
        tokenizer=tokenizer_of(found.spec.corpus, found.spec.model.vocab, found.tokenizer),
        params=found.params,
        weights=found.params,
        arithmetic=arithmetic_of(found.ptq, numbers_of(found.ptq), found.sites, found.spec.dtype, trained),
        average=found.average,
        ptq=found.ptq,
        packed=True,
    )


def _named(average: Average) -> str:
    if isinstance(average, EMA):
        return f"EMA of {count(average.tokens)} tokens"
    return f"mean of {average.count} snapshots {count(average.every_tokens)} tokens apart"


def _parts(windows: Int[np.ndarray, "b w"]) -> Iterator[Int[Array, "p w"]]:
    """The windows in parts, filled up with zeros to a power of two, so that few shapes are compiled."""
    for at in range(0, len(windows), _PART):
        part = windows[at : at + _PART]
        filled = 1 << (len(part) - 1).bit_length()
        yield jnp.asarray(np.pad(part, ((0, filled - len(part)), (0, 0))))
