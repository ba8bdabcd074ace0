"""Jobs for Kubernetes: valid by the published schemas, read back as they were meant, and refused where they are not."""

import copy
import math
import os
import subprocess
import sys

import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from simlaw.cli import cli
from simlaw.cli.work import command as work
from simlaw.errors import SimlawError
from simlaw.run.kubernetes import TPUS, Pods, Slice, jobs, memory_bytes, to_yaml
from simlaw.run.manifest import read_manifest
from simlaw.store import Store, open_store
from tests.conftest import ROOT
from tests.stores import S3

#: The oldest that has all of the fields, and a new one.
VERSIONS = ("1.33", "1.37")
DIGEST = "0f3a5c7e9b1d2468"
STORE = Store(root=ROOT / ".simlaw")
ON_A_CLAIM = {"image": "registry.example:5000/team/simlaw:1.0", "claim": "simlaw"}
IN_A_BUCKET = {"image": "simlaw", "bucket": "gs://mine/simlaw"}
SINGLE = {
    "cpu": Pods(**ON_A_CLAIM),
    "everything": Pods(
        image="simlaw@sha256:" + 64 * "a",
        claim="simlaw",
        folder="sweeps/mine",
        gpus=8,
        mesh=(2, 2, 2),
        remat=True,
        parallelism=2,
        retries=0,
        failures=300,
        grace=600,
        cpus="500m",
        memory="64Gi",
        queue="gpus",
        namespace="research",
        account="simlaw",
        nodes={"cloud.google.com/gke-spot": "true", "pool": "1e3"},
    ),
    "tpu": Pods(**IN_A_BUCKET, tpu=Slice(), queue="tpu-queue"),
    "tpus of a host": Pods(**IN_A_BUCKET, tpu=Slice(accelerator="tpu-v6e-slice", topology="2x4")),
}
TEAMS = {
    "v5e": Pods(**IN_A_BUCKET, tpu=Slice(topology="4x4"), queue="tpu-queue", mesh=(2, 4, 2)),
    "v5p": Pods(**ON_A_CLAIM, tpu=Slice(accelerator="tpu-v5p-slice", topology="2x2x2")),
}


def container(job):
    return job["spec"]["template"]["spec"]["containers"][0]


def child(jobset):
    """The Job that the controller of JobSets makes."""
    template = jobset["spec"]["replicatedJobs"][0]["template"]
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "child"}, **template}


def wrong(document, *path):
    """The document with another letter in a name somewhere."""
    changed = copy.deepcopy(document)
    inner = changed
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1].lower() + "x"] = inner.pop(path[-1])
    return changed


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("pods", SINGLE.values(), ids=SINGLE)
def test_a_job_is_valid_by_the_published_schema(pods, version):
    schema = pytest.importorskip("kubernetes_validate", reason="`make components` installs kubernetes-validate")
    (job,) = jobs(pods, STORE, "schedule/large", DIGEST, 300)
    schema.validate(job, version, strict=True)
    for path in (("spec", "completionMode"), ("spec", "template", "spec", "restartPolicy")):
        with pytest.raises(schema.ValidationError):
            schema.validate(wrong(job, *path), version, strict=True)


@pytest.mark.parametrize("pods", TEAMS.values(), ids=TEAMS)
def test_a_jobset_is_valid_by_its_published_models(pods):
    schema = pytest.importorskip("kubernetes_validate", reason="`make components` installs kubernetes-validate")
    models = pytest.importorskip(
        "kubeflow_trainer_api.models", reason="`make components` installs kubeflow-trainer-api"
    )
    for jobset in jobs(pods, STORE, "schedule/large", DIGEST, 3):
        # what the models do not know they leave out
        assert models.JobsetV1alpha2JobSet.from_dict(jobset).to_dict() == jobset
        for path in (("spec", "failurePolicy"), ("spec", "failurePolicy", "maxRestarts"), ("metadata", "annotations")):
            other = wrong(jobset, *path)
            assert models.JobsetV1alpha2JobSet.from_dict(other).to_dict() != other
        schema.validate(child(jobset), VERSIONS[0], strict=True)


