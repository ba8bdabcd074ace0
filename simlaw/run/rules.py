"""How a worker goes about its work: how often it keeps a state, when others count as dead, how often it tries again."""

from dataclasses import dataclass
from typing import Literal

from simlaw.store import LEASE_SECONDS

#: Seconds between stored states of what trains: so much is lost at most where a worker is killed.
SAVE_SECONDS = 60.0
#: A pack that fails is tried so many times more.
RETRIES = 2


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Seconds between stored states, seconds without a sign of life after which a claim is void, and tries besides one.

    Tries are counted of failures in one worker, and of workers that died of one pack without a word.
    """

    save_seconds: float = SAVE_SECONDS
    lease_seconds: float = LEASE_SECONDS
    retries: int = RETRIES

    def after(self, status: int | None, over: bool, ends: int) -> Literal["done", "again", "failed"]:
        """What follows where a worker's process is gone, that had or had not said that it is `over`.

        `ends` are those without a word since a result, this one included; no `status` is known of a lost machine.
        """
        if status == 0 or over:
            return "done"  # or something is left, and said already
        if status == 2 or ends > self.retries + 1:
            return "failed"  # 2: what a person must mend
        return "again"
