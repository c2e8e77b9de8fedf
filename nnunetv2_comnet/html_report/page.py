"""The file itself: the template with its style and script, pictures, and cases as text that is decoded when opened.

The page is ASCII, so that a browser reads it fast; names from outside are escaped. A content security policy allows
the page's own style and script by their hash, pictures that it holds itself, and no network.
"""

import base64
import hashlib
import html
import json
import re
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import IO, Any

_SCRIPTS = ("table.js", "volume.js", "draw.js", "viewer.js", "page.js")
_BLOCK = 3 * (1 << 18)  # bytes of a picture at a time: a multiple of 3, so that base64 joins


def write_page(
    stream: IO[bytes], *, title: str, index: dict[str, Any], figures: Sequence[Path], cases: Iterator[bytes]
) -> None:
    """Writes the page. `index`: what page.js draws tables from; `cases`: the elements of `case_element`, in blocks."""
    style, script = _template("report.css"), "\n".join(_template(name) for name in _SCRIPTS)
    parts = {
        "title": _escaped(title),
        "policy": _policy(style, script),
        "style": style,
        "script": script,
        "index": as_script_text(index),
    }
    # Only the template is searched for places, never what was filled in.
    for position, piece in enumerate(re.split(r"\{\{(\w+)\}\}", _template("report.html"))):
        if position % 2 == 0:
            stream.write(piece.encode("ascii"))
        elif piece == "figures":
            _write_figures(stream, figures)
        elif piece == "cases":
            stream.writelines(cases)
        else:
            stream.write(parts[piece].encode("ascii"))


def case_element(number: int, content: dict[str, Any]) -> bytes:
    """Writes the element that holds a case's data, which the browser neither runs nor draws."""
    return f'<script type="application/json" id="case-{number}">{as_script_text(content)}</script>\n'.encode("ascii")


def as_script_text(value: Any) -> str:
    """Writes JSON that may stand inside a script element: no end tag, no comment, only ASCII."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _write_figures(stream: IO[bytes], figures: Sequence[Path]) -> None:
    for path in figures:
        name = _escaped(path.stem.replace("_", " "))
        stream.write(f'<figure><img alt="{name}" decoding="async" src="data:image/png;base64,'.encode("ascii"))
        with open(path, "rb") as source:
            while block := source.read(_BLOCK):
                stream.write(base64.b64encode(block))
        stream.write(f'"><figcaption>{name}</figcaption></figure>\n'.encode("ascii"))


def _policy(style: str, script: str) -> str:
    return (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("ascii")).digest()).decode("ascii")


def _escaped(text: str) -> str:
    return html.escape(text).encode("ascii", "xmlcharrefreplace").decode("ascii")


@cache
def _template(name: str) -> str:
    return (files(__package__) / "template" / name).read_text(encoding="ascii")
