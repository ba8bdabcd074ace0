"""`simlaw fit`: the laws of a sweep's table, or forms fitted to a table of one's own."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from simlaw.analysis import OF_PRECISION, analyse
from simlaw.cli.analysis import fit_report, precision_report, table_sha256
from simlaw.cli.options import named, own_option, source_argument, where_option
from simlaw.cli.source import open_source
from simlaw.errors import SimlawError
from simlaw.external import load_table
from simlaw.files import write_file
from simlaw.fitting.holdout import Holdout, LargestC, LargestD, LargestN, LowestBits
from simlaw.law import AbstractLaw
from simlaw.lawfile import analysis_json, precision_json
from simlaw.laws import FORMS
from simlaw.notebook import fit

#: The options of each kind of rows, by their parameters; the help shows them apart, and a call has one kind.
_SWEEP = ("own", "chosen", "repeats", "write")
_TABLE = (
    *("columns", "forms", "holdouts", "fixed", "bounds", "objective", "threshold", "seed"),
    *("unit", "bytes_per_token", "counts", "bootstrap", "save"),
)


class _Command(click.Command):
    """A command whose help has a section for each kind of rows."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options by section."""
        sections: dict[str, list[tuple[str, str]]] = {
            "A sweep or its table": [],
            "A table of your own": [],
            "Other": [],
        }
        own, table, other = sections.values()
        for one in self.get_params(ctx):
            if isinstance(one, click.Option) and (record := one.get_help_record(ctx)):
                (own if one.name in _SWEEP else table if one.name in _TABLE else other).append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)


@click.command(cls=_Command)
@source_argument
@own_option
@where_option
@click.option("--repeats", is_flag=True, help="Fit runs beyond one epoch of their corpus too.")
@click.option("--write", is_flag=True, help="Write the fits to the sweep's law.json, the one that is committed.")
@click.option(
    "-c",
    "--columns",
    multiple=True,
    metavar="NAME=COLUMN",
    help="The column of N, D, P_w, …, of loss (or delta), and, where there is one, of sigma, trunk and status; again "
    "for each.",
)
@click.option("--form", "forms", multiple=True, metavar="FORM", help="A form of law; several are compared.")
@click.option(
    "--holdout",
    "holdouts",
    multiple=True,
    metavar="RULE",
    help="Compare on LargestN, LargestD, LargestC or LowestBits=P_w; several are held out in turn.",
)
@click.option("--fix", "fixed", multiple=True, metavar="NAME=VALUE", help="Hold a parameter, as beta=0.3, or E=floor.")
@click.option("--bound", "bounds", multiple=True, metavar="NAME=LOW:HIGH", help="Bound a parameter, as alpha=0.1:1.")
@click.option(
    "--objective",
    type=click.Choice(["huber", "log", "nats"]),
    help="Of losses: the Huber sum of log residuals (the default), or least squares of log losses or of nats.",
)
@click.option(
    "--threshold",
    type=float,
    help="Of the Huber sum; by default 1e-3, or 1.345 deviations of the noise that replicates show, if more.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the starts and the draws.")
@click.option(
    "--unit",
    type=click.Choice(["nats", "bits", "bpb"]),
    default="nats",
    show_default=True,
    help="Of the loss: nats or bits per token, or bits per byte.",
)
@click.option("--bytes-per-token", type=float, help="Of the evaluation text, to convert bits per byte.")
@click.option("--counts", default="as the table counts", show_default=True, help="What N counts: non-embedding, all, …")
@click.option(
    "--bootstrap", type=click.IntRange(0), default=1000, show_default=True, help="Draws of trunks for the errors."
)
@click.option("--save", type=click.Path(path_type=Path, dir_okay=False), help="Write the fit to this law file.")
@click.pass_context
def command(context: click.Context, /, source: str, columns: tuple[str, ...], **options: Any) -> None:
    """Fit laws to the rows of a sweep, or to a table of your own; health first, then numbers.

    Of a sweep, or of a table that `simlaw table` wrote, that is the loss and the penalty of quantization. A table of
    your own is CSV, Parquet or JSON lines: name its columns and a form of law.

    \b
    Example:
      simlaw fit quickstart
      simlaw fit runs.csv -c N=params -c D=tokens -c loss=val_loss --form Chinchilla --save law.json
    """
    for one in context.command.params:
        if context.get_parameter_source(one.name or "") is not ParameterSource.COMMANDLINE:
            continue
        if columns and one.name in _SWEEP:
            raise SimlawError(f"{one.opts[-1]} is for a sweep and its table: leave it out with --columns")
        if not columns and one.name in _TABLE:
            raise SimlawError(
                f"{one.opts[-1]} is for a table of your own: name its columns, for example -c N=params -c D=tokens "
                "-c loss=val_loss"
            )
    if columns:
        _fit_table(source, named("--columns", columns, "N=params"), options)
    else:
        _fit_sweep(source, options)


