"""Streams: windows of a corpus that is too large for a device, gathered on the host one dispatch ahead."""

from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from jaxtyping import Int, Integer

from simlaw.corpora.abstract import AbstractCorpus


class Stream:
    """The training windows of a corpus, a dispatch at a time.

    While a dispatch is trained on, a thread gathers what follows it; a dispatch that does not follow is gathered when
    asked for.
    """

    def __init__(self, corpus: AbstractCorpus, steps: int, batch: int, context: int) -> None:
        self._corpus, self._steps, self._batch, self._context = corpus, steps, batch, context
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="windows")
        self._ahead: tuple[Int[np.ndarray, "e n"], int, Future[Integer[np.ndarray, "e s b w"]]] | None = None

    def take(self, orders: Int[np.ndarray, "e n"], step: int) -> Integer[np.ndarray, "e s b w"]:
        """The windows of every member from training step `step` on, in the dtype of the corpus."""
        ahead = self._ahead
        known = ahead is not None and ahead[0] is orders and ahead[1] == step
        found = ahead[2].result() if ahead is not None and known else self._gather(orders, step)
        following = step + self._steps
        self._ahead = (orders, following, self._thread.submit(self._gather, orders, following))
        return found

    def _gather(self, orders: Int[np.ndarray, "e n"], step: int) -> Integer[np.ndarray, "e s b w"]:
        sizes = (self._steps, self._batch, self._context)
        return np.stack([self._corpus.gather(order, step, *sizes) for order in orders])
