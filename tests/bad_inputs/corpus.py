"""All cases, in the order of the listing."""

from tests.bad_inputs import (
    convert_cases,
    evaluate_cases,
    name_cases,
    other_cases,
    plan_cases,
    predict_cases,
    train_cases,
)

_CASES = (
    *convert_cases.CASES,
    *plan_cases.CASES,
    *train_cases.CASES,
    *predict_cases.CASES,
    *evaluate_cases.CASES,
    *other_cases.CASES,
    *name_cases.CASES,
)
_COMMANDS = list(dict.fromkeys(case.command for case in _CASES))
CORPUS = tuple(sorted(_CASES, key=lambda case: _COMMANDS.index(case.command)))


def as_markdown() -> str:
    """Lists each case with the message that it gets, as the corpus declares it: a page of the documentation site."""
    lines = [
        "# Bad inputs and what they get",
        "",
        f"{len(CORPUS)} cases, made by code in `tests/bad_inputs/` and run through the command line by a test.",
        "`<HERE>` is a folder of the case's own, `<MODEL>` and `<REFINED>` trained models, `<...>` what may vary.",
        "`python -m tests.bad_inputs` runs them and prints what was seen; `--write-docs PATH` writes this page.",
    ]
    command = ""
    for number, case in enumerate(CORPUS, 1):
        if case.command != command:
            command = case.command
            lines += ["", f"## {command}", "", "| # | input | exit code | message |", "| --- | --- | --- | --- |"]
        message = case.message.replace("|", "\\|")
        message = f"`` {message} ``" if "`" in message else f"`{message}`"
        lines.append(f"| {number} | {case.title} | {case.code} | {message} |")
    return "\n".join(lines) + "\n"