def test_a_job_counts_no_preemption_and_tries_each_pack_again():
    (job,) = jobs(SINGLE["tpu"], STORE, "ptq_grid", DIGEST, 300)
    spec = job["spec"]
    assert job["metadata"]["name"] == "simlaw-ptq-grid-0f3a5c7e"
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "tpu-queue"
    assert (spec["completions"], spec["parallelism"], spec["completionMode"]) == (300, 16, "Indexed")
    assert (spec["backoffLimitPerIndex"], spec["maxFailedIndexes"], spec["suspend"]) == (3, 150, True)
    assert spec["podFailurePolicy"]["rules"] == [
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    ]
    pod = spec["template"]["spec"]
    assert (pod["restartPolicy"], pod["terminationGracePeriodSeconds"]) == ("Never", 60)
    assert pod["nodeSelector"] == {
        "cloud.google.com/gke-tpu-accelerator": "tpu-v5-lite-podslice",
        "cloud.google.com/gke-tpu-topology": "1x1",
    }
    assert container(job)["resources"]["limits"] == {"memory": "4Gi", "google.com/tpu": 1}
    assert container(job)["env"] == [
        {"name": "SIMLAW_STORE", "value": "gs://mine/simlaw"},
        {"name": "SIMLAW_JOB", "value": "kubernetes simlaw-ptq-grid-0f3a5c7e"},
    ]
    assert container(job)["command"] == [
        *("simlaw", "work", "--manifest", f"gs://mine/simlaw/manifests/{DIGEST}.json", "--device", "tpu")
    ]


def test_what_is_asked_for_is_there():
    (job,) = jobs(SINGLE["everything"], STORE, "s", DIGEST, 100)
    spec, pod = job["spec"], job["spec"]["template"]["spec"]
    assert job["metadata"]["namespace"] == "research"
    assert (spec["parallelism"], spec["backoffLimitPerIndex"], spec["maxFailedIndexes"]) == (2, 0, 100)
    assert pod["serviceAccountName"] == "simlaw"
    assert pod["nodeSelector"] == {"cloud.google.com/gke-spot": "true", "pool": "1e3"}
    assert pod["tolerations"][0]["key"] == "nvidia.com/gpu"
    assert pod["volumes"] == [{"name": "store", "persistentVolumeClaim": {"claimName": "simlaw"}}]
    assert container(job)["volumeMounts"] == [{"name": "store", "mountPath": "/store", "subPath": "sweeps/mine"}]
    assert container(job)["resources"]["limits"]["nvidia.com/gpu"] == 8
    assert container(job)["command"][4:] == ["--device", "gpu", "--mesh", "2", "2", "2", "--remat"]
    assert "JAX_PLATFORMS" not in str(job)
    (job,) = jobs(SINGLE["cpu"], STORE, "s", DIGEST, 100)
    assert {"name": "JAX_PLATFORMS", "value": "cpu"} in container(job)["env"]
    (job,) = jobs(SINGLE["tpus of a host"], STORE, "s", DIGEST, 5)
    assert container(job)["resources"]["limits"]["google.com/tpu"] == 8
    assert container(job)["command"][6:] == ["--mesh", "8", "1", "1"]  # along the runs of a pack


def test_the_hosts_of_a_slice_are_a_team_that_starts_again_together():
    sets = jobs(TEAMS["v5e"], STORE, "a name longer than Kubernetes has room for", DIGEST, 3)
    assert [one["metadata"]["name"] for one in sets] == [f"simlaw-a-name-longer-than-k-0f3a5c7e-{i}" for i in range(3)]
    jobset = sets[2]
    assert jobset["spec"]["suspend"]
    assert jobset["spec"]["failurePolicy"]["maxRestarts"] == 3
    assert jobset["spec"]["failurePolicy"]["rules"][0]["onJobFailureReasons"] == ["PodFailurePolicy"]
    job = child(jobset)
    assert (job["spec"]["completions"], job["spec"]["parallelism"], job["spec"]["backoffLimit"]) == (4, 4, 0)
    assert job["spec"]["podFailurePolicy"]["rules"][0]["action"] == "FailJob"
    assert container(job)["resources"]["limits"]["google.com/tpu"] == 4
    assert container(job)["env"][1]["value"].endswith("-k-0f3a5c7e-2")
    arguments = container(job)["command"]
    assert arguments[6:10] == ["--mesh", "2", "4", "2"]
    assert arguments[10:] == [
        *("--index", "2", "--coordinator"),
        "simlaw-a-name-longer-than-k-0f3a5c7e-2-team-0-0.simlaw-a-name-longer-than-k-0f3a5c7e-2:9876",
        *("--processes", "4", "--process", "$(JOB_COMPLETION_INDEX)"),
    ]
    # of the 63 letters of a pod's name the controller needs some at the end
    assert all(
        len(f"{one['metadata']['name']}-team-0-127-abcde") <= 63
        for one in (*sets, jobs(SINGLE["cpu"], STORE, "s" * 99, DIGEST, 9)[0])
    )


