"""Kubernetes: the Jobs of a manifest as YAML, for a person to apply. Nothing here talks to a cluster.

One indexed Job has a pod for each pack. Where the chips of a TPU slice are those of several hosts, each pack has a
JobSet of its own, with a pod on each host: a JobSet restarts all its Jobs where one fails, and a queue admits it whole,
so packs that shared one would disturb, and wait for, each other. A pod that a node takes with it is no failure.

Source: the references of batch/v1 (Kubernetes 1.33) and jobset.x-k8s.io/v1alpha2; GKE, "Plan TPUs".
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from simlaw.errors import SimlawError
from simlaw.run.engine import AbstractEngine, command
from simlaw.run.local import Local
from simlaw.store import AbstractStore

#: Where pods find the store that is on a claim.
MOUNT = "/store"
#: Where the first process of a team listens.
_PORT = 9876
#: Pods that one Job can have while failures are counted for each of them.
_MOST_PODS = 100_000
#: The dimensions of the topologies of each TPU, and the bytes of a chip's memory.
TPUS = {
    "tpu-v4-podslice": (3, 32e9),
    "tpu-v5-lite-podslice": (2, 16e9),
    "tpu-v5p-slice": (3, 95e9),
    "tpu-v6e-slice": (2, 32e9),
    "tpu7x": (3, 192e9),
}
_FLAT = ("1x1", "2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16")
_UNITS = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12} | {f"{c}i": 1024.0 ** (i + 1) for i, c in enumerate("KMGT")}

_LABEL = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
_DOMAIN = rf"(?=.{{1,253}}\Z){_LABEL}(\.{_LABEL})*"
_WORD = r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_PART = r"[a-z0-9]+([._-]+[a-z0-9]+)*"
_IMAGE = (
    rf"(?=.{{1,500}}\Z)([A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?(:[0-9]+)?/)?{_PART}(/{_PART})*"
    r"(:[A-Za-z0-9_][-A-Za-z0-9_.]{0,127})?(@sha256:[0-9a-f]{64})?"
)
_BUCKET = r"(gs|s3)://[a-z0-9]([-a-z0-9_.]*[a-z0-9])?(/[-A-Za-z0-9_.=]+)*"
_FOLDER = r"[-A-Za-z0-9_.=]+(/[-A-Za-z0-9_.=]+)*"
_QUANTITY = r"([0-9]+(?:\.[0-9]+)?)([KMGT]i|[kMGT]|)"


@dataclass(frozen=True, kw_only=True)
class Slice:
    """TPU chips that are given out together: GKE's names of the accelerator and of how its chips are laid out."""

    accelerator: str = "tpu-v5-lite-podslice"
    topology: str = "1x1"

    def __post_init__(self) -> None:
        if self.accelerator not in TPUS:
            raise SimlawError(f"--accelerator {self.accelerator!r} is no TPU known here: take one of {', '.join(TPUS)}")
        if not self._known:
            shapes = ", ".join(_FLAT) if self._flat else "2x2x1, 2x2x2, 2x2x4, 2x4x4, then multiples of 4"
            raise SimlawError(
                f"--topology {self.topology!r} is none of {self.accelerator}, whose chips lie as {shapes}: take one"
            )

    @property
    def chips(self) -> int:
        """How many chips there are."""
        return math.prod(int(side) for side in self.topology.split("x"))

    @property
    def hosts(self) -> int:
        """How many hosts they belong to: four chips each, and up to eight in a plane are those of one."""
        return 1 if self._flat and self.chips <= 8 else math.ceil(self.chips / 4)

    @property
    def memory(self) -> float:
        """Bytes of one chip's memory."""
        return TPUS[self.accelerator][1]

    @property
    def _flat(self) -> bool:
        return TPUS[self.accelerator][0] == 2

    @property
    def _known(self) -> bool:
        if self._flat or not re.fullmatch(r"[1-9][0-9]?(x[1-9][0-9]?){2}", self.topology):
            return self._flat and self.topology in _FLAT
        sides = [int(side) for side in self.topology.split("x")]
        small = self.topology in ("2x2x1", "2x2x2", "2x2x4", "2x4x4")
        return small or (sides == sorted(sides) and all(side % 4 == 0 for side in sides))


