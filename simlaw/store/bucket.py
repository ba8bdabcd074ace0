"""A store in a bucket, `s3://…` or `gs://…`: nothing is renamed there, so an artefact is there once its checksums are.

The files of an artefact go below a name that nobody else has, then `SHA256SUMS`, which names them, is put where there
is none yet: of several writers one succeeds, and the others take theirs away again.
"""

import contextlib
import hashlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

from simlaw.errors import SimlawError
from simlaw.files import private_folder
from simlaw.store.abstract import AbstractStore, Listed, checked
from simlaw.store.sums import SUMS, parsed, sum_of, written

#: The schemes of addresses that name a bucket.
SCHEMES = ("s3", "gs")


@dataclass(frozen=True, kw_only=True)
class BucketStore(AbstractStore):
    """Artefacts in `objects`, a bucket of obstore; `root` is a folder of this machine, for what is of it alone."""

    url: str
    objects: Any
    foldered: ClassVar[bool] = False

    @property
    def address(self) -> str:
        """As `AbstractStore.address`: the URL."""
        return self.url

    def put(self, kind: str, key: str, files: Mapping[str, bytes]) -> None:
        """As `AbstractStore.put`."""
        place, own = f"{kind}/{checked(key)}", secrets.token_hex(8)
        if self.has(kind, key):
            return
        with self._asking(place) as bucket:
            for name, data in files.items():
                bucket.put(self.objects, f"{place}/{own}/{name}", data)
        sums = {f"{own}/{name}": sum_of(data) for name, data in files.items()}
        if not self.create(f"{place}/{SUMS}", written(sums)):
            self._erase([f"{place}/{name}" for name in sums])

    def draft(self) -> Path:
        """As `AbstractStore.draft`."""
        draft = self.root / "tmp" / secrets.token_hex(8)
        draft.mkdir(parents=True)
        return draft

    def adopt(self, kind: str, key: str, draft: Path) -> None:
        """As `AbstractStore.adopt`."""
        paths = sorted(path for path in draft.rglob("*") if path.is_file())
        try:
            self.put(kind, key, {path.relative_to(draft).as_posix(): path.read_bytes() for path in paths})
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def get(self, kind: str, key: str) -> dict[str, bytes] | None:
        """As `AbstractStore.get`."""
        while (listed := self.read(f"{kind}/{checked(key)}/{SUMS}")) is not None:
            with contextlib.suppress(ValueError):
                sums = parsed(listed)
                files = {name: self.read(f"{kind}/{key}/{name}") for name in sums}
                if all(data is not None and sum_of(data) == sums[name] for name, data in files.items()):
                    return {name.partition("/")[2]: data for name, data in files.items() if data is not None}
            self._aside(kind, key, "damaged", listed)  # and look again: somebody may have made it again meanwhile
        return None

    def locate(self, kind: str, key: str) -> Path | None:
        """As `AbstractStore.locate`: in a folder of this machine, where a copy stays."""
        files = self.get(kind, key)
        if files is None:
            return None
        folder = self.root / "copies" / kind / key
        for name, data in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.is_file() or path.read_bytes() != data:
                draft = path.with_name(f".{secrets.token_hex(4)}")
                draft.write_bytes(data)
                draft.replace(path)
        return folder

    def has(self, kind: str, key: str) -> bool:
        """As `AbstractStore.has`."""
        with contextlib.suppress(FileNotFoundError), self._asking(f"{kind}/{key}", reads=True) as bucket:
            bucket.head(self.objects, f"{kind}/{key}/{SUMS}")
            return True
        return False

    def keys(self, kind: str, below: str = "") -> list[str]:
        """As `AbstractStore.keys`."""
        found = self.names(f"{kind}/{below}" if below else kind)
        ending = f"/{SUMS}"
        return [name[len(kind) + 1 : -len(ending)] for name in found if name.endswith(ending)]

    def remove(self, kind: str, key: str) -> None:
        """As `AbstractStore.remove`."""
        place = f"{kind}/{checked(key)}"
        self._erase([f"{place}/{SUMS}"])  # first: without it the artefact is gone
        self._erase(self.names(place))

    def set_aside(self, kind: str, key: str, why: str = "damaged") -> None:
        """As `AbstractStore.set_aside`."""
        listed = self.read(f"{kind}/{checked(key)}/{SUMS}")
        if listed is not None:
            self._aside(kind, key, why, listed)

    def _aside(self, kind: str, key: str, why: str, listed: bytes) -> None:
        """Set an artefact aside, unless its checksums are no longer those that were read as `listed`."""
        place, target = f"{kind}/{key}", f"aside/{kind}-{key.replace('/', '-')}-{secrets.token_hex(4)}"
        try:
            names = own = sorted(parsed(listed))
        except ValueError:  # which files are its own is not known: all are shown, and lie there as leftovers
            names, own = [name[len(place) + 1 :] for name in self.names(place) if not name.endswith(f"/{SUMS}")], []
        self.write(f"{target}/{SUMS}", listed)
        with self._asking(target, reads=True) as bucket:
            for name in names:
                with contextlib.suppress(FileNotFoundError):
                    bucket.copy(self.objects, f"{place}/{name}", f"{target}/{name}")
        # a bucket deletes without conditions: who is quicker than these two requests is computed again
        if self.read(f"{place}/{SUMS}") != listed:
            self._erase(self.names(target))
            return
        self._erase([f"{place}/{name}" for name in (SUMS, *own)])
        self.fault({"event": "set aside", "kind": kind, "key": key, "why": why, "path": f"{self.url}/{target}"})

    def create(self, name: str, data: bytes) -> bool:
        """As `AbstractStore.create`: a put on the condition that there is none.

        What is there with the same content counts as made by this call, so writers tell themselves apart in it.
        """
        with self._asking(name) as bucket:
            try:
                bucket.put(self.objects, name, data, mode="create")
                return True
            except bucket.exceptions.AlreadyExistsError:
                pass
        # a put that succeeded, and was answered with a server's error, is sent again and meets itself
        return self.read(name) == data

    def write(self, name: str, data: bytes) -> None:
        """As `AbstractStore.write`."""
        with self._asking(name) as bucket:
            bucket.put(self.objects, name, data)

    def read(self, name: str) -> bytes | None:
        """As `AbstractStore.read`."""
        with contextlib.suppress(FileNotFoundError), self._asking(name, reads=True) as bucket:
            return bytes(bucket.get(self.objects, name).bytes())
        return None

    def names(self, folder: str) -> list[str]:
        """As `AbstractStore.names`."""
        return [each.name for each in self.listing(folder)]

    def listing(self, folder: str) -> list[Listed]:
        """As `AbstractStore.listing`."""
        with self._asking(folder) as bucket:
            found = [each for part in bucket.list(self.objects, folder) for each in part]
        made = [Listed(name=one["path"], size=one["size"], time=one["last_modified"].timestamp()) for one in found]
        return sorted(made, key=lambda one: one.name)

    def erase(self, name: str) -> None:
        """As `AbstractStore.erase`."""
        self._erase([name])

    def _erase(self, names: list[str]) -> None:
        with self._asking("", reads=True) as bucket:
            for name in names:
                with contextlib.suppress(FileNotFoundError):
                    bucket.delete(self.objects, name)

    @contextlib.contextmanager
    def _asking(self, name: str, *, reads: bool = False) -> Iterator[Any]:
        """The library, whose errors become one sentence; of who reads a `FileNotFoundError` stays."""
        bucket = library()
        try:
            yield bucket
        except FileNotFoundError as error:
            if not reads:
                raise SimlawError(f"{self.url}/{name}: there is no such bucket; mend SIMLAW_STORE") from error
            raise
        except bucket.exceptions.BaseError as error:
            said = str(error).partition("\n")[0][:300]
            raise SimlawError(
                f"{self.url}/{name}: {said}; look at the bucket's name, and at your credentials"
            ) from error