@pytest.mark.parametrize("pods", (SINGLE | TEAMS).values(), ids=SINGLE | TEAMS)
def test_simlaw_work_takes_the_arguments_of_a_pod(pods):
    first, *_ = jobs(pods, STORE, "s", DIGEST, 3)
    job = first if first["kind"] == "Job" else child(first)
    for process in range(pods.hosts):
        arguments = [text.replace("$(JOB_COMPLETION_INDEX)", str(process)) for text in container(job)["command"]]
        given = work.make_context("work", arguments[2:]).params
        assert str(given["manifest"]).endswith(f"manifests/{DIGEST}.json")
        assert math.prod(given["mesh"] or (1,)) == pods.devices
        assert given["process"] == (process if pods.hosts > 1 else None)
        assert given["index"] == (0 if pods.hosts > 1 else None)  # else it is in JOB_COMPLETION_INDEX


@pytest.mark.parametrize("pods", (SINGLE | TEAMS).values(), ids=SINGLE | TEAMS)
def test_yaml_says_what_is_meant(pods):
    documents = jobs(pods, STORE, "ptq_grid", DIGEST, 3)
    text = to_yaml(documents)
    assert list(yaml.safe_load_all(text)) == documents


def test_a_value_that_two_places_share_stands_in_both():
    shared = ["simlaw"]
    assert to_yaml([{"one": shared, "two": shared}]) == "one:\n- simlaw\ntwo:\n- simlaw\n"


#: What some reader of YAML takes for a number, a truth, nothing or a time.
TRICKY = (
    "1e3",
    "0o7",
    "010",
    "0x1f",
    "1_000",
    ".5",
    "+1",
    "y",
    "n",
    "Yes",
    "off",
    "true",
    "null",
    "~",
    "1:30",
    "2026-11-22",
)


@pytest.mark.parametrize("text", TRICKY)
def test_a_text_stays_a_text(text):
    assert to_yaml([{"value": text}]) in (f'value: "{text}"\n', f"value: '{text}'\n")


@settings(max_examples=50)
@given(st.dictionaries(st.text(), st.lists(st.text() | st.integers() | st.booleans())))
def test_any_document_is_read_back(document):
    assert list(yaml.safe_load_all(to_yaml([document]))) == [document]


@pytest.mark.parametrize(
    ("accelerator", "topology", "chips", "hosts"),
    [
        ("tpu-v5-lite-podslice", "1x1", 1, 1),
        ("tpu-v6e-slice", "2x2", 4, 1),
        ("tpu-v5-lite-podslice", "2x4", 8, 1),
        ("tpu-v5-lite-podslice", "4x4", 16, 4),
        ("tpu-v6e-slice", "16x16", 256, 64),
        ("tpu-v4-podslice", "2x2x1", 4, 1),
        ("tpu-v5p-slice", "2x2x2", 8, 2),
        ("tpu7x", "4x4x8", 128, 32),
    ],
)
def test_a_slice_knows_its_hosts(accelerator, topology, chips, hosts):
    found = Slice(accelerator=accelerator, topology=topology)
    assert (found.chips, found.hosts) == (chips, hosts)
    assert found.memory == TPUS[accelerator][1]


