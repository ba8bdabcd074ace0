"""Training: a pack of runs of one shape, advanced many steps at a time by one compiled program.

Everything that is a number (seed, rate, schedule, bits) is data, so one compilation serves all runs of a shape and
every dispatch length; a run's numbers do not depend on where the dispatches are cut. The members of a pack follow one
another on a CPU (`lax.map`, bitwise the same as alone), and run side by side on an accelerator (`vmap`). On a mesh of
devices they are side by side too, and XLA divides members, batches and models as `devices` says.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, Key

from simlaw.averages import averaged, no_average
from simlaw.config import Average, Corpus, Dtype, ModelSpec, Optimizer, Precision, RunSpec, TrunkSpec
from simlaw.corpora import AbstractCorpus, Stream
from simlaw.counted import window_means
from simlaw.declared import Declared
from simlaw.devices import along_pack, everywhere, filled, over_data, place, shardings
from simlaw.history import History
from simlaw.lowprecision import (
    STEPS,
    RoleLevels,
    arithmetic_of,
    changes,
    first_steps,
    levels_of,
    on_formats,
    random,
)
from simlaw.model import Params, init, losses_and_normalizers
from simlaw.optimizer import Rate, direction, rate_at, rate_of, transform_of

#: The most steps in one dispatch; progress, checkpoints and Ctrl-C wait for a dispatch to end.
DISPATCH_STEPS = 64

#: On a CPU a batch is worked through in parts whose activations stay in a core's cache: 5 to 15 % faster here.
CPU_PART_TOKENS = 512


class State(NamedTuple):
    """A training state; in a pack every leaf has a leading axis of members."""

    params: Params
    optimizer: Any
    step: Int[Array, ""]
    averages: tuple[Params, ...]


class Member(NamedTuple):
    """What distinguishes one run of a pack: data, not program."""

    corpus: Any
    rate: Rate
    levels: RoleLevels
    seed: Int[Array, ""] | None


@dataclass(frozen=True, kw_only=True)
class Shape(Declared):
    """What one compiled program is for; runs of equal shape may share a pack."""

    corpus: Corpus
    model: ModelSpec
    batch: int
    optimizer: Optimizer
    precision: Precision
    dtype: Dtype
    z_loss: float
    averages: tuple[Average, ...]

    @property
    def batch_tokens(self) -> int:
        """Tokens in one step."""
        return self.batch * self.model.context


@dataclass(frozen=True, kw_only=True)
class Program:
    """The compiled training of one shape on one corpus; see `advance`."""

    shape: Shape
    corpus: AbstractCorpus
    shared: Any
    step_pack: Callable[..., tuple[State, Float[Array, "e q s"]]]
    mesh: Mesh | None = None
    sizes: set[int] = field(default_factory=set)
    """Members of the packs that have been advanced: at the first of each size XLA compiles."""
    stream: Stream | None = None

    def advance(self, state: State, members: Member, steps: int) -> tuple[State, History]:
        """The state `steps` steps on (its argument is consumed), and the history of these steps for each member.

        At most `DISPATCH_STEPS` steps. A loss that is not finite stays so for good.
        """
        if self.stream is not None:
            members = members._replace(corpus=self.stream.take(members.corpus, _step_of(state)))
        count = state.step.shape[0]
        if self.mesh is not None:
            state, members = filled(self.mesh, state), filled(self.mesh, members)
            state = place(state, shardings(self.mesh, state))
            members = place(members, along_pack(self.mesh))
        state, history = self.step_pack(self.shared, state, members, np.int32(steps))
        self.sizes.add(count)
        if history.shape[0] > count:  # the mesh's axis was filled up
            state = jax.tree.map(lambda x: x[:count], state)
        return state, History(*np.moveaxis(np.asarray(history)[:count, :, :steps], 1, 0))


@functools.lru_cache(maxsize=65_536)  # of a plan's runs, time and again
def shape_of(spec: RunSpec | TrunkSpec) -> Shape:
    """The shape of a run or a trunk: its spec without everything that is data."""
    return Shape(
        corpus=spec.corpus,
        model=spec.model,
        batch=spec.batch,
        optimizer=_at_any_rate(spec.optimizer),
        precision=spec.precision.kind,
        averages=spec.averages,
        dtype=spec.dtype,
        z_loss=spec.z_loss,
    )


@functools.lru_cache(maxsize=1024)
def _at_any_rate(optimizer: Optimizer) -> Optimizer:
    return replace(optimizer, rate=1.0, rate_multiple=1.0)


def compile_shape(
    shape: Shape, corpus: AbstractCorpus, mesh: Mesh | None = None, side_by_side: bool = False, remat: bool = False
) -> Program:
    """The program of a shape; XLA compiles it at the first call of `advance`.

    The members of a pack follow one another, which suits a CPU, or run `side_by_side`, which suits an accelerator and
    is the only way on a mesh (`DeviceMesh.open`), whose axes must divide batch and model (`DeviceMesh.fit`); a pack
    that its axis does not divide is filled up with copies of its last member, which are dropped again. With `remat` the
    insides of blocks are computed again for the gradient.
    """
    transform = transform_of(shape.optimizer, shape.model)
    side_by_side = side_by_side or mesh is not None
    parts = 1 if side_by_side else _parts(shape)

    gradient = _gradient(shape, parts, remat)

    def step_one(shared: Any, state: State, member: Member, steps: Int[Array, ""]) -> tuple[State, Array]:
        def body(i: Int[Array, ""], carry: tuple[State, Array]) -> tuple[State, Array]:
            (params, opt, step, averages), history = carry
            if corpus.streamed:
                windows = member.corpus[i].astype(jnp.int32)  # bytes until here
            else:
                windows = corpus.batch(shared, member.corpus, step, shape.batch, shape.model.context)
            if mesh is not None:
                windows = over_data(mesh, windows)
            grads, loss = gradient(params, windows, member, step)
            norm = optax.tree.norm(grads)  # clipping needs the same one
            update, opt = direction(transform, grads, opt, params)
            rate = rate_at(step, member.rate)
            params = jax.tree.map(lambda w, d: w - rate * d, params, update)
            averages = tuple(
                averaged(average, kept, params, step, shape.batch_tokens)
                for average, kept in zip(shape.averages, averages, strict=True)
            )
            history = history.at[:, i].set(jnp.stack([loss, norm]))  # in the order of History
            return State(params, opt, step + 1, averages), history

        blank = jnp.zeros((len(History._fields), DISPATCH_STEPS), jnp.float32)
        return jax.lax.fori_loop(0, steps, body, (state, blank))

    def step_pack(shared: Any, state: State, members: Member, steps: Int[Array, ""]) -> tuple[State, Array]:
        def one(pair: tuple[State, Member]) -> tuple[State, Array]:
            return step_one(shared, *pair, steps)

        if not side_by_side:
            return jax.lax.map(one, (state, members))
        return jax.vmap(one, spmd_axis_name="pack" if mesh is not None else None)((state, members))

    # Up to 64 steps a dispatch, and the state donated: a step of a small model is shorter than starting a program.
    shared: Any = corpus.shared_data()
    where: dict[str, Any] = {}
    if mesh is not None:
        shared = place(shared, everywhere(mesh))
        state = shardings(mesh, _state_shapes(shape))
        where = {
            "in_shardings": (everywhere(mesh), state, along_pack(mesh), everywhere(mesh)),
            "out_shardings": (state, everywhere(mesh)),
        }
    return Program(
        shape=shape,
        corpus=corpus,
        shared=shared,
        step_pack=jax.jit(step_pack, donate_argnums=1, **where),
        mesh=mesh,
        stream=Stream(corpus, DISPATCH_STEPS, shape.batch, shape.model.context) if corpus.streamed else None,
    )


def kept_shapes(spec: RunSpec) -> Params:
    """The shapes of what a run's checkpoint holds: the model's parameters, and learned steps where it has them."""
    stacked: Params = _state_shapes(shape_of(spec)).params
    return jax.eval_shape(lambda: jax.tree.map(lambda x: jnp.zeros(x.shape[1:], x.dtype), stacked))


def part_tokens(shape: Shape, side_by_side: bool = False) -> int:
    """Tokens whose activations are in memory at once, of one member of a pack."""
    return shape.batch_tokens if side_by_side else shape.batch_tokens // _parts(shape)


def start(specs: Sequence[RunSpec]) -> State:
    """The states of the runs at step 0, stacked; a run's parameters depend on its seed and model alone."""
    each = [levels_of(spec.trunk.precision) for spec in specs]
    levels: RoleLevels = jax.tree.map(lambda *leaves: np.stack(leaves), *each)
    return _start(shape_of(specs[0].trunk))(_seeds(specs), levels)


