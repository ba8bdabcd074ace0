"""Law files that say nothing to rely on."""

import copy
import json
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from simlaw.lawfile import _checksum
from tests.bad_input.conftest import Refused, as_bytes
from tests.conftest import ROOT

TEXT = (ROOT / "sweeps" / "quickstart" / "law.json").read_text()
LAW: dict[str, Any] = json.loads(TEXT)
GONE = object()
ASK = ("--flops", "1e15", "--force")

#: Files that are none of a law, by the rule that they break.
FILES: dict[str, tuple[str | bytes, str]] = {
    "it is JSON": ("", "line 1 is no JSON"),
    "it is whole": (TEXT[: len(TEXT) // 2], "is no JSON"),
    "it is an object": ("[1, 2]", "it lacks the field 'schema'"),
    "it is UTF-8": (TEXT.replace("nats", "näts", 1).encode("latin-1"), "it is no text in UTF-8"),
    "it has no mark": (b"\xef\xbb\xbf" + TEXT.encode(), "line 1 is no JSON"),
    "it has no zero bytes": (TEXT.encode()[:3] + b"\0" + TEXT.encode()[3:], "is no JSON"),
    "it is not deep": ("[" * 100_000, "nested too deeply to read"),
    "it is no pickle": (pickle.dumps(LAW), "it is no text in UTF-8"),
    "it has no NaN": (TEXT.replace('"residual": ', '"residual": NaN, "r": ', 1), "it holds NaN, no number"),
    "it has no infinity": (TEXT.replace('"residual": ', '"residual": -Infinity, "r": ', 1), "it holds -Infinity"),
    "numbers are short": (TEXT.replace('"residual": ', f'"residual": {"9" * 5000}, "r": ', 1), "it holds 999999999…"),
    "keys are there once": (TEXT.replace('"loss": {', '"loss": {}, "loss": {', 1).replace("VALID", "V", 1), "checksum"),
    "it was not altered": (TEXT.replace("VALID", "AT_BOUND", 1), "its checksum does not fit its contents"),
    "it has a checksum": (json.dumps({k: v for k, v in LAW.items() if k != "checksum"}), "its checksum does not fit"),
    "its schema is known": (json.dumps({**LAW, "schema": 99}), "schema 99 of a newer simlaw"),
    "its schema is a number": (json.dumps({**LAW, "schema": "3"}), "schema is '3', and it must be a whole number"),
}
#: Fields of files whose checksum fits, by the rule that they break.
FIELDS: dict[str, tuple[Sequence[str], object, str]] = {
    "a form is named": (("loss", "form"), GONE, "it lacks the field 'form'"),
    "a form is known": (("loss", "form"), "os.system", "it names the form 'os.system', and the forms are"),
    "a form is of a loss": (("penalty", "form"), "Chinchilla", "it lacks the field 'parameters.E'"),
    "health is a word": (("loss", "health"), "GREAT", "health is 'GREAT', and it must be one of 'VALID'"),
    "units are nats": (("loss", "unit"), "bits", "unit is 'bits'"),
    "parameters are all there": (("loss", "parameters", "A"), GONE, "it lacks the field 'parameters.A'"),
    "parameters are of the form": (("loss", "parameters", "Z"), 1.0, "parameters names 'Z', and Chinchilla has"),
    "parameters are numbers": (("loss", "parameters", "E"), "1", "its 'E' is '1': it must be a number or None"),
    "truth is no number": (("loss", "parameters", "E"), True, "its 'E' is True: it must be a number or None"),
    "constants are above 0": (("loss", "parameters", "A"), -1.0, "A or one of its draws is 0 or below"),
    "unknown ones are null": (("loss", "parameters", "A"), None, "parameters.A is None, and null is what stands for"),
    "draws are of one length": (("loss", "draws", "E"), [1.0], "draws has 1 and 1000 numbers"),
    "draws are there": (("loss", "draws", "E"), GONE, "draws is of A, B, alpha, beta, and what was estimated is A,"),
    "draws are an object": (("loss", "draws"), [], "draws is [], and it must be an object"),
    "errors are not below 0": (("loss", "error", "E"), -1.0, "its 'E' is -1.0: it must be at least 0"),
    "covariance is square": (("loss", "covariance", "E"), GONE, "covariance is of A, B, alpha, beta"),
    "ranges ascend": (("loss", "ranges", "N"), [2.0, 1.0], "ranges.N is [2.0, 1.0]"),
    "ranges are of variables": (("loss", "ranges", "Q"), [1.0, 2.0], "ranges.Q is [1.0, 2.0]: it is a variable of"),
    "correlations are at most 1": (("loss", "correlated"), [["E", "A", 3.0]], "its 2 is 3.0: it must be from -1 to 1"),
    "shares are shares": (("loss", "agreeing"), 1.5, "agreeing is 1.5, and it must be from 0 to 1"),
    "rows are counted": (("loss", "rows"), -1, "rows is -1, and it must be at least 1"),
    "an objective is known": (("loss", "kind"), "magic", "kind is 'magic', and it must be one of 'huber'"),
    "what is fixed is known": (("loss", "fixed"), ["Q"], "fixed names 'Q', and Chinchilla has"),
    "a fit is an object": (("loss",), [], "loss is [], and it must be an object"),
    "a penalty is said": (("penalty",), GONE, "it lacks the field 'penalty'"),
}


@pytest.mark.parametrize("rule", FILES)
def test_a_broken_file_is_refused(rule: str, project: Path, refused: Refused) -> None:
    content, words = FILES[rule]
    (project / "law.json").write_bytes(as_bytes(content))
    refused(words, "allocate", "law.json", *ASK)


@pytest.mark.parametrize("rule", FIELDS)
def test_a_wrong_field_is_refused(rule: str, project: Path, refused: Refused) -> None:
    path, value, words = FIELDS[rule]
    body = copy.deepcopy({name: part for name, part in LAW.items() if name != "checksum"})
    inner = body
    for name in path[:-1]:
        inner = inner[name]
    if value is GONE:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    (project / "law.json").write_text(json.dumps({**body, "checksum": _checksum(body)}))
    refused(words, "allocate", "law.json", *ASK)


def test_a_law_must_be_a_file(project: Path, refused: Refused) -> None:
    (project / "folder.json").mkdir()
    (project / "loop.json").symlink_to("loop.json")
    refused("there is no law file at folder.json (Is a directory)", "allocate", "folder.json", *ASK)
    for name in ("loop.json", "none.json", "http://host/law.json"):
        refused(f"'{name}' is neither a law file nor a published law", "allocate", name, *ASK)
    refused("(File name too long)", "allocate", "a" * 5000 + ".json", *ASK)
