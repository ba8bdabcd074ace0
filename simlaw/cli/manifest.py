"""`simlaw manifest`: what is missing of a sweep, as Jobs that a person applies to a cluster."""

import os
from dataclasses import replace

import click

from simlaw.cli.gate import gate
from simlaw.cli.options import mesh_option, named, own_option, remat_option, sweep_argument
from simlaw.errors import SimlawError
from simlaw.run.kubernetes import Pods, Slice, jobs, memory_bytes, to_yaml
from simlaw.run.layout import SHARE
from simlaw.run.session import Session

_TARGETS = ("kubernetes-cpu", "kubernetes-gpu", "kubernetes-tpu")


@click.command()
@sweep_argument
@click.option("--target", type=click.Choice(_TARGETS), required=True, help="Where each pack gets a core, GPUs or TPUs.")
@click.option("--image", required=True, help="A container image that has simlaw, and JAX for the target.")
@click.option("--store", metavar="URL", help="The store of pods and of this command: gs://BUCKET/PREFIX or s3://…")
@click.option("--claim", metavar="NAME", help="Instead: the persistent volume claim that SIMLAW_STORE's folder is on.")
@click.option("--folder", metavar="PATH", help="The folder of the store on the claim, if it is not the whole.")
@click.option("--accelerator", metavar="NAME", help="The TPU, as GKE names it.  [default: tpu-v5-lite-podslice]")
@click.option(
    "--topology", metavar="AxB", help="The chips of each pack; one host has 1, 4 or 8 of them.  [default: 1x1]"
)
@click.option("--gpus-per-pack", type=click.IntRange(1), help="GPUs of each pack.  [default: 1]")
@click.option("--accelerator-memory", metavar="BYTES", help="Of one GPU, such as 80G.  [default: 16G; of TPUs: known]")
@mesh_option
@remat_option
@click.option("--parallelism", type=click.IntRange(1), help="Packs at work at the same time.  [default: 16]")
@click.option("--cpus", default="1", show_default=True, metavar="CORES", help="Cores that a pod asks for.")
@click.option("--memory", default="4Gi", show_default=True, metavar="BYTES", help="Memory of a pod.")
@click.option("--queue", metavar="NAME", help="The queue of Kueue in which to wait.")
@click.option("--namespace", metavar="NAME", help="Where the objects go.")
@click.option("--service-account", metavar="NAME", help="What pods may do, such as read and write the bucket.")
@click.option("--node", multiple=True, metavar="LABEL=VALUE", help="Only on such nodes; may be given again.")
@click.option(
    "--retries", type=click.IntRange(0), default=3, show_default=True, help="Tries of a pack after it failed."
)
@click.option("--max-failed", type=click.IntRange(0), help="Packs that may fail for good.  [default: half of them]")
@click.option(
    "--grace",
    type=click.IntRange(1),
    default=60,
    show_default=True,
    metavar="SECONDS",
    help="From the signal that a pod is taken away to its end; it stores its state in between. A spot node may end "
    "sooner.",
)
@own_option
@click.option("--force", is_flag=True, help="Submit a sweep that is refused all the same.")
def command(
    sweep: str,
    target: str,
    image: str,
    store: str | None,
    claim: str | None,
    folder: str | None,
    accelerator: str | None,
    topology: str | None,
    gpus_per_pack: int | None,
    accelerator_memory: str | None,
    mesh: tuple[int, int, int] | None,
    remat: bool,
    parallelism: int | None,
    cpus: str,
    memory: str,
    queue: str | None,
    namespace: str | None,
    service_account: str | None,
    node: tuple[str, ...],
    retries: int,
    max_failed: int | None,
    grace: int,
    own: bool,
    force: bool,
) -> None:
    """Print a sweep's missing work as YAML for `kubectl apply`; nothing is sent to a cluster.

    The packs go as a manifest into the store, which pods must see: a bucket (--store), or a folder on a persistent
    volume claim (--claim) that is SIMLAW_STORE here. A Job has a pod for each pack; where the chips of a topology are
    those of several hosts, each pack has a JobSet. No secret is written: give pods a service account.

    \b
    Example:
      simlaw manifest quickstart --target kubernetes-tpu --image IMAGE --store gs://mine/simlaw > job.yaml
    """
    for option, value, wanted in (
        ("--accelerator", accelerator, "kubernetes-tpu"),
        ("--topology", topology, "kubernetes-tpu"),
        ("--gpus-per-pack", gpus_per_pack, "kubernetes-gpu"),
        ("--accelerator-memory", accelerator_memory, "kubernetes-gpu"),
    ):
        if value is not None and target != wanted:
            more = "; nodes with one kind of GPU are chosen by --node" if option == "--accelerator" else ""
            raise SimlawError(f"{option} {value} is for --target {wanted}: leave it out for {target}{more}")
    bucket, standing = store, os.environ.get("SIMLAW_STORE", "")
    if store is None and "://" in standing:
        if claim is not None:
            raise SimlawError(f"--claim {claim}: SIMLAW_STORE is a bucket, {standing}: set it to the claim's folder")
        bucket = standing
    if claim is not None and not standing:
        raise SimlawError(
            f"--claim {claim}: the manifest goes into the store, which pods must see: set SIMLAW_STORE to the claim's "
            "folder as it is mounted here"
        )
    tpu = Slice(accelerator=accelerator or Slice.accelerator, topology=topology or Slice.topology)
    pods = Pods(
        image=image,
        bucket=bucket,
        claim=claim,
        folder=folder,
        tpu=tpu if target == "kubernetes-tpu" else None,
        gpus=(gpus_per_pack or 1) if target == "kubernetes-gpu" else 0,
        mesh=mesh,
        remat=remat,
        parallelism=parallelism or Pods.parallelism,
        retries=retries,
        failures=max_failed,
        grace=grace,
        cpus=cpus,
        memory=memory,
        queue=queue,
        namespace=namespace,
        account=service_account,
        nodes=named("--node", node, "cloud.google.com/gke-spot=true"),
    )
    if pods.hosts > 1 and (parallelism, max_failed) != (None, None):
        raise SimlawError(
            f"--topology {tpu.topology} has {pods.hosts} hosts, so each pack has a JobSet of its own, and --queue or "
            "the nodes say how many run: leave out --parallelism and --max-failed"
        )
    if bucket is not None:
        os.environ["SIMLAW_STORE"] = bucket  # the manifest must be where pods look for it
    click.echo(_submitted(sweep, pods, own, force, accelerator_memory), nl=False)


