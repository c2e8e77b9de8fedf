"""A study's configuration: checked against config.schema.yaml, defaults filled in, one line for a mistake."""

import copy
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import yaml
from jsonschema import Draft202012Validator

SCHEMA = Path(__file__).with_name("config.schema.yaml")
CONVERTED = ("id", "layout", "source")


def read_config(given: Mapping[str, Any]) -> dict[str, Any]:
    """The whole configuration. A mistake ends the program with one line that names the key."""
    schema = yaml.safe_load(SCHEMA.read_text(encoding="utf-8"))
    if not given:
        _end("no configuration was given; name it: --configfile study.yaml (workflow/config.yaml is an example)")
    faults = sorted(Draft202012Validator(schema).iter_errors(dict(given)), key=lambda fault: list(map(str, fault.path)))
    if faults:
        _end("; ".join(_one_line(fault) for fault in faults))
    config: dict[str, Any] = _with_defaults(given, schema, schema["$defs"])
    _check_sets(config)
    return config


def _check_sets(config: Mapping[str, Any]) -> None:
    ids = {config["dataset"]["id"]: "dataset"}
    for name, patients in config["predict"].items():
        where = f"predict.{name}"
        missing = [key for key in CONVERTED if key not in patients]
        if ("images" in patients) == (len(missing) < len(CONVERTED)):
            _end(f"{where}: give either images, or {', '.join(CONVERTED)} of patients to convert")
        if "images" in patients:
            continue
        if missing:
            _end(f"{where}: {missing[0]} is missing; {', '.join(CONVERTED)} belong together")
        if "reference" in patients:
            _end(f"{where}: reference goes with images; converted patients bring their own masks")
        if patients["id"] in ids:
            _end(f"{where}: id {patients['id']} is that of {ids[patients['id']]}; nnU-Net wants each id once")
        ids[patients["id"]] = where


def _with_defaults(value: Any, schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Any:
    """`value` with the default of every property that it does not give; what it gives of a part is kept."""
    if "$ref" in schema:
        schema = {**definitions[schema["$ref"].rpartition("/")[2]], **schema}
    if not isinstance(value, Mapping):
        return value
    known = schema.get("properties", {})
    filled = dict(value)
    for name, part in known.items():
        default = part.get("default", definitions.get(part.get("$ref", "").rpartition("/")[2], {}).get("default"))
        if isinstance(default, Mapping) and isinstance(filled.get(name, {}), Mapping):
            filled[name] = {**default, **filled.get(name, {})}
        elif default is not None and name not in filled:
            filled[name] = copy.deepcopy(default)
    others = schema.get("additionalProperties")
    parts = {name: known.get(name, others if isinstance(others, Mapping) else {}) for name in filled}
    return {name: _with_defaults(filled[name], part, definitions) for name, part in parts.items()}


def _one_line(fault: Any) -> str:
    where = ".".join(str(part) for part in fault.absolute_path)
    text = " ".join(fault.message.split())
    if fault.validator == "additionalProperties":
        known = fault.schema["properties"]
        unknown = ", ".join(f"'{name}'" for name in fault.instance if name not in known)
        text = f"there is no key {unknown}; there are: {', '.join(known)}"
    return f"{where}: {text}" if where else text


def _end(text: str) -> NoReturn:
    sys.exit(f"workflow: error: configuration: {text}")
