"""A manifest: the packs of one submission, frozen when it was made; the sweep may grow meanwhile."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simlaw.config import Corpus, run_id, trunk_id
from simlaw.declared import Declared, Json, decode, encode, parsed
from simlaw.errors import SimlawError
from simlaw.plan import Pack
from simlaw.store import AbstractStore, forgive


@dataclass(frozen=True, kw_only=True)
class Manifest(Declared):
    """The packs of one submission, and the fingerprint of each corpus that they are on."""

    corpora: tuple[Corpus, ...]
    fingerprints: tuple[str, ...]
    packs: tuple[Pack, ...]

    def check(self) -> None:
        """Raises `SimlawError` where there is nothing to do, and where corpora and fingerprints are not pairs."""
        if len(self.corpora) != len(self.fingerprints) or len(set(self.corpora)) != len(self.corpora):
            raise SimlawError(
                f"Manifest has {len(self.fingerprints)} fingerprints of {len(set(self.corpora))} different corpora: "
                "each corpus has one"
            )
        if not self.packs:
            raise SimlawError("Manifest.packs is empty, so there is nothing to do: add one")
        for i, pack in enumerate(self.packs):
            if pack.corpus not in self.corpora:
                raise SimlawError(f"Manifest.packs: item {i} is on a corpus that Manifest.corpora lacks: add it")

    @property
    def known(self) -> dict[Corpus, str]:
        """The fingerprint by corpus."""
        return dict(zip(self.corpora, self.fingerprints, strict=True))


def submit(store: AbstractStore, manifest: Manifest) -> str:
    """The address of the manifest, now in the store; failures and deaths recorded of its runs are forgotten."""
    known = manifest.known
    runs = [runs for pack in manifest.packs for runs in pack.members]
    for spec in (spec for member in runs for spec in member):
        store.remove("failure", run_id(spec, known[spec.corpus]))
    forgive(store, {trunk_id(member[0].trunk, known[member[0].corpus]) for member in runs})
    form = encode(manifest)
    sha256 = seal(form)
    name = f"manifests/{sha256}.json"
    # over what may be there: the same name has the same content, and one that was damaged is whole again
    store.write(name, json.dumps({"sha256": sha256, "manifest": form}).encode())
    return f"{store.address}/{name}"


def seal(form: Json) -> str:
    """The hash of a manifest as JSON, which an entry is read by without a look at all others."""
    return hashlib.sha256(json.dumps(form, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def read_manifest(where: str, store: AbstractStore, index: int | None = None) -> Manifest:
    """The manifest in a file, or at an address in the store; of its packs only that of an index where one is given.

    Raises `SimlawError` where it is missing, no manifest, or not what it was when it was written.
    """
    try:
        if "://" in where:
            base, _, name = where.partition(f"{store.address}/")
            data = None if base else store.read(name)
        else:
            data = Path(where).read_bytes()
        if data is None:
            raise OSError("there is no such object in the store that SIMLAW_STORE names")
        form = parsed(data)
        if not isinstance(form, dict) or set(form) != {"sha256", "manifest"}:
            raise ValueError("it lacks sha256 or manifest")
        whole = form["manifest"]
        manifest: Manifest = decode(Manifest, whole if index is None else _entry(whole, index))
    except _NoEntry as error:
        raise SimlawError(str(error)) from None
    except (OSError, ValueError, SimlawError) as error:
        why = " ".join(str(getattr(error, "strerror", None) or error).split())
        raise SimlawError(f"{where} is no manifest ({why}): submit the sweep again to write one") from error
    if seal(whole) != form["sha256"]:
        raise SimlawError(f"{where} is not what it was when it was written: submit the sweep again to write one")
    return manifest


class _NoEntry(Exception):
    """An index that a manifest does not have."""


def _entry(whole: Any, index: int) -> Any:
    """A manifest as JSON with one of its packs; where it is none it stays as it is, for whoever checks it."""
    if not isinstance(whole, dict) or not isinstance(whole.get("packs"), list) or not whole["packs"]:
        return whole
    last = len(whole["packs"]) - 1
    if not 0 <= index <= last:
        raise _NoEntry(f"--index {index}: the manifest has the entries 0 to {last}; take one")
    return {**whole, "packs": [whole["packs"][index]]}