@dataclass(frozen=True, kw_only=True)
class Pods:
    """What the pods of a submission are: where they run, what each gets, and how failures count.

    They see the store in the `bucket` (gs://… or s3://…) or on the persistent volume `claim`, there in `folder`. Each
    pack has a TPU slice, or so many GPUs, or a CPU core; `mesh` divides it over them, along the runs of a pack where
    nothing is said. `memory` and `cpus` are Kubernetes' quantities. A pack is tried again `retries` times, and when
    `failures` packs have failed for good, no other is begun; None: half of them. Raises `SimlawError` for what
    Kubernetes would refuse.
    """

    image: str
    bucket: str | None = None
    claim: str | None = None
    folder: str | None = None
    tpu: Slice | None = None
    gpus: int = 0
    mesh: tuple[int, int, int] | None = None
    remat: bool = False
    parallelism: int = 16
    retries: int = 3
    failures: int | None = None
    grace: int = 60
    cpus: str = "1"
    memory: str = "4Gi"
    queue: str | None = None
    namespace: str | None = None
    account: str | None = None
    nodes: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _match("--image", self.image, _IMAGE, "an image is [REGISTRY/]NAME[:TAG], in lower case and without spaces")
        domain = "a name in Kubernetes is lower-case letters, digits, '-' and '.'"
        _match("--claim", self.claim, _DOMAIN, domain)
        _match("--queue", self.queue, _DOMAIN, domain)
        _match("--service-account", self.account, _DOMAIN, domain)
        _match("--namespace", self.namespace, _LABEL, "a namespace is lower-case letters, digits and '-'")
        _match("--store", self.bucket, _BUCKET, "a store that pods see is gs://BUCKET/PREFIX or s3://BUCKET/PREFIX")
        _match(
            "--folder", self.folder, _FOLDER, "a folder of a claim is letters, digits, '-', '_', '.' and '/' between"
        )
        if self.folder is not None and {".", ".."} & set(self.folder.split("/")):
            raise SimlawError(f"--folder {self.folder!r}: it must not lead out of the claim: name the folder itself")
        _match("--cpus", self.cpus, r"(?=.*[1-9])[0-9]{1,6}(\.[0-9]{1,3}|m)?", "cores are a number such as 4, or 500m")
        memory_bytes("--memory", self.memory)
        for key, value in self.nodes.items():
            _match("--node", key, rf"({_DOMAIN}/)?{_WORD}", "a label of nodes is [DOMAIN/]NAME")
            _match(f"--node {key}", value, _WORD, "a label's value is up to 63 letters, digits, '-', '_' and '.'")
        if (self.bucket is None) == (self.claim is None):
            raise SimlawError(
                "pods must find the store that the manifest is in: give --claim NAME, a persistent volume claim on "
                "SIMLAW_STORE's folder, or --store gs://BUCKET/PREFIX (or s3://…), and only one of them"
            )
        if self.folder is not None and self.claim is None:
            raise SimlawError(f"--folder {self.folder} is one of a claim: give --claim too, or leave it out")
        if self.mesh is not None and math.prod(self.mesh) != self.devices:
            sizes = " ".join(map(str, self.mesh))
            raise SimlawError(
                f"--mesh {sizes} has places for {math.prod(self.mesh)} devices, and a pack gets {self.devices}: "
                "make its product the same"
            )

    @property
    def engine(self) -> AbstractEngine:
        """The workers in the pods, as an engine has them that runs them itself."""
        device = "tpu" if self.tpu else "gpu" if self.gpus else "cpu"
        mesh = self.mesh or ((self.devices, 1, 1) if self.devices > 1 else None)
        return Local(workers=self.parallelism, asked=True, device=device, mesh=mesh, remat=self.remat)

    @property
    def devices(self) -> int:
        """How many devices a pack has."""
        return self.tpu.chips if self.tpu else max(1, self.gpus)

    @property
    def hosts(self) -> int:
        """How many pods a pack has."""
        return self.tpu.hosts if self.tpu else 1

    @property
    def store(self) -> str:
        """What `SIMLAW_STORE` is in a pod."""
        return self.bucket or MOUNT


