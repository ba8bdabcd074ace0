"""The store: atomic, checksummed artefacts by hash, in a folder that git ignores, or in a bucket."""

import os
from pathlib import Path

from simlaw.errors import SimlawError
from simlaw.store.abstract import AbstractStore, Listed
from simlaw.store.bucket import SCHEMES, BucketStore, open_bucket
from simlaw.store.folder import Store
from simlaw.store.leases import LEASE_SECONDS, Lease, Leases, forgive, held
from simlaw.store.sums import SUMS

__all__ = [
    "LEASE_SECONDS",
    "SUMS",
    "AbstractStore",
    "BucketStore",
    "Lease",
    "Leases",
    "Listed",
    "Store",
    "forgive",
    "held",
    "open_store",
]


def open_store(address: str | Path | None = None) -> AbstractStore:
    """The store at an address, a folder or the URL of a bucket; without one `SIMLAW_STORE`, else `.simlaw`.

    Raises `SimlawError` for a URL that is none of a bucket.
    """
    where = str(address or os.environ.get("SIMLAW_STORE") or ".simlaw")
    scheme, sign, _ = where.partition("://")
    if not sign:
        return Store(root=Path(where))
    if scheme not in SCHEMES:
        raise SimlawError(
            f"a store at {scheme}://… is not known: give a folder, or {' or '.join(SCHEMES)}://BUCKET/PREFIX"
        )
    return open_bucket(where)
