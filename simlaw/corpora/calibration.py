"""The text that methods look at: windows of the training text, the same for the same seed."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from simlaw.config import CalibrationText
from simlaw.corpora.abstract import AbstractCorpus

#: Added to a calibration's seed, so that no run is trained in its order.
_APART = 1_000_000


def calibration_windows(corpus: AbstractCorpus, text: CalibrationText, context: int) -> Int[np.ndarray, "b t"]:
    """The windows of a calibration, without the token behind the last.

    Raises `SimlawError` where the corpus has none.
    """
    own = corpus.seed_data(_APART + text.seed, context)
    if corpus.streamed:
        windows = corpus.gather(own, 0, 1, text.sequences, context)[0]
    else:
        windows = corpus.batch(corpus.shared_data(), own, jnp.int32(0), text.sequences, context)
    return np.asarray(windows, np.int32)[:, :-1]
