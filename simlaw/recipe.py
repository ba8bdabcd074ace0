"""Families and recipes: models indexed by one dial, and the named rules that derive the rest."""

from dataclasses import dataclass, replace
from typing import Annotated, Literal

from simlaw.config import (
    SGD,
    WSD,
    AdamW,
    Architecture,
    Cosine,
    Dtype,
    ModelSpec,
    Muon,
    MuP,
    Optimizer,
    Precision,
    Schedule,
)
from simlaw.declared import Between, Count, Declared, Positive, option
from simlaw.errors import SimlawError
from simlaw.formats import Int, PerChannel, Quantizer

#: Optimizers by the names that recipes call them.
OPTIMIZERS: dict[str, type[Optimizer]] = {"adamw": AdamW, "sgd": SGD, "muon": Muon}


@dataclass(frozen=True, kw_only=True)
class Aspect(Declared):
    """Depth that grows with width: a layer for every `width_per_layer`, and at least `least`."""

    width_per_layer: Positive
    least: Count = 2


@dataclass(frozen=True, kw_only=True)
class Family(Declared):
    """Models indexed by one dial, their width.

    Heads are width / head_dim; the feed-forward width is hidden_ratio times the width: 3 instead of SwiGLU's usual
    8/3 makes every size divisible by the same groups and the block parameters of layers 2 exactly 26·width².
    `layers` is a number or the rule that gives it; `queries_per_kv` heads of queries share one of keys and values.
    """

    layers: Count | Aspect = 2
    head_dim: Count = 16
    hidden_ratio: Count = 3
    context: Annotated[int, Between(2)] = 64
    queries_per_kv: Count = option(1)

    def depth(self, width: int) -> int:
        """The layers of the member with this width."""
        if isinstance(self.layers, int):
            return self.layers
        return max(self.layers.least, round(width / self.layers.width_per_layer))

    def model(
        self, width: int, vocab: int, architecture: Architecture | None = None, mup: MuP | None = None
    ) -> ModelSpec:
        """The member of the family with this width."""
        if width % self.head_dim:
            raise SimlawError(f"width {width} is no multiple of the head dimension {self.head_dim}: take one")
        heads = width // self.head_dim
        if heads % self.queries_per_kv:
            raise SimlawError(
                f"width {width} has {heads} heads of {self.head_dim}, no multiple of the {self.queries_per_kv} that "
                f"share keys and values: take a multiple of {self.head_dim * self.queries_per_kv}"
            )
        return ModelSpec(
            vocab=vocab,
            context=self.context,
            width=width,
            layers=self.depth(width),
            heads=heads,
            hidden=self.hidden_ratio * width,
            kv_heads=None if self.queries_per_kv == 1 else heads // self.queries_per_kv,
            architecture=architecture or Architecture(),
            mup=mup,
        )


@dataclass(frozen=True, kw_only=True)
class AtBits(Declared):
    """The factor on the rate of training with weights of `bits` bits."""

    bits: Count
    multiple: Positive


@dataclass(frozen=True, kw_only=True)
class RateRule(Declared):
    """The learning rate of a size and precision, without D: `rate · (width / width_of_rate)^exponent`.

    Weights of few bits have a factor of their own; between the declared bits the one of the next lower bits holds.
    Measured in `sweeps/learning_rate`; a rule with D in it (Step Law) is far too high at these sizes.
    """

    rate: Positive
    width: Count
    exponent: float
    at_bits: tuple[AtBits, ...] = option(())

    def at(self, width: int, precision: Precision | None = None) -> float:
        """The peak learning rate of a model of this width.

        To six digits: the last bits of a power differ between mathematical libraries, and a run's identity must not.
        """
        bits = precision.weights.format.bits if precision and precision.weights else None
        below = [] if bits is None else [each for each in self.at_bits if each.bits <= bits]
        multiple = max(below, key=lambda each: each.bits).multiple if below else 1.0
        return float(f"{self.rate * (width / self.width) ** self.exponent * multiple:.6g}")


@dataclass(frozen=True, kw_only=True)
class Recipe(Declared):
    """How the models of a family are built and trained. What is None is the sweep's own.

    A recipe has the form of a schedule and no lengths, which are in tokens and so the sweep's: `schedule` says how the
    rate falls, and without `warmup` it starts at its peak.
    `precision` is that of training where the grid has none. `needs` names what a recipe cannot do without: a
    mixture is the sweep's corpus, and a teacher to distil from nothing of this version gives, so that it can be
    declared, and is refused where it would be planned.
    """

    architecture: Architecture = Architecture()
    optimizer: Literal["adamw", "sgd", "muon"] = "adamw"
    rate: RateRule | None = None
    schedule: Literal["wsd", "cosine"] | None = None
    warmup: bool = True
    weight_decay: Annotated[float, Between(0)] | None = None
    mup: MuP | None = None
    z_loss: Annotated[float, Between(0)] = 0.0
    dtype: Dtype = "float32"
    precision: Precision = Precision()
    needs: Literal["mixture", "teacher"] | None = None

    def scheduled(self, own: Schedule) -> Schedule:
        """The recipe's schedule, with the lengths of the sweep's own."""
        form = {"wsd": WSD, "cosine": Cosine, None: type(own)}[self.schedule]
        if not isinstance(own, form):
            own = form(warmup_tokens=own.warmup_tokens)
        return own if self.warmup else replace(own, warmup_tokens=0)


#: Norms before every projection, of queries and keys too, and inputs of block matrices within ± 4: values that
#: quantization finds easy.
PRECISION_STABLE = Architecture(qk_norm=True, output_norms=True, bound=4.0)


def _generations() -> dict[str, Recipe]:
    g0 = Recipe(
        architecture=Architecture(positions="learned", norm="layer", feed="gelu"),
        optimizer="sgd",
        rate=RateRule(rate=0.5, width=32, exponent=0.0),
        warmup=False,
        weight_decay=0.0,
    )
    g1 = replace(g0, optimizer="adamw", rate=None, schedule="cosine", warmup=True, weight_decay=None)
    g2 = replace(g1, architecture=Architecture(), z_loss=1e-4)
    # the best rates of sweeps/learning_rate under muP: 0.023, 0.020 and 0.019 at widths 32, 64 and 128
    rate = RateRule(rate=0.02, width=32, exponent=0.0)
    g3 = replace(g2, mup=MuP(base_width=32), rate=rate, weight_decay=0.1)
    g4 = replace(g3, needs="mixture")
    g5 = replace(g4, needs="teacher")
    # built on g3 as long as what g5 needs does not exist, so that any corpus will do
    int4 = Quantizer(format=Int(bits=4), granularity=PerChannel())
    g6 = replace(g3, precision=Precision(weights=int4))
    return {"g0": g0, "g1": g1, "g2": g2, "g3": g3, "g4": g4, "g5": g5, "g6": g6}


#: Generations of recipes, each the one before with a change: SGD on a model of 2019 without a warm-up; AdamW with
#: warm-up and cosine; RoPE, RMSNorm, SwiGLU and z-loss; muP's rate and weight decay; a data mixture; distillation from
#: a larger sibling; training with int4 weights per channel. SGD's rate is the best of factors of 3 at width 32 after
#: 0.26M tokens of text, and within 0.02 nats of the best at 16 and 64; muP's is the quickstart's at 32, carried over.
RECIPES: dict[str, Recipe] = _generations()
