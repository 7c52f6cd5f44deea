"""Preset files: every packaged one is sound, and a broken one is told at once."""

from __future__ import annotations

import json
from typing import Any

import pytest

from circleci_relay.circleci import samples
from circleci_relay.rendering import preset
from circleci_relay.rendering.preset import (
    MOST_EVENTS,
    OPTION_NAMES,
    BrokenPreset,
    find,
    names,
    read,
)
from circleci_relay.rendering.recipe import Recipe
from circleci_relay.rendering.structure import compile_structure, compile_text
from support.presets import rendered, said, texts
from support.scenes import a_scene

GOOD = """
title: Tiny
about: One line.
sources: [https://docs.example.com/]
options:
  to: {about: Where to., required: true}
  key: {about: A key., secret: true}
  look: {about: How., default: plain, choices: [plain, rich]}
  first: {about: The headline., default: "{{ title }}"}
settings:
  url: "https://api.example.com/{{ options.to }}"
  headers: {authorization: "Key {{ options.key }}"}
  rate_limit: 1/s
groups: true
body:
  content_type: application/vnd.tiny+json
  template: {text: "{{ options.first }}", count: "{{ count }}"}
limits: [Ten a second.]
"""


@pytest.mark.parametrize("name", names())
def test_a_packaged_preset_is_sound(name: str) -> None:
    """It loads, and makes a message of every packaged sample, whatever its options are."""
    found = find(name)
    options: dict[str, Any] = {
        key: compile_structure(option.default, names=OPTION_NAMES)
        if isinstance(option.default, str)
        else "value"
        if option.required
        else option.default
        for key, option in found.options.items()
    }
    recipe = Recipe(
        url=compile_text("https://hooks.example.com/x"),
        kind=found.kind,
        content=found.content,
        content_type=found.content_type,
        options=options,
        groups=bool(found.groups),
    )
    for sample in samples.names():
        body = recipe.make(a_scene(sample)).body

        assert (body is None) == (found.kind == "raw")
        if found.kind == "json" and body is not None:
            json.loads(body)


@pytest.mark.parametrize("name", names())
def test_no_preset_passes_a_secret_label_on(name: str) -> None:
    """A project's labels may hold what only a URL is made of."""
    options = {key: "value" for key, each in find(name).options.items() if each.required}
    made = rendered(
        name,
        "gh_oauth_workflow_failed",
        options=options,
        labels={"team": "payments", "hook": "https://hooks.example.com/nobody-else"},
        secret_labels=frozenset({"hook"}),
    )
    assert b"nobody-else" not in (made.body or b"")
    assert "nobody-else" not in repr((made.url, made.headers))


@pytest.mark.parametrize("name", ["discord", "google-chat", "mattermost", "msteams", "slack"])
def test_a_chat_is_told_what_became_of_several(name: str) -> None:
    """The headline says how they ended, unless the destination has one of its own."""
    sample, *others = (f"gh_oauth_workflow_canceled_burst_{number}_of_4" for number in range(1, 5))
    heads = {
        "4 events of workflow build-and-ship in launchpad: 4 were canceled": None,
        "[test] 4 for people": {"title": "{{ count }} for people"},
    }
    for head, options in heads.items():
        made = rendered(name, sample, others=others, options=options, test=options is not None)
        assert any(head in text.replace("\\", "") for text in texts(said(made)))


def test_a_preset_says_all_of_itself() -> None:
    """Options, settings, body and limits, as its file has them."""
    found = read("tiny", GOOD)

    assert (found.name, found.title, found.groups, found.kind) == (
        "tiny",
        "Tiny",
        MOST_EVENTS,
        "json",
    )
    assert found.content_type == "application/vnd.tiny+json"
    assert found.options["to"].required
    assert found.options["key"].secret
    assert found.options["look"].choices == ("plain", "rich")
    assert found.settings["rate_limit"] == "1/s"
    assert found.limits == ("Ten a second.",)
    assert found.content is not None
    assert found.content.options == {"first"}


def test_an_unknown_preset_is_a_key_error() -> None:
    """Whoever asks for it says what is there instead."""
    with pytest.raises(KeyError):
        find("slacc")
    assert preset.names() == tuple(sorted(preset.names()))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("title: Tiny", "titel: Tiny", "the file has no title"),
        ("title: Tiny", "titel: Tiny", "what is titel?"),
        ("title: Tiny", "title: 7", "title is text"),
        ("title: Tiny", "title: Tiny\ntitle: Tim", "title stands twice"),
        ("groups: true", "groups: yes please", "groups is true, false, or the number"),
        ("sources: [https://docs.example.com/]", "sources: 7", "sources is a list of texts"),
        ("limits: [Ten a second.]", "limits: {a: 1}", "limits is a list of texts"),
        ("about: Where to., ", "", "options.to has no about"),
        ("to: {", "to-do: {", "options.to-do is no name"),
        ("required: true", "required: 1", "required is true or false"),
        ("required: true", "require: true", "options.to: what is require?"),
        ("default: plain", "default: plane", "options.look.default is none of its choices"),
        ("default: plain", "default: [plain]", "options.look.default is a scalar"),
        ("choices: [plain, rich]", "choices: plain", "options.look.choices is a list"),
        ('"{{ title }}"', '"{{ titel }}"', "options.first.default: there is no titel"),
        ('"{{ title }}"', '"{{ options.to }}"', "options.first.default: there is no options"),
        ("{{ options.to }}", "{{ options.too }}", "settings.url: there is no options.too"),
        ("{{ options.to }}", "{{ optoins.to }}", "settings.url: there is no optoins"),
        ("Key {{", "Key {{ {{", "settings.headers.authorization: "),
        ("{{ count }}", "{{ count | nope }}", "body['count']: there is no filter nope"),
        ("template: {", "tempalte: {", "body has one of template, text, form, raw"),
        ("template: {", "text: {", "body.text is not what it should be"),
        ("settings:", "settings: 7\nlimits:", ""),
        ("title: Tiny", "title: [", ""),
    ],
)
def test_a_broken_file_is_told(old: str, new: str, said: str) -> None:
    """The preset's name, the place, and what is wrong."""
    assert old in GOOD
    with pytest.raises(BrokenPreset) as caught:
        read("tiny", GOOD.replace(old, new, 1))

    assert str(caught.value).startswith("preset tiny: ")
    assert said in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "7", "null: 1", "!!python/object:os.system {}"])
def test_a_file_of_something_else_is_told(text: str) -> None:
    """Nothing but a map of the known keys."""
    with pytest.raises(BrokenPreset):
        read("tiny", text)