def memory_bytes(option: str, quantity: str) -> float:
    """The bytes of a quantity of memory such as 4Gi; raises `SimlawError` for what is none."""
    found = re.fullmatch(_QUANTITY, quantity)
    if found is None or not float(found[1]):
        raise SimlawError(
            f"{option} {quantity!r}: memory is a number above 0 and a unit, such as 4Gi or 500M: write so"
        )
    return float(found[1]) * _UNITS[found[2]]


def jobs(pods: Pods, store: AbstractStore, sweep: str, digest: str, packs: int) -> list[dict[str, Any]]:
    """The objects that do the packs of the manifest `digest` in the store: one Job, or for teams a JobSet each.

    Their names hold the digest, so that the same work applied twice is there once, and other work beside it.
    """
    if packs > _MOST_PODS:
        raise SimlawError(f"{packs} packs are more than the {_MOST_PODS} that one Job can have: plan larger packs")
    slug = re.sub(r"[^a-z0-9]+", "-", sweep.lower())[:20].strip("-")
    name = "-".join(filter(None, ("simlaw", slug, digest[:8])))
    if pods.hosts > 1:
        return [_team(pods, store, name, digest, pack) for pack in range(packs)]
    spec: dict[str, Any] = {
        "completions": packs,
        "parallelism": min(pods.parallelism, packs),
        "completionMode": "Indexed",
        "backoffLimitPerIndex": pods.retries,
        "maxFailedIndexes": math.ceil(packs / 2) if pods.failures is None else min(pods.failures, packs),
    }
    spec |= _disruption("Ignore")
    if pods.queue is not None:
        spec["suspend"] = True  # the queue resumes it
    spec["template"] = _template(pods, store, name, name, _command(pods, digest))
    return [{"apiVersion": "batch/v1", "kind": "Job", "metadata": _metadata(pods, name, name), "spec": spec}]


def to_yaml(documents: list[dict[str, Any]]) -> str:
    """The objects as a stream of YAML documents, with every text that another reader could take for more in quotes."""
    return yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False, explicit_start=len(documents) > 1, width=1000)


def _team(pods: Pods, store: AbstractStore, submission: str, digest: str, pack: int) -> dict[str, Any]:
    """The JobSet of one pack: its Job has a pod on each host, which fail and start again together."""
    name, hosts = f"{submission}-{pack}", str(pods.hosts)
    # the kubelet puts in the number of the pod; its host is found by the name that JobSet gives to the first one
    arguments = _command(pods, digest, "--index", str(pack), "--coordinator", f"{name}-team-0-0.{name}:{_PORT}")
    arguments += ["--processes", hosts, "--process", "$(JOB_COMPLETION_INDEX)"]
    child = {"completions": pods.hosts, "parallelism": pods.hosts, "completionMode": "Indexed", "backoffLimit": 0}
    child |= _disruption("FailJob") | {"template": _template(pods, store, name, submission, arguments)}
    again = {"name": "disrupted", "action": "RestartJobSetAndIgnoreMaxRestarts", "onJobFailureReasons": [_BY_POLICY]}
    metadata = _metadata(pods, name, submission)
    metadata["annotations"] = {"alpha.jobset.sigs.k8s.io/exclusive-topology": "cloud.google.com/gke-nodepool"}
    return {
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "metadata": metadata,
        "spec": {
            **({} if pods.queue is None else {"suspend": True}),
            "failurePolicy": {"maxRestarts": pods.retries, "rules": [again]},
            "network": {"enableDNSHostnames": True},
            "replicatedJobs": [{"name": "team", "replicas": 1, "template": {"spec": child}}],
        },
    }


