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
for module in (
    convert,
    plan,
    calibrate,
    predict,
    merge_parts,
    evaluate,
    compare,
    cv_report,
    fit_postprocessing,
    report,
    manifest,
    verify,
    install,
    phantom,
    env,
    doctor,
):  # in the order of `comnet --help`
    name = module.__name__.rpartition(".")[2].replace("_", "-")
    app.command(name, cls=getattr(module, "COMMAND_CLASS", None))(module.command)


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


def _show_usage_error(error: Any) -> None:
    said = printable(" ".join(error.format_message().split())).rstrip(".")
    if said:  # without any words, the help was shown and there is nothing to say
        asked = error.ctx.command_path if error.ctx else "comnet"
        typer.echo(f"comnet: error: {said}; see {asked} --help", err=True)
    sys.exit(error.exit_code)


def _fail(text: str) -> None:
    typer.echo(f"comnet: error: {text}", err=True)
    sys.exit(1)


def main() -> None:
    """Runs the command line; each error becomes one line on standard error.

    The exit code is 1 for a `ComnetError`, too little memory and files that the system refuses, 2 for words that are
    no command, and 130 after Ctrl-C.
    """
    try:
        code = app(prog_name="comnet", standalone_mode=False)
        if code == INTERRUPTED:  # typer's answer to Ctrl-C
            raise KeyboardInterrupt
        sys.exit(code)
    except ComnetError as error:
        _fail(str(error))
    except MemoryError:
        _fail("not enough memory; end other programs, or use fewer --jobs")
    except OSError as error:
        log.debug("", exc_info=True)
        _fail(f"{error.filename or 'a file'}: {error.strerror or error}")
    except _UsageError as error:
        _show_usage_error(error)
    except (KeyboardInterrupt, typer.Abort):
        typer.echo("comnet: interrupted; run the same command again to go on", err=True)
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
