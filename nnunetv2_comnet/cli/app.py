"""The `comnet` command: what the stock nnU-Net commands cannot do. One thin file per command beside this one."""

import logging
import sys
from typing import Any

import typer

from nnunetv2_comnet import __version__
from nnunetv2_comnet.cli import (
    calibrate,
    compare,
    convert,
    cv_report,
    doctor,
    env,
    evaluate,
    fit_postprocessing,
    install,
    manifest,
    merge_parts,
    phantom,
    plan,
    predict,
    report,
    verify,
)
from nnunetv2_comnet.errors import ComnetError, printable

log = logging.getLogger(__name__)
INTERRUPTED = 130

_UsageError: type[Exception] = typer.BadParameter.__mro__[1]  # click's, or that of typer's own copy of click
app = typer.Typer(
    name="comnet",
    help="Brain tumour segmentation with CoMNeT on nnU-Net v2: convert, plan, predict, check. Training is nnU-Net's "
    "own command.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("convert")(convert.command)
app.command("plan")(plan.command)
app.command("calibrate")(calibrate.command)
app.command("predict", cls=predict.WithStockFolds)(predict.command)
app.command("merge-parts")(merge_parts.command)
app.command("evaluate")(evaluate.command)
app.command("compare", cls=compare.WithLists)(compare.command)
app.command("cv-report", cls=cv_report.WithLists)(cv_report.command)
app.command("fit-postprocessing", cls=fit_postprocessing.WithLists)(fit_postprocessing.command)
app.command("report", cls=report.WithLists)(report.command)
app.command("manifest")(manifest.command)
app.command("verify")(verify.command)
app.command("install")(install.command)
app.command("phantom")(phantom.command)
app.command("env")(env.command)
app.command("doctor")(doctor.command)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"comnet {__version__}")
        raise typer.Exit()


@app.callback()
def _options(
    version: bool = typer.Option(False, "--version", callback=_show_version, is_eager=True, help="Print the version."),
) -> None:
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("nnunetv2_comnet").setLevel(logging.INFO)


def _tell_usage(error: Any) -> None:
    said = printable(" ".join(error.format_message().split())).rstrip(".")
    if said:  # nothing where there were no words at all: the help was shown
        asked = error.ctx.command_path if error.ctx else "comnet"
        typer.echo(f"comnet: error: {said}; see {asked} --help", err=True)
    sys.exit(error.exit_code)


def main() -> None:
    """Runs the command line; a `ComnetError` becomes one line on standard error and exit code 1.

    So does what the machine lacks: memory, or a file or folder that the system refuses. A mistake in the words
    themselves is one line and exit code 2.
    """
    try:
        code = app(prog_name="comnet", standalone_mode=False)
        if code == INTERRUPTED:  # so typer answers Ctrl-C, and says nothing
            raise KeyboardInterrupt
        sys.exit(code)
    except ComnetError as error:
        typer.echo(f"comnet: error: {error}", err=True)
        sys.exit(1)
    except MemoryError:
        typer.echo("comnet: error: not enough memory; end other programs, or use fewer --jobs", err=True)
        sys.exit(1)
    except OSError as error:
        log.debug("", exc_info=True)
        typer.echo(f"comnet: error: {error.filename or 'a file'}: {error.strerror or error}", err=True)
        sys.exit(1)
    except _UsageError as error:
        _tell_usage(error)
    except (KeyboardInterrupt, typer.Abort):
        typer.echo("comnet: interrupted; run the same command again to go on", err=True)
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