def _submitted(sweep: str, pods: Pods, own: bool, force: bool, accelerator_memory: str | None) -> str:
    """The YAML of what is left of a sweep, whose manifest is then in the store."""
    session = Session.open(sweep)
    status = session.status(own)
    if (verdict := gate(session, own)).closed and not force:
        raise SimlawError(verdict.sentence)
    there = pods.tpu.memory if pods.tpu else memory_bytes("--memory", pods.memory)
    if pods.gpus:
        there = memory_bytes("--accelerator-memory", accelerator_memory or "16G")
    engine = pods.engine
    layout = session.layout(status, replace(engine, workers=1), SHARE * there)  # refuses what does not fit in one
    if engine.one_by_one:  # packs for all workers, in all of their memory
        layout = session.layout(status, engine, SHARE * there * engine.workers)
    packs = session.packs(status, layout)
    if not packs:
        raise SimlawError(f"all runs of {session.file.name} are there, so there is nothing to submit: try --own")
    digest = session.submit(packs).rpartition("/")[2].removesuffix(".json")
    documents = jobs(pods, session.store, session.file.name, digest, len(packs))
    what = "a Job" if pods.hosts == 1 else f"JobSets of {pods.hosts} pods"
    click.echo(
        f"{len(status.todo)} runs in {len(packs)} packs as {what}: `kubectl apply -f FILE` starts them, "
        f"`simlaw status {session.file.name}` says what is done, and the same command prints what is missing then",
        err=True,
    )
    return to_yaml(documents)
