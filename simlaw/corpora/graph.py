"""Graph: random walks on a seeded directed graph, a bigram source with an exact entropy (2601.10684)."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from simlaw.config import Graph
from simlaw.corpora.abstract import Data
from simlaw.corpora.fresh import AbstractFresh, Impossible, impossible, known
from simlaw.corpora.order import order
from simlaw.declared import digest

#: Keeps the walks of a seed apart from the initial parameters, which are drawn from the same seed.
_WALKS = 0x77616C6B


@dataclass(frozen=True, kw_only=True)
class GraphCorpus(AbstractFresh):
    """Walks that start in the stationary distribution; the k-th successor has probability proportional to 1/k."""

    spec: Graph
    successors: Int[np.ndarray, "v k"]
    probabilities: Float[np.ndarray, " k"]
    stationary: Float[np.ndarray, " v"]
    fingerprint: str

    @classmethod
    def build(cls, spec: Graph) -> "GraphCorpus":
        """The corpus of the declared graph, the same on every machine."""
        streams = [order(spec.seed * spec.nodes + node, spec.nodes)[: spec.out] for node in range(spec.nodes)]
        successors = np.stack(streams)
        weight = 1.0 / np.arange(1, spec.out + 1)
        probabilities = weight / weight.sum()
        transition = np.zeros((spec.nodes, spec.nodes))
        np.put_along_axis(transition, successors.astype(np.int64), probabilities[None, :], axis=1)
        return cls(
            spec=spec,
            successors=successors,
            probabilities=probabilities,
            stationary=_stationary(transition),
            fingerprint=digest(spec, "walks", _WALKS),
        )

    @property
    def apart(self) -> int:
        """What keeps the walks of a seed apart."""
        return _WALKS

    @property
    def shortest(self) -> int:
        """One step."""
        return 1

    @property
    def entropy(self) -> float:
        """Nats per token of the source: every node has the same successor probabilities, so theirs."""
        return float(-np.sum(self.probabilities * np.log(self.probabilities)))

    def describe(self) -> str:
        """One clause for people: what it holds and its floor."""
        return (
            f"graph of {self.spec.nodes} nodes with {self.spec.out} successors each: entropy {self.entropy:.4f} nats "
            f"per token, fresh tokens without end, fingerprint {self.fingerprint}"
        )

    def shared_data(self) -> Data:
        """Successors and cumulative probabilities."""
        steps = np.cumsum(self.probabilities)[:-1].astype(np.float32)
        start = np.cumsum(self.stationary)[:-1].astype(np.float32)
        return {"successors": jnp.asarray(self.successors), "steps": jnp.asarray(steps), "start": jnp.asarray(start)}

    def draw(self, shared: Data, key: Key[Array, ""], windows: int, length: int) -> Int[Array, "b w"]:
        """Fresh walks."""
        draws = jax.random.uniform(key, (length, windows))

        def walk(node: Array, draw: Array) -> tuple[Array, Array]:
            choice = jnp.searchsorted(shared["steps"], draw, side="right")
            following = shared["successors"][node, choice]
            return following, following

        first = jnp.searchsorted(shared["start"], draws[0], side="right").astype(jnp.int32)
        _, rest = jax.lax.scan(walk, first, draws[1:])
        return jnp.concatenate([first[None], rest]).T

    def floor_nll(self, windows: Int[np.ndarray, "m w"]) -> Float[np.ndarray, "m t"]:
        """The exact Bayes loss of each step: the next node depends on the present one alone."""
        known(windows, self.vocab)
        hit = self.successors[windows[:, :-1]] == windows[:, 1:, None]
        wrong = np.argwhere(~hit.any(axis=2))
        if wrong.size:
            raise impossible(windows, wrong + np.array([0, 1]), "it is no successor of the node before it")
        return -np.log(np.sum(hit * self.probabilities, axis=2))

    def floor_nll_untold(self, windows: Int[np.ndarray, "m w"]) -> Float[np.ndarray, "m t"]:
        """The same with the second node drawn as the first is: in the stationary distribution."""
        known(windows, self.vocab)
        here = self.stationary[windows[:, 1:2]]
        if (wrong := np.argwhere(here <= 0)).size:
            raise impossible(windows, wrong + np.array([0, 1]), "no walk comes there")
        try:
            rest = self.floor_nll(windows[:, 1:])
        except Impossible as error:
            window, position = error.at
            raise impossible(windows, np.array([[window, position + 1]]), error.why) from error
        return np.concatenate([-np.log(here), rest], axis=1)


def _stationary(transition: Float[np.ndarray, "v v"]) -> Float[np.ndarray, " v"]:
    """The stationary distribution by power iteration on the lazy walk, which cannot be periodic."""
    at = np.full(len(transition), 1 / len(transition))
    for _ in range(10_000):
        following = 0.5 * at + 0.5 * at @ transition
        if np.abs(following - at).max() < 1e-15:
            break
        at = following
    return at / at.sum()