def members(program: Program, specs: Sequence[RunSpec], cool: bool) -> Member:
    """The data of the runs, stacked; with `cool` their branches, else their trunks, which never cool."""
    context, kind = program.shape.model.context, program.shape.precision
    each = [
        Member(
            corpus=program.corpus.seed_data(spec.seed, context),
            rate=rate_of(spec, cool),
            levels=RoleLevels() if kind.unquantised else levels_of(spec.precision),
            seed=seed if random(kind) else None,
        )
        for spec, seed in zip(specs, _seeds(specs), strict=True)
    ]
    stacked: Member = jax.tree.map(lambda *leaves: np.stack(leaves), *each)
    if program.corpus.streamed:  # the orders stay on the host
        rest: Member = jax.device_put(stacked._replace(corpus=()))
        return rest._replace(corpus=stacked.corpus)
    # here once, and not at every dispatch: the orders of a text are long
    if program.mesh is None:
        return jax.device_put(stacked)
    return place(filled(program.mesh, stacked), along_pack(program.mesh))


def _state_shapes(shape: Shape) -> Any:
    """The shapes of the states of a pack of one."""
    levels = jax.tree.map(lambda x: np.asarray(x)[None], levels_of(shape.precision))
    return jax.eval_shape(_start(shape), np.zeros(1, np.int32), levels)