def open_bucket(url: str) -> BucketStore:
    """The store in a bucket; what it is asked with (credentials, endpoint) comes from the environment.

    Raises `SimlawError` where the URL says anything but scheme, bucket and prefix, or the library is missing.
    """
    parts = urlsplit(url)
    if not parts.hostname or parts.hostname != parts.netloc or parts.query or parts.fragment or ".." in parts.path:
        raise SimlawError(
            f"a store's URL is SCHEME://BUCKET/PREFIX, and that of {parts.scheme}://{parts.hostname or ''}/… says more "
            "or less: leave names, passwords and queries out, credentials come from the environment"
        )
    url = f"{parts.scheme}://{parts.hostname}{parts.path.rstrip('/')}"
    found = library()
    try:
        objects = found.store.from_url(url)
    except found.exceptions.BaseError as error:
        raise SimlawError(f"{url} cannot be opened: {' '.join(str(error).split())[:300]}; mend SIMLAW_STORE") from error
    return BucketStore(url=url, objects=objects, root=scratch(url))


def scratch(url: str) -> Path:
    """A folder of this machine for what is of it alone, below `SIMLAW_SCRATCH` or the folder of temporary files."""
    if above := os.environ.get("SIMLAW_SCRATCH"):
        folder = Path(above)  # chosen by the user, so it may be a link
        folder.mkdir(parents=True, exist_ok=True)
        if folder.stat().st_uid != os.getuid():
            raise SimlawError(f"{folder} belongs to somebody else: set SIMLAW_SCRATCH to a folder of your own")
    else:
        folder = private_folder(
            Path(tempfile.gettempdir()) / f"simlaw-{os.getuid()}", "set SIMLAW_SCRATCH to a folder of your own"
        )
    return folder / hashlib.sha256(url.encode()).hexdigest()[:16]


def library() -> Any:
    """The `obstore` library; raises `SimlawError` where it is not installed."""
    try:
        import obstore
        import obstore.exceptions
        import obstore.store
    except ImportError as error:
        raise SimlawError(
            "obstore is not installed, which stores in buckets need: pip install 'simlaw[buckets]'"
        ) from error
    return obstore
