"""What is to be computed: corpus, model, precision, training, run and evaluation, as values with an identity."""

from dataclasses import dataclass, field
from typing import Annotated

from simlaw.declared import Above, Between, Count, Declared, Fraction, Positive, digest
from simlaw.errors import SimlawError
from simlaw.formats import Quantizer

#: Raised by hand whenever the numbers of a run change on purpose; part of every run's identity.
NUMERICS = 1

Natural = Annotated[int, Between(0)]


@dataclass(frozen=True, kw_only=True)
class Text(Declared):
    """A person's own UTF-8 files, as bytes; by default the Python standard library's source on this machine.

    `folder` and `suffixes` say where to look and are no part of a run's identity: the content's hash is.
    """

    folder: str | None = field(default=None, metadata={"identity": False})
    suffixes: tuple[str, ...] = field(default=(".py",), metadata={"identity": False})
    held_out: Fraction = 0.05


@dataclass(frozen=True, kw_only=True)
class Graph(Declared):
    """Random walks on a seeded directed graph: a bigram source whose entropy is known exactly (its floor).

    Every node has `out` successors with probabilities proportional to 1, 1/2, 1/3, …; the vocabulary is the nodes.
    """

    nodes: Annotated[int, Between(2)]
    out: Count
    seed: Natural = 0

    def check(self) -> None:
        if self.out > self.nodes:
            raise SimlawError(f"Graph.out is {self.out}: a node has at most {self.nodes} successors; lower it")


Corpus = Text | Graph


@dataclass(frozen=True, kw_only=True)
class ModelSpec(Declared):
    """A decoder-only Transformer: RMSNorm, RoPE, SwiGLU, untied embeddings."""

    vocab: Annotated[int, Between(2)]
    context: Annotated[int, Between(2)]
    width: Count
    layers: Count
    heads: Count
    hidden: Count

    def check(self) -> None:
        if self.width % (2 * self.heads):
            raise SimlawError(
                f"ModelSpec.width {self.width} with {self.heads} heads: heads need an even width each; "
                f"take a multiple of {2 * self.heads}"
            )


@dataclass(frozen=True, kw_only=True)
class Precision(Declared):
    """The quantizer of each tensor role during training; None is unquantised, which laws treat as P = infinity."""

    weights: Quantizer | None = None
    activations: Quantizer | None = None
    kv: Quantizer | None = None

    def check(self) -> None:
        for role in ("activations", "kv"):
            if getattr(self, role) is not None:
                raise SimlawError(f"Precision.{role} has no quantizer in this version: leave it None, or set weights")


@dataclass(frozen=True, kw_only=True)
class AdamW(Declared):
    """AdamW with global clipping. `rate` is the recipe's peak learning rate, `rate_multiple` a check's factor on it."""

    rate: Positive
    rate_multiple: Positive = 1.0
    b1: Fraction = 0.9
    b2: Fraction = 0.95
    eps: Positive = 1e-8
    weight_decay: Annotated[float, Between(0)] = 0.1
    clip: Annotated[float, Above(0)] = 1.0

    @property
    def peak_rate(self) -> float:
        """The learning rate between warm-up and cool-down."""
        return self.rate * self.rate_multiple


@dataclass(frozen=True, kw_only=True)
class WSD(Declared):
    """Warm-up, stable rate, linear cool-down to 0 over the last `cooldown` of the tokens (0: none)."""

    warmup_tokens: Natural
    cooldown: Fraction = 0.2


Schedule = WSD


@dataclass(frozen=True, kw_only=True)
class TrunkSpec(Declared):
    """The constant-rate run that branches of every D leave: a run without its tokens and cool-down."""

    corpus: Corpus
    model: ModelSpec
    precision: Precision
    optimizer: AdamW
    warmup_tokens: Natural
    batch: Count
    seed: Natural


@dataclass(frozen=True, kw_only=True)
class RunSpec(Declared):
    """One training: D = `tokens` is all tokens that the cooled model saw; `batch` is in sequences."""

    corpus: Corpus
    model: ModelSpec
    precision: Precision = Precision()
    optimizer: AdamW
    schedule: Schedule
    batch: Count
    tokens: Count
    seed: Natural = 0

    def check(self) -> None:
        if self.tokens < self.batch_tokens:
            raise SimlawError(
                f"RunSpec.tokens is {self.tokens}: a run needs at least one batch of {self.batch} x "
                f"{self.model.context} = {self.batch_tokens} tokens; raise tokens or lower batch"
            )
        if self.tokens % self.batch_tokens:
            near = round(self.tokens / self.batch_tokens) * self.batch_tokens
            raise SimlawError(
                f"RunSpec.tokens is {self.tokens}: it must be whole batches of {self.batch_tokens}; take {near}"
            )
        warmup = self.schedule.warmup_tokens
        if warmup > self.branch_step * self.batch_tokens:
            raise SimlawError(
                f"the warm-up of {warmup} tokens is longer than the {self.branch_step * self.batch_tokens} before the "
                f"cool-down of a run of {self.tokens}: lower warmup_tokens or raise tokens"
            )

    @property
    def batch_tokens(self) -> int:
        """Tokens in one step."""
        return self.batch * self.model.context

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole run."""
        return self.tokens // self.batch_tokens

    @property
    def branch_step(self) -> int:
        """The step at which the cool-down leaves the trunk."""
        return self.steps - round(self.schedule.cooldown * self.steps)

    @property
    def trunk(self) -> TrunkSpec:
        """The trunk that this run shares with the runs of other D."""
        return TrunkSpec(
            corpus=self.corpus,
            model=self.model,
            precision=self.precision,
            optimizer=self.optimizer,
            warmup_tokens=self.schedule.warmup_tokens,
            batch=self.batch,
            seed=self.seed,
        )


@dataclass(frozen=True, kw_only=True)
class RTN(Declared):
    """Round to nearest: every block matrix on its grid, nothing else changed."""


Method = RTN


@dataclass(frozen=True, kw_only=True)
class PTQ(Declared):
    """Post-training quantization of a checkpoint's block matrices."""

    method: Method = RTN()
    quantizer: Quantizer


@dataclass(frozen=True, kw_only=True)
class EvalSpec(Declared):
    """One measurement of one checkpoint: held-out loss over `tokens`, after `ptq` (None: as trained)."""

    tokens: Count
    ptq: PTQ | None = None


def run_id(spec: RunSpec, fingerprint: str) -> str:
    """The identity of a run: its spec, the fingerprint of its corpus, and `NUMERICS`."""
    return digest(spec, fingerprint, NUMERICS)


def trunk_id(spec: TrunkSpec, fingerprint: str) -> str:
    """The identity of a trunk; the bootstrap's cluster."""
    return digest(spec, fingerprint, NUMERICS)


def eval_id(run: str, spec: EvalSpec) -> str:
    """The identity of an evaluation, and of its row."""
    return digest(run, spec)