@pytest.mark.parametrize(
    ("accelerator", "topology"),
    [
        *(("tpu-v5-lite-podslice", bad) for bad in ("", "1", "3x3", "4x2", "2x2x1", "1x1\n", "-1x1", "0x0", "1x1 ")),
        *(("tpu-v5p-slice", bad) for bad in ("2x2", "4x4x3", "8x4x4", "2x4x8", "2x2x0", "٤x٤x٤", "4x4x4x4")),
        *((bad, "1x1") for bad in ("", "tpu", "nvidia-l4", "tpu-v5-lite-podslice\n")),
    ],
)
def test_a_slice_that_google_does_not_have_is_refused(accelerator, topology):
    with pytest.raises(SimlawError, match="take one"):
        Slice(accelerator=accelerator, topology=topology)


@pytest.mark.parametrize(
    ("quantity", "found"),
    [("4Gi", 4 * 2**30), ("1.5G", 1.5e9), ("500M", 5e8), ("1024", 1024), ("2Ti", 2**41), ("8k", 8e3)],
)
def test_a_quantity_of_memory_has_bytes(quantity, found):
    assert memory_bytes("--memory", quantity) == found


BAD = [
    *(
        (("--image", bad), "--image ")
        for bad in ("", "a b", "A", "a:", "-x", "a@sha256:0", "$(x)", "a\nb", "https://a/b")
    ),
    *((("--claim", bad), "--claim ") for bad in ("", "A", "a_b", "-a", "a..b", "a/b", "a" * 254, "a\n")),
    *((("--namespace", bad), "--namespace ") for bad in ("A", "a.b", "a" * 64, "a b")),
    *((("--queue", bad), "--queue ") for bad in ("", "q q", "q:1", "'")),
    (("--service-account", "me@project"), "--service-account "),
    *((("--folder", bad), "--folder ") for bad in ("/etc", "..", "a/../b", "a//b", "a b", "", "./a")),
    *((("--memory", bad), "--memory ") for bad in ("", "4GB", "0Gi", "-1Gi", "nan", "1e9", "4Gi\n")),
    *((("--cpus", bad), "--cpus ") for bad in ("", "0", "four", "1.2345", "1 ", "-1", "0m")),
    *((("--node", bad), "--node") for bad in ("spot", "=true", "a b=c", "a=b c", "a/b/c=d", "a=" + 64 * "x", "-a=b")),
    (("--parallelism", "0"), "invalid value for '--parallelism'"),
    (("--retries", "-1"), "invalid value for '--retries'"),
    (("--mesh", "2", "1", "1"), "--mesh 2 1 1 has places for 2 devices, and a pack gets 1"),
    (("--topology", "1x1"), "--topology 1x1 is for --target kubernetes-tpu: leave it out for kubernetes-cpu"),
    (("--accelerator", "nvidia-l4"), "--accelerator nvidia-l4 is for --target kubernetes-tpu: "),
    (("--gpus-per-pack", "1"), "--gpus-per-pack 1 is for --target kubernetes-gpu: "),
    (("--accelerator-memory", "80G"), "--accelerator-memory 80G is for --target kubernetes-gpu: "),
    (("--target", "kubernetes-gpu", "--accelerator-memory", "much"), "--accelerator-memory 'much': "),
    (("--target", "kubernetes-tpu", "--topology", "3x3"), "--topology '3x3' is none of tpu-v5-lite-podslice"),
    (
        ("--target", "kubernetes-tpu", "--accelerator", "h100"),
        "--accelerator 'h100' is no TPU known here: take one of ",
    ),
    (("--target", "kubernetes-tpu", "--topology", "4x4", "--parallelism", "2"), "--topology 4x4 has 4 hosts, so "),
    (("--target", "kubernetes-tpu", "--topology", "2x2", "--mesh", "1", "4", "2"), "--mesh 1 4 2 has places for 8 "),
    (("--target", "slurm"), "invalid value for '--target'"),
    (("--store", "gs://mine/simlaw"), "pods must find the store that the manifest is in: give --claim NAME, "),
    *(
        (("--store", bad), "--store ")
        for bad in ("gs://", "http://a/b", "s3://key:secret@b", "/a", "s3://a b", "gs://a/b?c")
    ),
]


