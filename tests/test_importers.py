"""Exports of other tools: finished runs at the end of their schedules, everything else counted."""

import json

import numpy as np
import pytest

import simlaw as sl
from simlaw.errors import SimlawError
from simlaw.importers import load_olmo, load_wandb

# as the runs table of a project downloads it: every cell in quotes, config and summary side by side
TABLE = """"Name","State","Notes","User","Tags","Created","Runtime","n_params","tokens","_step","eval/loss","w_bits"
"brisk-pond-3","finished","-","me","","2025-01-03T10:00:00.000Z","3600","85000000","1700000000","3242","3.41","8"
"calm-sea-2","crashed","-","me","","2025-01-02T10:00:00.000Z","120","85000000","3400000000","11","9.7",""
"fast-sun-1","finished","-","me","","2025-01-01T10:00:00.000Z","7200","151000000","3020000000","5760","3.17",""
"slow-oak-4","running","-","me","","2025-01-04T10:00:00.000Z","60","151000000","6040000000","100","5.1",""
"grey-fox-5","finished","-","me","","2025-01-05T10:00:00.000Z","60","151000000","6040000000","100","NaN",""
"""
FLAT = {"N": "n_params", "D": "tokens", "loss": "eval/loss"}
NESTED = {"N": "config.n_params", "D": "summary.tokens", "loss": "summary.eval/loss"}


def runs():
    """What a loop over the runs of the API gives."""
    return [
        {
            "id": name,
            "name": "same name",
            "state": state,
            "config": {"n_params": n, "optim": {"lr": 1e-3}},
            "summary": {"tokens": 20 * n, "eval/loss": loss, "_step": 100, "_wandb": {"runtime": 60}},
        }
        for name, state, n, loss in (
            ("a1", "finished", 85e6, 3.4),
            ("b2", "failed", 85e6, 9.0),
            ("c3", "finished", 151e6, 3.1),
        )
    ]


@pytest.fixture
def table(tmp_path):
    (tmp_path / "wandb.csv").write_text(TABLE)
    return tmp_path / "wandb.csv"


def test_the_runs_table_gives_its_finished_runs(table):
    seen = load_wandb(table, P_w="w_bits", counts="non-embedding", **FLAT)
    assert seen.x["N"].tolist() == [85e6, 151e6]
    assert seen.x["D"].tolist() == [1.7e9, 3.02e9]
    assert seen.x["P_w"].tolist() == [8, np.inf]
    assert seen.y.tolist() == [3.41, 3.17]
    assert seen.trunk == ("brisk-pond-3", "fast-sun-1")
    assert dict(seen.left_out) == {"failed": 2, "without a loss": 1}
    assert seen.counts == "non-embedding"
    assert sl.load_wandb is load_wandb


def test_runs_of_the_api_are_addressed_by_dots(tmp_path):
    path = tmp_path / "runs.jsonl"
    path.write_text("\n".join(map(json.dumps, runs())))
    for source in (runs(), path):
        seen = load_wandb(source, **NESTED)
        assert seen.x["D"].tolist() == [1.7e9, 3.02e9]
        assert seen.y.tolist() == [3.4, 3.1]
        assert seen.trunk == ("a1", "c3")  # by id: names may repeat
        assert dict(seen.left_out) == {"failed": 1, "without a loss": 0}
    assert load_wandb(runs(), trunk="name", **NESTED).trunk == ("same name",) * 2


def test_a_history_counts_by_the_last_row_that_has_the_loss():
    steps = [(1, 9.0), (3, 3.5), (2, 4.0), (4, None)]  # in any order, as parallel exports come
    history = [
        {"id": one, "state": state, "_step": step, "n": n, "tokens": 1e6 * step, "loss": loss}
        for one, state, n in (("a", "finished", 1e6), ("b", "crashed", 2e6), ("c", "finished", 4e6))
        for step, loss in steps
    ]
    seen = load_wandb(history, N="n", D="tokens", loss="loss")
    assert seen.x["N"].tolist() == [1e6, 4e6]
    assert seen.x["D"].tolist() == [3e6, 3e6]
    assert seen.y.tolist() == [3.5, 3.5]
    assert dict(seen.left_out) == {"failed": 1, "without a loss": 0, "before the end of their run": 9}
    history[1]["tokens"] = -3  # the row that counts is named by its place in the whole
    with pytest.raises(SimlawError, match="the table, row 2: 'tokens' is -3, and D is above 0 and finite"):
        load_wandb(history, N="n", D="tokens", loss="loss")


def test_a_run_exported_twice_is_named(table):
    table.write_text(TABLE + TABLE.splitlines()[1] + "\n")
    with pytest.raises(SimlawError, match=r"wandb.csv: row 6 repeats row 1 to the last digit; drop one of them"):
        load_wandb(table, **FLAT)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            '"Step","brisk-pond-3 - eval/loss","brisk-pond-3 - eval/loss__MIN"\n"1","3.5","3.5"\n',
            "wandb.csv is the export of a chart, with a column for each run ('brisk-pond-3 - eval/loss'), and nothing "
            "is read out of names: export the runs table instead, with the columns of size, tokens, loss and State ",
        ),
        (
            "name,n_params,tokens,eval/loss\na,1,2,3\n",
            "wandb.csv has no column State, so runs that crashed would count: add it to the export, or map the ",
        ),
        (
            "State,n_params,tokens,eval/loss\nfinished,1,2,3\n",
            "wandb.csv has no column ID or Name: name what tells runs apart, trunk=…",
        ),
        (
            "name,state,config,summary\na,finished,{'n_params': 1},{'eval/loss': 3}\n",
            "wandb.csv: config holds dictionaries as text, which CSV cannot nest: save the frame by to_json(path, "
            "orient='records', lines=True), with the suffix .jsonl",
        ),
        (
            TABLE.replace("n_params", "params"),
            "wandb.csv has no column 'n_params' for N: its columns are 'Name', ",
        ),
        (TABLE.replace("151000000", "151M", 1), "wandb.csv, row 3: 'n_params' is '151M', not a number; mend the cell"),
    ],
)
def test_other_exports_get_one_sentence(table, text, sentence):
    table.write_text(text)
    with pytest.raises(SimlawError) as caught:
        load_wandb(table, **FLAT)
    assert str(caught.value).startswith(f"{table.parent}/{sentence}")