#: The reason of a Job that failed by its policy on pods.
_BY_POLICY = "PodFailurePolicy"


def _disruption(action: str) -> dict[str, Any]:
    """What happens where a pod was taken away: preempted, evicted, its node drained."""
    condition = {"type": "DisruptionTarget", "status": "True"}
    return {
        "podFailurePolicy": {"rules": [{"action": action, "onPodConditions": [condition]}]},
        "podReplacementPolicy": "Failed",
    }


def _metadata(pods: Pods, name: str, submission: str) -> dict[str, Any]:
    labels = _labels(submission)
    if pods.queue is not None:
        labels["kueue.x-k8s.io/queue-name"] = pods.queue
    return {"name": name, **({} if pods.namespace is None else {"namespace": pods.namespace}), "labels": labels}


def _labels(submission: str) -> dict[str, str]:
    """What `kubectl -l` finds everything of a submission by."""
    return {"app.kubernetes.io/name": "simlaw", "app.kubernetes.io/instance": submission}


def _command(pods: Pods, digest: str, *more: str) -> list[str]:
    """The arguments of a worker; which entry it does stands in `JOB_COMPLETION_INDEX` where nothing says more."""
    return command(pods.engine, f"{pods.store}/manifests/{digest}.json", *more, program=("simlaw",))


def _template(pods: Pods, store: AbstractStore, name: str, submission: str, arguments: list[str]) -> dict[str, Any]:
    """The pod: one container with a worker, and what it needs."""
    # a pod that takes another's place knows by the name of its job that it may go on at once
    variables = pods.engine.settings(store) | {"SIMLAW_STORE": pods.store, "SIMLAW_JOB": f"kubernetes {name}"}
    limits: dict[str, Any] = {"memory": pods.memory}
    nodes = dict(pods.nodes)
    if pods.tpu is not None:
        limits["google.com/tpu"] = pods.tpu.chips // pods.tpu.hosts
        nodes["cloud.google.com/gke-tpu-accelerator"] = pods.tpu.accelerator
        nodes["cloud.google.com/gke-tpu-topology"] = pods.tpu.topology
    if pods.gpus:
        limits["nvidia.com/gpu"] = pods.gpus
    container: dict[str, Any] = {
        "name": "simlaw",
        "image": pods.image,
        "command": arguments,
        "env": [{"name": key, "value": value} for key, value in variables.items()],
        "resources": {"requests": {"cpu": pods.cpus, "memory": pods.memory}, "limits": limits},
    }
    spec: dict[str, Any] = {"restartPolicy": "Never", "terminationGracePeriodSeconds": pods.grace}
    if pods.account is not None:
        spec["serviceAccountName"] = pods.account
    if nodes:
        spec["nodeSelector"] = nodes
    if pods.gpus:  # nodes with GPUs keep away what does not ask for them
        spec["tolerations"] = [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    if pods.claim is not None:
        inside = {} if pods.folder is None else {"subPath": pods.folder}
        container["volumeMounts"] = [{"name": "store", "mountPath": MOUNT, **inside}]
        spec["volumes"] = [{"name": "store", "persistentVolumeClaim": {"claimName": pods.claim}}]
    return {"metadata": {"labels": _labels(submission)}, "spec": {**spec, "containers": [container]}}


def _match(option: str, value: str | None, pattern: str, rule: str) -> None:
    """Raise `SimlawError` where a value is given that is not wholly of the pattern."""
    if value is not None and not re.fullmatch(pattern, value):
        raise SimlawError(f"{option} {value!r}: {rule}: write it so")


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]  # PyYAML has no types
    """Writes texts as texts of YAML 1.1 and 1.2, and every value where it stands."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002  # no value is a reference to another
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    """A text, plain only where no reader takes it for a number, a truth or nothing (1e3, y and 0o7 are texts here)."""
    plain = re.fullmatch(r"[A-Za-z/][-A-Za-z0-9_./:]+", text) is not None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if plain else '"')


_Dumper.add_representer(str, _text)
