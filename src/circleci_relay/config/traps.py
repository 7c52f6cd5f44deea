"""What a YAML parser says, put as what is wrong in the file and what would be right."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import yaml

QUOTE = "put it in single quotes"

# libyaml and the pure Python parser word the same problems differently.
_SAID = (
    (
        r"unknown escape|hexdecimal number|hexadecimal numbers|invalid Unicode character escape",
        (
            "a backslash in double quotes begins an escape, and this is none; "
            "put it in single quotes, where a backslash is itself"
        ),
    ),
    (r"tab character (where|that)", "a tab; YAML indents with spaces only"),
    (
        r"mapping values are not allowed",
        (
            "a ': ' where no key can stand; put the text in single quotes if it belongs to the "
            "value, or check the indentation"
        ),
    ),
    (
        r"block sequence entries are not allowed|sequence entries are not allowed",
        "a '- ' where no list can begin; put each item on a line of its own, or in [ and ]",
    ),
    (
        r"mapping keys are not allowed",
        f"a '? ' begins a key in YAML, and none can stand here; {QUOTE}",
    ),
    (r"unexpected end of stream|unexpected document separator", "a quote that is never closed"),
    (r"expected ',' or '\]'", "a [ that is not closed rightly; wanted a comma or ]"),
    (r"expected ',' or '\}'", "a { that is not closed rightly; wanted a comma or }"),
    (
        r"could not find expected ':'|could not find expected ':'",
        "a line that is neither 'key: value' nor '- item'; wanted a colon and a space after a key",
    ),
    (
        r"expected '-' indicator",
        "a line that does not fit the list above it; check the indentation",
    ),
    (
        r"expected key|expected <block end>",
        (
            "this does not fit what stands before it: check the indentation, and put a value that "
            "has quotes or brackets in its middle into single quotes"
        ),
    ),
    (
        r"node content",
        f"a value cannot begin with this character; {QUOTE}",
    ),
    (r"incompatible YAML document", "another version of YAML; leave the %YAML line out"),
    (r"expected '?<document start>", "text after the end of the document; leave the ... line out"),
)
_FIRST = {
    "*": "* begins a YAML alias",
    "&": "& begins a YAML anchor",
    "!": "! begins a YAML tag",
    "%": "a value cannot begin with %",
    "@": "a value cannot begin with @",
    "`": "a value cannot begin with a backquote",
}


def explain(error: yaml.MarkedYAMLError, text: str) -> tuple[int, int, str]:
    """The line and column of *error* in *text*, and what to say; never a line of the text."""
    problem, context = error.problem or "", error.context or ""
    mark = error.problem_mark or error.context_mark
    opened = re.search(r"end of stream|document separator|expected ',' or", problem)
    if error.context_mark and (opened or re.search(r"alias|anchor|a tag$", context)):
        # Where it begins tells more than where the parser gave up.
        mark = error.context_mark
    if mark is None:
        return 1, 1, "not YAML"
    line, column = mark.line + 1, mark.column + 1
    char = _char_at(text, line, column)
    if "cannot start any token" in problem and char == "\t":
        return line, column, "a tab; YAML indents with spaces only"
    if char in _FIRST and re.search(
        r"cannot start any token|alias|anchor|a tag$", problem + context
    ):
        return line, column, f"{_FIRST[char]}; {QUOTE}"
    if "node content" in problem and not char.strip() and line >= text.rstrip().count("\n") + 1:
        return line, column, "the file ends inside a [ or {; close it"
    for pattern, said in _SAID:
        if re.search(pattern, problem):
            return line, column, said
    return line, column, f"not YAML; {QUOTE} if it is meant as text"


def _char_at(text: str, line: int, column: int) -> str:
    lines = re.split(r"\r\n|[\r\n\x85\u2028\u2029]", text, maxsplit=line)
    row = lines[line - 1] if len(lines) >= line else ""
    found = row[column - 1 : column]
    # libyaml points at the line's begin where a tab stands in its indentation.
    return "\t" if re.match(r" *\t", row[column - 1 :]) and found in {"", " "} else found