C4 = "eval/c4_en-validation/CrossEntropyLoss"


def ladder(path, steps, *, tokens=True, peak=1e-3, last=1e-4):
    """A run of the ladder as its script downloads it, with cosine decay to `last`."""
    rate = last + (peak - last) * 0.5 * (1 + np.cos(np.pi * np.arange(1, len(steps) + 1) / len(steps)))
    names = ["_step", C4, "optim/learning_rate_group0", "learning_rate_peak", "batch_size_in_tokens"]
    lines = [",".join(names + ["throughput/total_tokens"] * tokens)]
    for step, one in zip(steps, rate, strict=True):
        loss = 2 + (step * 524288 / 1e9) ** -0.3
        lines.append(f"{step},{loss!r},{float(one)!r},{peak},524288" + f",{step * 524288}" * tokens)
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_ladder_counts_by_the_ends_of_its_schedules(tmp_path):
    files = {
        190_354_176: [
            ladder(tmp_path / "190M-1xC.csv", [200, 400, 7272]),
            ladder(tmp_path / "190M-2xC.csv", [200, 14544], tokens=False),  # an evaluation alone has steps only
        ],
        371_262_464: str(ladder(tmp_path / "370M-1xC.csv", [200, 400, 14182], last=0.0)),
    }
    seen = load_olmo(files, loss=C4, counts="non-embedding")
    assert seen.x["N"].tolist() == [190_354_176, 190_354_176, 371_262_464]
    assert seen.x["D"].tolist() == [7272 * 524288, 14544 * 524288, 14182 * 524288]
    assert seen.y == pytest.approx(2 + (seen.x["D"] / 1e9) ** -0.3, rel=1e-15)
    assert seen.trunk[0] == str(tmp_path / "190M-1xC.csv")
    assert dict(seen.left_out) == {"without a loss": 0, "before the end of the schedule": 5}
    assert seen.counts == "non-embedding"
    assert sl.load_olmo is load_olmo


def test_a_run_of_the_ladder_that_was_cut_off_is_counted_and_left_out(tmp_path):
    whole = ladder(tmp_path / "whole.csv", [1, 2, 3, 4])
    cut = ladder(tmp_path / "cut.csv", [1, 2, 3, 4, 5, 6, 7, 8])
    cut.write_text("\n".join(cut.read_text().splitlines()[:-2]) + "\n")  # three quarters of its schedule
    seen = load_olmo({1e6: [whole, cut]}, loss=C4)
    assert seen.trunk == (str(whole),)
    assert seen.left_out["cut off before the end of the schedule"] == 1
    assert seen.left_out["before the end of the schedule"] == 3 + 5
    assert len(load_olmo({1e6: [whole, cut]}, loss=C4, decayed_to=0.5).y) == 2
    with pytest.raises(SimlawError, match=r"no run is left: the last learning rate of each is above 0.11 of its peak"):
        load_olmo({1e6: cut}, loss=C4)


def test_bits_per_byte_of_a_ladder_need_the_length_of_a_token(tmp_path):
    files = {1e6: ladder(tmp_path / "run.csv", [1, 2])}
    with pytest.raises(SimlawError, match="unit='bpb': bits per byte become nats per token by the length of a token"):
        load_olmo(files, loss=C4, unit="bpb")
    nats = load_olmo(files, loss=C4).y
    assert load_olmo(files, loss=C4, unit="bpb", bytes_per_token=4.0).y == pytest.approx(nats * np.log(2) * 4)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (
            "CrossEntropyLoss",
            "Perplexity",
            f"run.csv has no column '{C4}' for loss: its columns are '_step', 'eval/c4_en-valid",
        ),
        (
            "batch_size",
            "size",
            "run.csv has neither throughput/total_tokens nor _step with batch_size_in_tokens, so nobody",
        ),
        ("\n2,", "\ntwo,", "run.csv, row 2: '_step' is 'two', not a number; mend the cell"),
    ],
)
def test_a_csv_that_does_not_fit_is_named(tmp_path, old, new, sentence):
    path = ladder(tmp_path / "run.csv", [1, 2], tokens=False)
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(SimlawError) as caught:
        load_olmo({1e6: path}, loss=C4)
    assert str(caught.value).startswith(f"{tmp_path}/{sentence}")


def test_a_csv_given_twice_is_named(tmp_path):
    path = ladder(tmp_path / "run.csv", [1, 2])
    with pytest.raises(
        SimlawError, match="the ends of the runs: row 2 repeats row 1 to the last digit; drop one of them"
    ):
        load_olmo({1e6: [path, path]}, loss=C4)
