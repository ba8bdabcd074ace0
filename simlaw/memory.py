"""Memory that training and evaluating takes, estimated from shapes alone, before anything is compiled.

The factors were read off XLA's own analysis of compiled steps (widths 16 to 256, 1 to 6 layers, contexts 16 to 256,
vocabularies 16 to 1,024; meshes of up to 8 simulated devices); tests hold the estimates within a factor of 2 of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from simlaw.accounting import leaves, parameters
from simlaw.config import EMA, SGD, EvalSpec, ModelSpec, RunSpec
from simlaw.corpora.array import small
from simlaw.devices import DeviceMesh, held
from simlaw.evaluate import PART_TOKENS
from simlaw.lowprecision import changes
from simlaw.plan import shapes_of
from simlaw.train import DISPATCH_STEPS, part_tokens, shape_of

#: The share of the activations that XLA divides over a mesh's model axis: the residual stream is whole everywhere, and
#: queries, keys and values, which lie in one matrix, are gathered.
_DIVIDED = 0.6
#: Bytes of a number: everything lies in memory as float32.
_NUMBER = 4


@dataclass(frozen=True, kw_only=True)
class Need:
    """Bytes that one run takes on each device of a mesh: of its state, of the inside of a step, and of its evaluations.

    Runs start and are evaluated whole, on one device. Simulated devices lie in one memory: then `here` is their number.
    """

    state: float
    step: float
    evaluation: float
    whole: float
    side_by_side: bool
    over: int
    here: int

    def pack(self, members: int) -> float:
        """Bytes of so many runs in one pack, while the trunk waits for its branch; evaluations go one by one."""
        share = -(-members // self.over)
        # what follows one after the other needs the inside of one step, and room to put the finished states together
        steps = share if self.side_by_side else 1
        waiting = 2 if share == 1 or self.side_by_side else 3
        states = self.here * share * self.state
        training = states * waiting + self.here * steps * self.step
        return max(training, states + self.evaluation, states + members * self.whole)


def need_of(
    spec: RunSpec,
    evals: Sequence[EvalSpec],
    side_by_side: bool = False,
    remat: bool = False,
    batch: int | None = None,
    streamed: bool = False,
    mesh: DeviceMesh | None = None,
    simulated: bool = False,
) -> Need:
    """What a run and its evaluations need, with its own batch or another.

    On a `mesh` the members of a pack are divided over its first axis; the sequences of a batch, and with them the
    activations, over the second; over the third the weights as `devices.shardings` says, and a part of the activations.
    Devices that are `simulated` share one memory.

    Of a corpus that is `streamed` the windows of a dispatch are there three times: those in use on the device and on
    the host, and the next ones. With `remat` the insides of all blocks but one are not kept: so on accelerators, by the
    arithmetic; on a CPU XLA's compiler gives back a tenth at most, and it should not be counted on.
    """
    mesh = DeviceMesh() if mesh is None else mesh
    numbers = parameters(shapes_of(spec.model)).total
    whole, weights = _NUMBER * numbers, _NUMBER * held(shapes_of(spec.model), mesh.model)
    averages = sum(1 if isinstance(average, EMA) else average.count + 1 for average in spec.averages)
    moments = 1 if isinstance(spec.optimizer, SGD) else 2
    shape = replace(shape_of(spec), batch=batch or spec.batch)
    tokens = part_tokens(shape, side_by_side) / mesh.data
    inside = activations(spec.model, remat) * (1 - _DIVIDED + _DIVIDED / mesh.model)
    token = small(spec.model.vocab).itemsize if streamed else 0
    windows = 3 * DISPATCH_STEPS * shape.batch * (spec.model.context + 1) * token
    rounded = changes(spec.precision)
    ptq = sum(e.ptq is not None for e in evals) // max(1, len({e.average for e in evals}))
    return Need(
        state=weights * (1 + moments + averages),
        step=weights * (2 + rounded) + tokens * inside + windows,
        evaluation=whole * (1 + ptq) + PART_TOKENS * _forward(spec.model),
        whole=whole * (1 + moments + averages),
        side_by_side=side_by_side,
        over=mesh.pack,
        here=mesh.size if simulated else 1,
    )


def activations(model: ModelSpec, remat: bool = False) -> float:
    """Bytes that one token leaves for the backward pass."""
    kept = _blocks(model) + model.layers * model.heads * model.context
    if remat:
        kept = 2 * model.layers * model.width + kept / model.layers
    return _NUMBER * (kept + 2.5 * model.vocab)


def _blocks(model: ModelSpec) -> float:
    """Numbers that the block matrices' inputs and outputs, and what lies between them, leave for each token."""
    return 1.4 * sum(sum(leaf.shape) for leaf in leaves(shapes_of(model)["blocks"]))


def _forward(model: ModelSpec) -> float:
    """Bytes of one token in the widest part of a block without a backward pass."""
    feed, attention = 4 * model.hidden + 2 * model.width, 2 * model.heads * model.context + 4 * model.width
    return _NUMBER * (max(feed, attention) + model.vocab)