def _step_of(state: State) -> int:
    """The step at which a pack is; of a state on several processes, as this one sees it."""
    step = state.step
    return int(np.asarray(step.addressable_shards[0].data if isinstance(step, jax.Array) else step)[0])


@functools.lru_cache(maxsize=1024)
def last_rate(spec: RunSpec) -> float:
    """The learning rate of a run's last step."""
    return float(rate_at(jnp.int32(spec.steps - 1), rate_of(spec)))


def rates(spec: RunSpec, steps: Sequence[int], cool: bool) -> list[float]:
    """The learning rates of these steps of a run, or, not `cool`, of its trunk."""
    rate, found = rate_of(spec, cool), []
    for at in range(0, len(steps), _RATES):
        part = np.asarray(steps[at : at + _RATES], np.int32)
        padded = jnp.asarray(np.pad(part, (0, _RATES - len(part))))
        found += np.asarray(_rates(padded, rate))[: len(part)].tolist()
    return found


#: Rates that are computed at once: of one length, so that it is compiled once.
_RATES = 8
_rates = jax.jit(rate_at)


def _seeds(specs: Sequence[RunSpec]) -> Int[np.ndarray, " e"]:
    """The seeds of runs as JAX's keys take them, too: their last 32 bits."""
    return np.asarray([spec.seed for spec in specs], np.int64).astype(np.int32)


def _gradient(
    shape: Shape, parts: int, remat: bool
) -> Callable[[Params, Int[Array, "b w"], Member, Int[Array, ""]], tuple[Params, Float[Array, ""]]]:
    """What gives the gradient of a batch at a step, and its loss, in the precision of a shape."""
    kind = shape.precision
    draws = random(kind)

    def objective(
        params: Params, windows: Int[Array, "b w"], member: Member, key: Key[Array, ""] | None
    ) -> tuple[Array, Float[Array, ""]]:
        # what is minimised, and the cross-entropy, which is all that histories and evaluations hold
        arithmetic = arithmetic_of(kind, member.levels, shape.dtype, key)
        each, normalizers = losses_and_normalizers(shape.model, params, windows, arithmetic, remat)
        left_out = shape.corpus.left_out
        loss = window_means(each, windows, left_out).mean() if left_out else each.mean()
        return (loss + shape.z_loss * (normalizers * normalizers).mean() if shape.z_loss else loss), loss

    def of_used(
        params: Params, windows: Int[Array, "b w"], member: Member, key: Key[Array, ""] | None
    ) -> tuple[Params, Float[Array, ""]]:
        pull = jax.grad(objective, has_aux=True)
        if parts == 1:
            return pull(params, windows, member, key)

        def add(total: Any, part: tuple[Int[Array, "b w"], Int[Array, ""]]) -> tuple[Any, None]:
            windows, number = part
            own = None if key is None else jax.random.fold_in(key, number)
            return jax.tree.map(jnp.add, total, pull(params, windows, member, own)), None

        zero = (jax.tree.map(jnp.zeros_like, params), jnp.float32(0))
        each = (windows.reshape(parts, -1, windows.shape[1]), jnp.arange(parts))
        total, _ = jax.lax.scan(add, zero, each)
        return jax.tree.map(lambda x: x / parts, total)

    def gradient(
        params: Params, windows: Int[Array, "b w"], member: Member, step: Int[Array, ""]
    ) -> tuple[Params, Float[Array, ""]]:
        key = None
        if draws:
            assert member.seed is not None
            key = jax.random.fold_in(jax.random.key(member.seed), step)
        if not changes(kind):
            return of_used(params, windows, member, key)
        # rounded once, and not for every part; what is the gradient of rounded weights the estimator says
        used, back = jax.vjp(lambda own: on_formats(own, kind, member.levels, key), params)
        grads, loss = of_used(used, windows, member, key)
        return back(grads)[0], loss

    return gradient


@functools.cache
def _start(shape: Shape) -> Callable[[Int[np.ndarray, " e"], RoleLevels], State]:
    transform: optax.GradientTransformation = transform_of(shape.optimizer, shape.model)

    def one(seed: Int[Array, ""], levels: RoleLevels) -> State:
        params = init(shape.model, jax.random.key(seed))
        if shape.precision.learned_steps:
            params |= {STEPS: first_steps(params, shape.precision, levels)}
        kept = tuple(no_average(average, params) for average in shape.averages)
        return State(params, transform.init(params), jnp.int32(0), kept)

    return jax.jit(jax.vmap(one))


def _parts(shape: Shape) -> int:
    """Into how many parts a CPU's batch is cut: the fewest equal ones of at most `CPU_PART_TOKENS` tokens.

    Into none where a scale is that of the whole batch.
    """
    if shape.precision.of_batch:
        return 1
    most = max(1, CPU_PART_TOKENS // shape.model.context)
    return next(
        parts for parts in range(1, shape.batch + 1) if shape.batch % parts == 0 and shape.batch // parts <= most
    )
