"""Recipes: URLs that stay where they should, headers, forms, options, and the bytes made."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qsl

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from circleci_relay.errors import RenderError
from circleci_relay.rendering.address import check_url, compile_url
from circleci_relay.rendering.recipe import Recipe
from circleci_relay.rendering.structure import TemplateFaults, compile_structure, compile_text
from support.scenes import a_scene, with_subject

URL = compile_text("https://hooks.example.com/x")


def made_url(raw: str, **scene: Any) -> str:
    """The URL a template comes to."""
    return Recipe(url=compile_url(raw)).make(a_scene() | scene).url


@pytest.mark.parametrize(
    ("raw", "made"),
    [
        ("https://h/{{ branch }}", "https://h/a%2F..%2Fb%3F%23"),
        (
            "https://h/{{ labels.channel }}/{{ branch | urlencode }}",
            "https://h/x/y/a%2F..%2Fb%3F%23",
        ),
        ("https://{{ labels.host }}/{{ type }}", "https://eu.example.com/workflow-completed"),
        ("{{ labels.base }}/{{ type }}", "https://eu.example.com:8443/workflow-completed"),
        ("https://h/{% set c = labels.channel %}{{ c }}", "https://h/x%2Fy"),
        ("https://h/{% if branch %}b{% else %}t{% endif %}", "https://h/b"),
        ("https://h/{{ '/' }}{{ labels[type] }}", "https://h//"),
        ("HTTPS://h/{{ type }}", "HTTPS://h/workflow-completed"),
        ("http://[::1]:8080/{{ type }}", "http://[::1]:8080/workflow-completed"),
        ("amqps://h:5671/v?x={{ branch }}", None),
        ("{{ labels.ftp }}/{{ type }}", None),
        ("{{ labels.user }}/{{ type }}", None),
        ("https://:443/{{ type }}", None),
        ("https://a,b/{{ type }}", None),
        ("https://h/{{ labels.fragment }}", None),
        ("https://h/ü/{# nothing #}", None),
        ("https://h/{{ labels.space }}", None),
        ("https://h/{{ labels.dots }}/x", None),
        ("https://h/{{ dots }}", None),
        ("https://{{ labels.nothing }}/x", None),
        ("{{ labels.nothing }}/x", None),
        ("https://h:{{ labels.host }}/x", None),
        ("https://h/{{ payload.project.name | upper }}{{ '%' }}2e", "https://h/LAUNCHPAD%2e"),
    ],
)
def test_urls(raw: str, made: str | None) -> None:
    """What comes from an event is percent-encoded; labels are not; all of it is looked at again."""
    scene = {
        "branch": "a/../b?#",
        "labels": {
            "channel": "x/y", "host": "eu.example.com", "base": "https://eu.example.com:8443",
            "space": "a b", "dots": "..", "ftp": "ftp://h", "user": "https://u:p@h",
            "fragment": "a#b",
        },
    }  # fmt: skip
    raw = raw.replace("{{ dots }}", "{{ subject }}")
    if made is None:
        with pytest.raises(RenderError, match=r"^url: the "):
            made_url(raw, **scene, subject="..")
    else:
        assert made_url(raw, **scene) == made


@pytest.mark.parametrize(
    "raw",
    [
        "https://{{ branch }}.example.com/",
        "https://{{ labels.host or branch }}/",
        "{{ url }}",
        "{{ url }}/x",
        "{{ labels.base }}{{ branch }}/x",
        "{{ options.scheme }}://{{ branch }}/",
        "https://h{% if branch %}.evil.example{% endif %}{{ tag }}/",
        "https://h:{{ pipeline_number }}/",
        "https:/{{ branch }}/x",
        "{% for x in events %}https://{{ x.branch }}/{% endfor %}",
        "https://{% set labels = branch %}{{ labels }}/",
        "https://h/{{ titel }}",
    ],
)
def test_no_event_chooses_the_host(raw: str) -> None:
    """In front of the path only labels and options may stand."""
    with pytest.raises(TemplateFaults):
        compile_url(raw)


@given(st.text(st.characters(codec=None, exclude_categories=()), max_size=40))
@example("..")
@example("/../../admin?x#y")
@example("@evil.example/")
def test_no_subject_leaves_its_place_in_a_url(subject: str) -> None:
    """One segment of the path stays one, and the host what it was."""
    try:
        url = made_url("https://hooks.example.com/a/{{ subject }}/b?c={{ subject }}&d=1",
                       subject=subject)  # fmt: skip
    except RenderError:
        assert subject in {".", ".."}
    else:
        path, _, query = url.removeprefix("https://hooks.example.com").partition("?")
        assert path.count("/") == 3
        assert query.count("=") == 2
        assert check_url(url) == url


@settings(deadline=None)
@given(st.text(st.characters(codec=None, exclude_categories=()), max_size=40))
@example("a\r\nx-evil: 1")
@example("Zoë — x")
def test_headers_are_single_printable_lines(subject: str) -> None:
    """Latin-1 that any server takes; what gives nothing is left out."""
    recipe = Recipe(url=URL, headers={
        "x-subject": compile_text("{{ payload.pipeline.vcs.commit.subject }}"),
        "x-tag": compile_text("{{ tag }}"),
        "x-as-it-is": compile_text(""),
    })  # fmt: skip
    headers = recipe.make(with_subject(subject)).headers

    value = headers.get("x-subject", "")
    assert all(" " <= each <= "~" or "\xa0" <= each <= "\xff" for each in value)
    assert value == value.strip(" ")
    assert headers["x-as-it-is"] == ""
    assert "x-tag" not in headers


def test_bodies() -> None:
    """Each kind gives its bytes and its content type."""
    scene = a_scene(number=float("inf"))
    structure = compile_structure({"t": "{{ title }}", "n": "{{ payload.number }}", "é": [None]})
    form = compile_structure({"p": {"a": "{{ took }}"}, "n": None, "l": [1, True], "s": "ü&="})

    assert Recipe(url=URL).make(scene).body is None
    assert Recipe(url=URL).make(scene).content_type is None
    made = Recipe(url=URL, kind="json", content=structure).make(scene)
    assert made.content_type == "application/json"
    assert made.body == json.dumps(
        {"t": scene["title"], "n": None, "é": [None]}, ensure_ascii=False, separators=(",", ":")
    ).encode()  # fmt: skip
    made = Recipe(url=URL, kind="text", content=compile_text("ü {{ said }}")).make(scene)
    assert (made.body, made.content_type) == ("ü failed".encode(), "text/plain; charset=utf-8")
    made = Recipe(url=URL, kind="form", content=form, content_type="x/y").make(scene)
    assert made.body is not None
    assert parse_qsl(made.body.decode()) == [
        ("p", '{"a":223.435}'), ("l", "1"), ("l", "true"), ("s", "ü&="),
    ]  # fmt: skip
    assert made.content_type == "x/y"


def test_options_are_rendered_first() -> None:
    """They may be templates, keep their types, and are in reach everywhere else."""
    recipe = Recipe(
        url=compile_url("https://{{ options.host }}/{{ options.to }}"),
        headers={"x-to": compile_text("{{ options.to }}")},
        kind="json",
        content=compile_structure({"to": "{{ options.to }}", "n": "{{ options.n + 1 }}"}),
        options={
            "host": "h.example.com", "n": 1, "none": compile_structure("{{ tag }}"),
            "to": compile_text("{{ labels.team }}"),
        },
        address={"key": compile_text("{{ project_name }}.{{ type }}")},
    )  # fmt: skip
    made = recipe.make(a_scene())

    assert made.url == "https://h.example.com/payments"
    assert made.headers == {"x-to": "payments"}
    assert made.body == b'{"to":"payments","n":2}'
    assert made.address == {"key": "launchpad.workflow-completed"}
    assert recipe.names == {"options", "labels", "tag", "project_name", "type"}


def test_a_recipe_knows_what_labels_it_asks_for() -> None:
    """In any of its parts."""
    recipe = Recipe(
        url=compile_url("https://h/{{ labels.a }}"),
        headers={"x-b": compile_text("{{ labels.b }}")},
        content=compile_structure(["{{ labels.c }}"]),
        options={"n": 1, "d": compile_structure("{{ labels.d }}")},
        address={"key": compile_text("{{ labels.e }}")},
    )

    assert recipe.labels_asked == set("abcde")
    assert Recipe(url=URL).labels_asked == frozenset()


@pytest.mark.parametrize(
    ("part", "place"),
    [
        ({"content": compile_structure({"a": ["{{ title + 1 }}"]})}, "body.a[0]: "),
        ({"headers": {"x-a": compile_text("{{ title + 1 }}")}}, "headers.x-a: "),
        ({"options": {"mention": compile_text("{{ title + 1 }}")}}, "mention: "),
        ({"address": {"topic": compile_text("{{ title + 1 }}")}}, "topic: "),
    ],
)
def test_an_error_says_where(part: dict[str, Any], place: str) -> None:
    """The place, the reason, and nothing of the event or the URL."""
    with pytest.raises(RenderError) as caught:
        Recipe(url=URL, kind="json", **part).make(a_scene())

    assert str(caught.value).startswith(place)
    assert "launchpad" not in str(caught.value)


def test_nothing_secret_shows() -> None:
    """Neither a recipe nor a message tells its URL or headers when printed."""
    recipe = Recipe(url=compile_text("https://h/secret"), headers={"a": compile_text("secret")})
    made = recipe.make(a_scene())

    assert "secret" not in repr(recipe) + repr(made)


@pytest.mark.parametrize(
    "url", ["{{ labels.slack }}", "https://hooks.example.com/{{ labels.slack }}/x"]
)
def test_a_url_without_its_label_is_said(url: str) -> None:
    """Rather than a message that goes somewhere else."""
    recipe = Recipe(url=compile_url(url))
    assert recipe.url.labels == {"slack"}
    with pytest.raises(RenderError, match=r"^url: the event's project has no label slack$"):
        recipe.make({"labels": {}})
    or_else = Recipe(url=compile_url("https://x.example.com/{{ labels.a or 'all' }}"))
    assert or_else.make({"labels": {}}).url == "https://x.example.com/all"


@pytest.mark.parametrize(
    ("url", "needed"),
    [
        ("https://x.example.com/{{ labels['a'] }}", {"a"}),
        ("https://x.example.com/{{ labels.get('a') | urlencode }}", {"a"}),
        ("https://x.example.com/{{ labels.a ~ labels.b }}", {"a", "b"}),
        ("https://x.example.com/{{ labels.a | default('all') }}", set()),
        ("https://x.example.com/{{ labels.a if labels.a else 'all' }}", set()),
        ("https://x.example.com/{% if labels.a %}{{ labels.a }}{% endif %}", set()),
        ("https://x.example.com/?room={{ labels.a }}", set()),
        ("https://x.example.com/{{ branch }}", set()),
    ],
)
def test_which_labels_a_url_needs(url: str, needed: set[str]) -> None:
    """Those that make a part of its path by themselves."""
    assert compile_url(url).labels == needed


def test_a_slash_in_one_arm_begins_no_path() -> None:
    """In the other arm, what follows would be the host."""
    with pytest.raises(TemplateFaults, match="in front of"):
        compile_url("https://{% if labels.h %}{{ labels.h }}/{% endif %}{{ branch }}")
    whole = compile_url(
        "{% if labels.h %}{{ labels.h }}{% else %}https://x.example.com/{% endif %}"
    )
    assert whole.render({"labels": {}}) == "https://x.example.com/"


def test_what_is_nested_too_deeply_is_a_fault() -> None:
    """And nothing that a reload could not go on after."""
    for intricate in ("{{ " + "1+" * 3000 + "1 }}", "{{ 'x'" + "|lower" * 3000 + " }}"):
        for compiled in (compile_text, compile_structure, compile_url):
            with pytest.raises(TemplateFaults):
                compiled(intricate)


def test_a_required_option_that_comes_to_nothing_is_said() -> None:
    """Rather than a key that is empty."""
    recipe = Recipe(
        url=compile_url("https://x.example.com/?key={{ options.key }}"),
        options={"key": compile_structure("{{ labels.key }}")},
        required=frozenset({"key"}),
    )
    with pytest.raises(RenderError, match=r"^the option key is empty for this event$"):
        recipe.make({"labels": {}})
    assert recipe.make({"labels": {"key": "k"}}).url == "https://x.example.com/?key=k"
