"""`simlaw decide`, `next`, `allocate` and `laws` by laws and tables that are there: nothing is trained."""

import json

import pytest
from click.testing import CliRunner

import simlaw as sl
from simlaw.cli import cli
from simlaw.cli.allocate import command as allocate_command
from simlaw.cli.options import in_options
from simlaw.published import PUBLISHED
from tests.conftest import ROOT

LAW = str(ROOT / "sweeps" / "quickstart" / "law.json")


def test_laws_and_allocate():
    def call(*args):
        return CliRunner().invoke(cli, args)

    assert "Besiroglu et al. 2024, arXiv 2404.10102" in call("laws").output
    shown = call("laws", "ouyang2024").output
    assert "JointPower + PowerPenalty" in shown
    assert "gD         0.5251" in shown
    said = call("allocate", "besiroglu2024", "--flops", "1e21", "--serve-tokens", "1e12").output
    assert said.startswith("At 1e21 FLOPs of training and serving 1T tokens the best choice is ")
    assert json.loads(call("allocate", "kumar2024", "--flops", "1e19", "--bits", "4", "--json").stdout)["params"] > 1e7
    # variables that are no bits after training, too
    at = ("--flops", "1e22", "--json", "--at")
    few, many = (json.loads(call("allocate", "muennighoff2023", *at, f"U={u}").stdout)["loss"] for u in ("1e9", "1e12"))
    assert few > many


def test_a_sweep_and_its_law_are_allocated_alike():
    def call(source):
        said = CliRunner().invoke(cli, ["allocate", source, "--flops", "1e12", "--bits", "4", "--json"])
        assert said.exit_code == 0, said.stderr
        return json.loads(said.stdout)

    table, law = (call(str(ROOT / "sweeps" / "quickstart" / name)) for name in ("table.csv", "law.json"))
    assert table["params"] == pytest.approx(law["params"], rel=0.01)
    assert table["params_interval"] == pytest.approx(law["params_interval"], rel=0.02)


def test_a_sweep_and_its_law_narrow_the_same_gap():
    def call(*args):
        said = CliRunner().invoke(cli, ["next", *args, "--json"])
        assert said.exit_code == 0, said.stderr
        return json.loads(said.stdout)

    table = call(str(ROOT / "sweeps" / "quickstart" / "table.csv"))
    law = call(str(ROOT / "sweeps" / "quickstart" / "law.json"), "--bytes", "29e3", "--flops", "1e12")
    # 16 bits lose beyond noise, so the question that is open is int5 or int6
    for found in (table, law):
        assert [found[plan]["P_post"] for plan in ("best", "rival")] == [5, 6]
    assert table["total"] == pytest.approx(law["total"], rel=0.1)
    # what runs show after quantization counts: by their losses as trained alone, they would take off less
    blind = sl.next_runs(sl.load_law(LAW), law["best"], law["rival"])
    assert law["runs"][-1]["error"] < 0.98 * blind.runs[-1].error
    assert [(r["params"], r["tokens"]) for r in table["runs"]] == [(r["params"], r["tokens"]) for r in law["runs"]]


@pytest.mark.parametrize(
    "args", [("laws",), *(("laws", name) for name in PUBLISHED), ("allocate", "besiroglu2024", "--flops", "1e23")]
)
def test_what_is_printed_is_100_columns_wide_at_most(args):
    said = CliRunner().invoke(cli, args)
    assert said.exit_code == 0, said.stderr
    assert max(map(len, said.output.splitlines())) <= 100


def test_a_decision_is_100_columns_wide_at_most():
    said = CliRunner().invoke(cli, ["decide", str(ROOT / "sweeps" / "quickstart" / "table.csv")])
    assert said.exit_code == 0, said.stderr
    assert max(map(len, said.output.splitlines())) <= 100


def test_decide_by_a_law():
    def call(*args):
        return CliRunner().invoke(cli, args)

    said = call("decide", "kumar2024", "--bytes", "82.5e6", "--flops", "1.7e19").output
    assert "quantize N=129M in int5 g128, within 82.5 MB and 1.7e19 training FLOPs" in said
    served = ("--serve-tokens", "1e11", "--cost", "H200", "--batch", "8", "--context", "256", "--force", "--json")
    choice = json.loads(call("decide", "kumar2024", "--bytes", "200e6", "--flops", "1.7e19", *served).output)
    assert [one["cost"] for one in choice["by_cost"]] == ["flops", "bits", "H200", "TPU-v6e"]
    law = str(ROOT / "sweeps" / "quickstart" / "law.json")
    said = call("decide", law, "--bytes", "29e3", "--flops", "1e12", "--formats", "integers").output
    assert "90 % interval" in said
    assert "quantize N=" in said
    assert " would narrow the gap of " in call("next", law, "--bytes", "29e3", "--flops", "1e12").output


