"""The command line: `simlaw COMMAND`; each command is a file, imported when it is called."""

import importlib
import os
from gc import set_threshold
from typing import Any

import click

from simlaw.cli.options import in_options
from simlaw.errors import SimlawError
from simlaw.version import __version__

#: Each command's module below this package, in the order of the data flow, with its line in the overview.
_COMMANDS = {
    "corpus": "Print what a corpus looks like, and its exact floors.",
    "plan": "Show a sweep's cells and their cost; nothing is run.",
    "simulate": "Draw a sweep's table from a known law, with noise; nothing is trained.",
    "run": "Compute what is missing of a sweep.",
    "manifest": "Print a sweep's work as Jobs of Kubernetes.",
    "status": "Count a sweep's runs by condition: done, running, failed, missing.",
    "show": "Show a run's spec, history, rows and a text sample.",
    "teach": "Sample a corpus with an exact floor from a trained model.",
    "table": "Print or write a sweep's table as CSV or Parquet.",
    "fit": "Fit laws to a sweep's table, or to a table of your own.",
    "health": "Say whether the loss curves of all sizes collapse on one.",
    "rates": "Say which learning rate each size and training precision wants.",
    "claims": "Say which claims of the register a table holds up.",
    "decide": "Say which size at which precision is best under a budget.",
    "next": "Name the runs that would narrow a decision most.",
    "laws": "List published laws, with their sources.",
    "allocate": "Say how many parameters and tokens a budget of FLOPs is best spent on.",
    "figure": "Draw a figure from a sweep's table.",
    "reproduce": "Plan, run what is missing, fit, draw and decide.",
    "mirror": "Write training histories for TensorBoard or W&B.",
    "gc": "Remove from the store what no sweep uses.",
    "work": "Work through a manifest: what a batch job calls.",
}


class _Group(click.Group):
    """Imports a command's module only when it is asked for: help, and laws of a table, never wait for JAX."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        if cmd_name != "work":
            # planning and fitting need no accelerator, and must not take its memory from the workers
            os.environ.setdefault("JAX_PLATFORMS", "cpu")
        command: click.Command = importlib.import_module(f"simlaw.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))

    def make_context(self, *args: Any, **more: Any) -> click.Context:
        try:
            return super().make_context(*args, **more)
        except click.exceptions.NoArgsIsHelpError:
            raise
        except click.UsageError as error:
            _tell(error, "simlaw")
            raise click.exceptions.Exit(2) from error

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except SimlawError as error:
            command = self.get_command(ctx, ctx.invoked_subcommand) if ctx.invoked_subcommand else None
            click.echo(f"simlaw: {in_options(str(error), command)}", err=True)
            ctx.exit(2)
        except OSError as error:
            if error.filename is None:
                raise
            name = f"{error.filename!r:.60}"
            click.echo(f"simlaw: cannot use {name} ({error.strerror}): give another path, or mend this one", err=True)
            ctx.exit(2)
        except click.UsageError as error:
            # what the parser itself finds knows no context
            _tell(error, " ".join(filter(None, ("simlaw", ctx.invoked_subcommand))))
            ctx.exit(2)
        except KeyboardInterrupt:
            click.echo("stopped; whatever was finished is kept, and the same command goes on from there", err=True)
            ctx.exit(130)


def _tell(error: click.UsageError, called: str) -> None:
    """Say what is wrong with an option or argument in one line, as of every mistake that a person can mend."""
    said = error.format_message().rstrip(".")
    of = error.ctx.command_path if error.ctx else called
    click.echo(f"simlaw: {said[:1].lower()}{said[1:]}: `{of} --help` shows what there is", err=True)


@click.group("simlaw", cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, message="simlaw %(version)s")
def cli() -> None:
    """When does quantizing a large language model lose to training a smaller one?

    A sweep is a folder with a sweep.py; give its name below sweeps/, or its path.

    \b
    Example:
      simlaw reproduce quickstart
    """


def main() -> None:
    """Run the command line and exit."""
    # plans and tables are values by the hundred thousand with hardly a cycle: the search took a tenth of their time
    set_threshold(50_000)
    cli(prog_name="simlaw")
