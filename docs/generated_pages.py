"""Adds the pages that are made from the code to the documentation site: the commands and the bad inputs."""

import sys
from pathlib import Path
from typing import Any

import typer

ROOT = Path(__file__).resolve().parents[1]


def on_files(files: Any, config: Any) -> Any:
    """Is called by MkDocs when it has found the pages that are written by hand."""
    from mkdocs.structure.files import File

    sys.path.insert(0, str(ROOT))  # for `tests`, which no package holds
    from tests.bad_inputs.corpus import as_markdown

    for name, text in {"commands": commands(), "bad_inputs": as_markdown()}.items():
        files.append(File.generated(config, f"reference/{name}.md", content=text))
    return files


def commands() -> str:
    """Returns a section per command: what it does, how it is called, and a table of its options."""
    from nnunetv2_comnet.cli.app import app

    root: Any = typer.main.get_command(app)
    lines = ["# Commands", "", root.help, "", "This page is made from the program's own help.", ""]
    for name, command in root.commands.items():
        context = command.make_context(f"comnet {name}", [], resilient_parsing=True)
        usage = " ".join([f"comnet {name}", *command.collect_usage_pieces(context)])
        lines += [f"## comnet {name}", "", _escaped(command.help), "", "```text", usage, "```", ""]
        lines += ["| option | what for |", "| --- | --- |"]
        lines += [f"| `{_names(one)}` | {_cell(one, context)} |" for one in command.params if not one.hidden]
        lines.append("")
    return "\n".join(lines)


def _names(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return parameter.metavar or parameter.name
    return ", ".join([*parameter.opts, *parameter.secondary_opts])


def _cell(parameter: Any, context: Any) -> str:
    default = parameter.default
    text = " ".join(_escaped(parameter.help or "").split())
    if parameter.show_default and default not in (None, False, ()) and not callable(default):
        text += f" Default: `{default}`."
    return (text + (" **Required.**" if parameter.required else "")).replace("|", "\\|")


def _escaped(text: str) -> str:
    return text.replace("\b", "").replace("<", "&lt;").replace("$", "&#36;").strip()