@pytest.mark.usefixtures("unchecked")
def test_a_cost_table_may_be_a_file(tmp_path):
    def call(cost):
        return CliRunner().invoke(
            cli,
            [
                "decide",
                "kumar2024",
                "--flops",
                "1e20",
                "--training",
                "all",
                "--formats",
                "integers",
                "--force",
                "--cost",
                cost,
            ],
        )

    (tmp_path / "mine.json").write_text('{"name": "mine", "source": "measured", "train": {"int4": 0.01}}')
    assert "in int4, within 1e20 training FLOPs by the cost table mine" in call(str(tmp_path / "mine.json")).output
    (tmp_path / "list.json").write_text("[1]")
    (tmp_path / "null.json").write_text('{"name": "mine", "source": "measured", "unlisted": null}')
    (tmp_path / "latin.json").write_bytes('{"name": "für mich"}'.encode("latin-1"))
    (tmp_path / "named.json").write_text('{"name": "H200", "source": "measured"}')
    (tmp_path / "torn.json").write_text("{")
    for name, sentence in (
        ("none", "simlaw: --cost none: there is no such table or file; the tables are flops, bits, H200, TPU-v6e"),
        (str(tmp_path / "list.json"), f"simlaw: --cost {tmp_path / 'list.json'}: it holds no object: give the fields"),
        (str(tmp_path / "torn.json"), f"simlaw: --cost {tmp_path / 'torn.json'}: line 1 is no JSON; mend the file"),
        (str(tmp_path / "null.json"), "simlaw: cost table 'mine': unlisted=None: it must be a number above 0"),
        (str(tmp_path / "latin.json"), f"simlaw: --cost {tmp_path / 'latin.json'}: byte 11 is no UTF-8 text; save the"),
        (str(tmp_path / "named.json"), "simlaw: there is a cost table 'H200' already: give yours a name of its own"),
    ):
        said = call(name)
        assert said.exit_code == 2
        assert said.stderr.startswith(sentence)


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (("kumar2024", "--total"), "--total belongs to a sweep or table, and kumar2024 is none: leave it out"),
        (
            ("quickstart", "--cost", "H200"),
            "--cost belongs to a law (a sweep's law.json is one), and quickstart is none",
        ),
        (("kumar2024", "--bytes", "1e8", "--batch", "8"), "--batch and --context make a cache together: give both"),
        (("kumar2024", "--bytes", "1e8"), "give the training budget once: --flops (equal compute) or --tokens"),
        (("none.json", "--flops", "1e8"), "'none.json' is neither a law file nor a published law: there are kumar2024"),
    ],
)
def test_decisions_by_a_law_refuse_in_one_sentence(args, sentence):
    said = CliRunner().invoke(cli, ["decide", *args])
    assert said.exit_code == 2
    assert said.stderr.startswith(f"simlaw: {sentence}")


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (("laws", "kaplan"), "simlaw: there is no published law 'kaplan': there are kumar2024, "),
        (
            ("allocate", "none.json", "--flops", "1e20"),
            "simlaw: 'none.json' is neither a law file nor a published law:",
        ),
        (("allocate", "kumar2024", "--flops", "-1"), "simlaw: --flops -1: it must be a number above 0"),
        (
            ("allocate", "kumar2024", "--flops", "1e30"),
            "simlaw: the answer lies outside the rows of the fit in N by 5.66e+04 x, D by 6.66e+04 x, C by 3.77e+09 x, "
            "more than 10 x: --force gives it all the same",
        ),
        (("allocate", "kumar2024"), "simlaw: kumar2024 declares no budget: give --flops"),
        (
            ("allocate", "kumar2024", "--flops", "1e8", "--at", "P_w"),
            "simlaw: --at P_w: it must read NAME=VALUE, for exa",
        ),
        (("allocate", "kumar2024", "--flops", "1e20", "--at", "P_w=x"), "simlaw: --at P_w=x: 'x' is no number; give"),
        (("allocate", "kumar2024", "--flops", "1e20", "--at", "P_w=nan"), "simlaw: P_w=nan: give one number, the same"),
        (
            ("allocate", "ouyang2024", "--flops", "1e20", "--bits", "4", "--at", "P_post=3"),
            "simlaw: --bits 4 and --at P_post=3 are the same: give one of them",
        ),
        (("allocate", "kumar2024", "--flops", "1e20", "--own"), "simlaw: --own belongs to a sweep or table, and kumar"),
        (
            ("next", "kumar2024", "--flops", "1e20"),
            "simlaw: without draws nobody knows what is uncertain: fit with --b",
        ),
        (("next", LAW, "--bytes", "29e3", "--flops", "1e12", "--most", "-1"), "simlaw: --most -1: it must be a number"),
        (
            ("next", LAW, "--bytes", "29e3", "--flops", "1e12", "--most", "1"),
            "simlaw: --most 1: the cheapest run to ch",
        ),
    ],
)
def test_bad_arguments_get_one_sentence_and_exit_status_2(args, sentence):
    said = CliRunner().invoke(cli, args)
    assert said.exit_code == 2
    assert said.stderr.startswith(sentence)
    assert said.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("flops=-1e+20: raise it", "--flops -1e+20: raise it"),
        ("serve_tokens=… need a budget", "--serve-tokens need a budget"),
        ("force=True gives it", "--force gives it"),
        ("give penalty=…, or N=3", "give penalty=…, or N=3"),  # no options
        ("no row has flops=3: the table has 4", "no row has flops=3: the table has 4"),
        ("--where flops=3", "--where flops=3"),
        ("fit with bootstrap=…", "fit with --bootstrap"),
    ],
)
def test_errors_name_options_and_no_arguments(message, expected):
    assert in_options(message, allocate_command) == expected


def test_an_error_before_any_command_stays_as_it_is():
    assert in_options("flops=1: no", None) == "flops=1: no"
