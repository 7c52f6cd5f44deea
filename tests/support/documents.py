"""What documents and examples show: blocks of code, headings, command lines of the program."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import click

from circleci_relay.cli import main

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

A_SOURCE = "\nsources: {circleci: {path: /webhooks/circleci, secrets: [made-up-secret]}}\n"
"""What a relay.yaml of a document is made whole with, where it shows none."""

_FENCED = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A fenced block of a document."""

    line: int
    language: str
    text: str


@cache
def text_of(document: Path) -> str:
    """What stands in a file."""
    return document.read_text(encoding="utf-8")


@cache
def fenced(document: Path) -> tuple[Block, ...]:
    """Every fenced block, without the indentation of the list it may stand in."""
    text = text_of(document)
    return tuple(
        Block(
            text.count("\n", 0, match.start()) + 1,
            match[2],
            re.sub(rf"^{match[1]}", "", match[3], flags=re.MULTILINE),
        )
        for match in _FENCED.finditer(text)
    )


def with_a_source(text: str) -> str:
    """A relay.yaml that loads, of one that a document shows."""
    return text if "\nsources:" in f"\n{text}" else text + A_SOURCE


def slug(heading: str) -> str:
    """The anchor that a heading gets."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@cache
def anchors(document: Path) -> frozenset[str]:
    """What can be linked to in a document."""
    headings = re.findall(r"^#+ (.*)$", text_of(document), re.MULTILINE)
    return frozenset(slug(each) for each in headings)


def parsed(words: Sequence[str]) -> click.Context:
    """A command line of the program, without its name; click.UsageError if it is none."""
    # With the settings of the program: a command keeps the help option it is first asked for.
    context = click.Context(main, **main.context_settings)
    group: click.Group = main
    while True:
        verb, *words = words
        command = group.get_command(context, verb)
        if command is None:
            raise click.UsageError(f"there is no {verb}")
        if not isinstance(command, click.Group) or not words or words[0].startswith("-"):
            return command.make_context(verb, words, parent=context)
        group, context = command, click.Context(command, parent=context, info_name=verb)