@pytest.fixture
def printed(store, monkeypatch):
    """Call the command on the smoke sweep, whose folder is on a claim; gives back output and exit status."""
    monkeypatch.chdir(ROOT)
    usual = ("--own", "--target", "kubernetes-cpu", "--image", "simlaw", "--claim", "simlaw")
    return lambda *more: CliRunner().invoke(cli, ["manifest", "smoke", *usual, *more])


@pytest.mark.parametrize(("more", "sentence"), BAD, ids=[" ".join(more).replace("\n", "\\n")[:60] for more, _ in BAD])
def test_what_kubernetes_would_refuse_is_refused_in_a_sentence(printed, store, more, sentence):
    said = printed(*more)
    assert (said.exit_code, said.stdout) == (2, "")
    assert said.stderr.startswith(f"simlaw: {sentence}")
    assert said.stderr.count("\n") == 1
    assert not store.root.exists()


def test_the_manifest_is_in_the_store_and_the_job_has_a_pod_for_each_of_its_packs(printed, store):
    said = printed("--folder", "mine")
    assert said.exit_code == 0, said.stderr
    job = yaml.safe_load(said.stdout)
    path = container(job)["command"][3]
    assert path.startswith("/store/manifests/")
    manifest = read_manifest(str(store.root / path.removeprefix("/store/")), store)
    assert job["spec"]["completions"] == len(manifest.packs) == 6
    assert said.stderr.startswith("18 runs in 6 packs as a Job: `kubectl apply -f FILE` starts them, ")
    assert printed("--folder", "mine").stdout == said.stdout  # applied again it is the same Job
    assert printed("--memory", "500Mi").stderr.startswith(
        "simlaw: a run of width 16 needs about 662 MB of memory, and "
    )
    sets = list(yaml.safe_load_all(printed("--target", "kubernetes-tpu", "--topology", "4x4").stdout))
    assert [one["kind"] for one in sets] == ["JobSet"] * 2


def test_the_command_of_a_pod_does_its_entry_in_a_bucket(monkeypatch, tmp_path):
    pytest.importorskip("flask_cors", reason="`make components` installs an S3 for this machine")
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("SIMLAW_SCRATCH", str(tmp_path))
    monkeypatch.setenv("SIMLAW_STORE", "s3://simlaw-tests/pods")  # the command sets it to --store
    usual = ("--own", "--target", "kubernetes-cpu", "--image", "simlaw", "--store", "s3://simlaw-tests/pods")
    with S3():
        said = CliRunner().invoke(cli, ["manifest", "smoke", *usual])
        assert said.exit_code == 0, said.stderr
        pod = container(yaml.safe_load(said.stdout))
        env = os.environ | {one["name"]: one["value"] for one in pod["env"]}
        assert not [one["name"] for one in pod["env"] if one["name"].startswith("AWS")]
        env["JOB_COMPLETION_INDEX"] = "5"  # which Kubernetes sets in every pod of an indexed Job
        command = [sys.executable, "-m", *pod["command"]]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert len(open_store("s3://simlaw-tests/pods").keys("run")) == 3


def test_what_is_there_or_refused_is_not_submitted(printed, store, monkeypatch):
    said = CliRunner().invoke(cli, ["manifest", "smoke", "--target", "kubernetes-cpu", "--image", "a", "--claim", "b"])
    assert said.stderr == "simlaw: all runs of smoke are there, so there is nothing to submit: try --own\n"
    monkeypatch.setenv("SIMLAW_STORE", "gs://mine/simlaw")
    assert printed().stderr == (
        "simlaw: --claim simlaw: SIMLAW_STORE is a bucket, gs://mine/simlaw: set it to the claim's folder\n"
    )
    assert not (store.root / "manifests").exists()


def test_more_packs_than_a_job_has_room_for_are_refused():
    with pytest.raises(SimlawError, match="100001 packs are more than the 100000 that one Job can have: plan larger"):
        jobs(SINGLE["cpu"], STORE, "s", DIGEST, 100_001)