def _fit_sweep(source: str, options: Mapping[str, Any]) -> None:
    found = open_source(source, options["own"], options["chosen"])
    if found.file is not None and found.file.sweep.analysis == "claims":
        name = found.file.name
        raise SimlawError(f"{name} asks claims alone, and its rows are for no law: `simlaw claims {name}` judges them")
    if found.file is not None and found.file.sweep.analysis in OF_PRECISION:
        of_precision = OF_PRECISION[found.file.sweep.analysis](found.fitted)
        report, written = (
            precision_report(of_precision, found.fitted),
            precision_json(of_precision, table_sha256(found.rows)),
        )
    else:
        analysis = analyse(found.fitted, repeats=options["repeats"])
        report, written = fit_report(analysis), analysis_json(analysis, table_sha256(found.rows))
    click.echo(report)
    if options["write"]:
        if found.file is None:
            raise SimlawError(f"--write: {source} belongs to no sweep, so it has no law.json; leave --write out")
        write_file(found.file.law, written.encode())
        click.echo(f"\nwritten to {found.file.law}")


def _fit_table(source: str, columns: Mapping[str, str], options: Mapping[str, Any]) -> None:
    for name in ("source", "unit", "bytes_per_token", "counts"):
        if name in columns:
            raise SimlawError(f"--columns names {name}, which is no column: leave it out; see `simlaw fit --help`")
    forms = [_form(name) for name in options["forms"]]
    if not forms:
        raise SimlawError(f"name a form by --form: there are {', '.join(FORMS)}")
    found = fit(
        forms,
        load_table(
            source,
            unit=options["unit"],
            bytes_per_token=options["bytes_per_token"],
            counts=options["counts"],
            **columns,
        ),
        holdout=[_holdout(rule) for rule in options["holdouts"]],
        bootstrap=options["bootstrap"],
        fixed={
            name: "floor" if text == "floor" else _number(text, f"--fix {name}={text}")
            for name, text in named("--fix", options["fixed"], "beta=0.3").items()
        },
        bounds={name: _range(name, text) for name, text in named("--bound", options["bounds"], "alpha=0.1:1").items()},
        objective=options["objective"],
        threshold=options["threshold"],
        seed=options["seed"],
    )
    click.echo(str(found))
    if options["save"]:
        found.save(options["save"])
        click.echo(f"\nwritten to {options['save']}")


def _form(name: str) -> type[AbstractLaw]:
    if name not in FORMS:
        raise SimlawError(
            f"there is no form {name!r}: there are {', '.join(FORMS)}; a form of your own is a Python class, which a "
            "shell cannot name: fit it in a notebook, by simlaw.fit"
        )
    return FORMS[name]


def _holdout(rule: str) -> Holdout:
    largest = {"LargestN": LargestN, "LargestD": LargestD, "LargestC": LargestC}
    if rule in largest:
        return largest[rule]()
    name, _, variable = rule.partition("=")
    if name != "LowestBits" or not variable:
        raise SimlawError(
            f"--holdout {rule}: it must read {', '.join(largest)}, or LowestBits=P_w, for the bits held out"
        )
    return LowestBits(variable)


def _range(name: str, text: str) -> tuple[float, float]:
    low, sign, high = text.partition(":")
    if not sign:
        raise SimlawError(f"--bound {name}={text}: it must read NAME=LOW:HIGH, for example alpha=0.1:1")
    return _number(low, f"--bound {name}={text}"), _number(high, f"--bound {name}={text}")


def _number(text: str, whole: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise SimlawError(f"{whole}: {text!r} is not a number; give one") from error
