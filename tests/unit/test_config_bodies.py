"""Bodies, presets and templates: what they come to, how they merge, what they keep secret."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from circleci_relay.config import Destination, Loaded, load
from circleci_relay.config.tree import Map, Scalar, Spot
from circleci_relay.config.typed import as_json, setting
from circleci_relay.errors import ConfigError
from circleci_relay.model import Facts, Told
from circleci_relay.rendering.scene import About, scene_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from circleci_relay.rendering.recipe import Made

SOURCE = "sources: {a: {path: /a, secrets: [made-up-for-tests]}}\n"
HOOK = "https://hooks.example.com/services/T0000/B1111/abcdEFGHijkl"
LABELS = {"team": "payments", "hook": HOOK}
SAMPLE = "gh_oauth_workflow_failed"

Read = Callable[..., Loaded]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Load a file that says this of the destination d, and this beside it."""

    def read_text(settings: str, beside: str = "", **env: str) -> Loaded:
        path = tmp_path / "relay.yaml"
        path.write_text(f"{SOURCE}{beside}destinations:\n  d: {{{settings}}}\n")
        return load([path], env=env)

    return read_text


def made(destination: Destination, labels: Mapping[str, str] = LABELS) -> Made:
    """What *destination* would be sent of a failed workflow."""
    samples = resources.files("circleci_relay.circleci") / "samples"
    body = samples.joinpath(f"{SAMPLE}.json").read_bytes()
    told = Told(
        event="01AN4Z07BY79KA1307SR9X4MV3", source="a", body=body, received_at=1, facts="{}"
    )
    about = About(destination="d", external_url=None, labels=lambda _: labels, now=1.0)
    recipe = destination.recipe
    assert recipe is not None
    return recipe.make(scene_of([told], about))


def body_of(destination: Destination) -> Any:
    """The JSON it would be sent."""
    return json.loads(made(destination).body or b"null")


@pytest.mark.parametrize(
    "settings",
    [
        f"url: '{HOOK}'",
        f"url: '{HOOK}', headers: {{x: y}}",
        f"url: '{HOOK}', body: null",
        "body: {preset: datadog, api_key: made-up-made-up}",
    ],
)
def test_constant_destinations_of_raw_bytes_have_no_recipe(read: Read, settings: str) -> None:
    """Nothing is rendered for those that want what CircleCI sent."""
    assert read(settings).config.destinations["d"].recipe is None


@pytest.mark.parametrize(
    "settings",
    [
        "url: 'https://d.example.com/{{ project }}'",
        "url: 'https://d.example.com/', headers: {x: '{{ branch }}'}",
        "url: 'https://d.example.com/', body: {text: x}",
        "url: 'https://d.example.com/', body: slack",
        "url: 'amqp://d.example.com/'",
    ],
)
def test_others_have_one_and_the_same(read: Read, settings: str) -> None:
    """It is made once."""
    destination = read(settings).config.destinations["d"]
    assert destination.recipe is not None
    assert destination.recipe is destination.recipe
    assert made(destination).url


def test_equal_settings_are_equal_whatever_was_compiled(read: Read) -> None:
    """A reload leaves a destination alone whose settings did not change."""
    text = "url: 'https://d.example.com/{{ branch }}', body: {template: {a: '{{ title }}'}}"
    one, two = (read(text).config.destinations["d"] for _ in range(2))
    assert one.recipe is not None
    assert one == two
    assert one.recipe is not two.recipe


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("{template: {a: true}}", "{template: {a: 1}}"),
        ("{template: {a: 1}}", "{template: {a: 1.0}}"),
        ("{template: {a: 1, b: 2}}", "{template: {b: 2, a: 1}}"),
        ("{text: '{{ title }}'}", "{text: '{{ where }}'}"),
        ("{text: x}", "{text: x, content_type: text/markdown}"),
        ("{text: x}", "{template: x}"),
        ("slack", "discord"),
        ("slack", "{preset: slack, mention: '<!here>'}"),
    ],
)
def test_different_bodies_are_not_equal(read: Read, one: str, other: str) -> None:
    """Whatever changes a message makes a destination another."""
    found = [
        read(f"url: 'https://d.example.com/', body: {body}").config.destinations["d"]
        for body in (one, other)
    ]
    assert found[0] != found[1]


def test_an_empty_preset_option_is_as_good_as_none(read: Read) -> None:
    """`slack` and a map that says no more are the same body."""
    plain, mapped = (
        read(f"url: 'https://d.example.com/', body: {body}").config.destinations["d"]
        for body in ("slack", "{preset: slack, mention: null}")
    )
    assert plain == mapped


def test_settings_merge_in_order(read: Read) -> None:
    """Built-in, then defaults, then the preset's, then the destination's own."""
    beside = "defaults: {timeout: 3s, rate_limit: 9/s, concurrency: 2, retry: {max_attempts: 4}}\n"
    own = "body: slack, url: 'https://hooks.slack.com/services/T0/B0/x', concurrency: 5"
    destination = read(own, beside).config.destinations["d"]
    assert destination.rate_limit is not None
    assert destination.rate_limit.rate == 1.0
    assert (destination.timeout, destination.concurrency) == (3.0, 5)
    assert destination.retry.max_attempts == 4
    assert 404 in destination.retry.dead_on
    taken_away = read(f"{own}, rate_limit: null, retry: {{dead_on: 410}}", beside)
    assert taken_away.config.destinations["d"].rate_limit is None
    assert taken_away.config.destinations["d"].retry.dead_on == (410,)


def test_a_body_takes_the_place_of_the_default_one(read: Read) -> None:
    """Whole: of two bodies none is made."""
    beside = "defaults: {body: {preset: slack, mention: '<!here>'}}\n"
    url = "url: 'https://d.example.com/'"
    of_defaults = read(url, beside).config.destinations["d"]
    assert of_defaults.body is not None
    assert "<!here>" in str(body_of(of_defaults))
    own = read(f"{url}, body: {{text: hello}}", beside).config.destinations["d"]
    assert made(own).body == b"hello"
    same = read(f"{url}, body: slack", beside).config.destinations["d"]
    assert "<!here>" not in str(body_of(same))
    assert read(f"{url}, body: null", beside).config.destinations["d"].recipe is None


def test_made_in_code_a_destination_is_as_complete() -> None:
    """A preset brings its settings along wherever it is named."""
    destination = Destination.model_validate(
        {"body": {"preset": "pagerduty", "routing_key": "made-up", "region": "eu"}}
    )
    assert destination.url.get_secret_value() == "https://events.eu.pagerduty.com/v2/enqueue"
    assert destination.rate_limit is not None
    own = Destination.model_validate(
        {"url": HOOK, "body": {"template": {"n": 1, "t": "{{ type }}"}}}
    )
    assert body_of(own) == {"n": 1, "t": "workflow-completed"}


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://d.example.com:8443/{{ labels.hook }}", "https://d.example.com:8443"),
        ("https://d.example.com?x={{ title }}", "https://d.example.com"),
        ("https://{{ labels.team }}.example.com/x", "by template"),
        ("{{ labels.hook }}", "by template"),
        (
            "{% if labels.hook %}{{ labels.hook }}{% else %}https://d.example.com/{% endif %}",
            "by template",
        ),
    ],
)
def test_of_a_templated_url_only_what_is_constant_is_shown(
    read: Read, url: str, shown: str
) -> None:
    """Scheme and host, if every message has the same."""
    loaded = read(f'url: "{url}"')
    assert loaded.config.destinations["d"].display == shown
    assert loaded.config.masked()["destinations"]["d"]["url"] == shown


def test_labels_and_facts_make_urls_and_headers(read: Read) -> None:
    """What comes from an event is percent-encoded, what comes from the file is not."""
    destination = read(
        "url: '{{ labels.hook }}/{{ subject }}?p={{ project }}',"
        "headers: {X-Team: '{{ labels.team }}'}"
    ).config.destinations["d"]
    message = made(destination)
    assert message.url.startswith(f"{HOOK}/Fix%20fuel%20gauge")
    assert message.url.endswith("?p=github%2Facme-rockets%2Flaunchpad")
    assert message.headers == {"x-team": "payments"}
    assert message.body is None


def test_a_url_of_constant_options_is_constant(read: Read) -> None:
    """It is made and checked when the file is read; of an option by template it is not."""
    base = "body: {preset: datadog, api_key: %s, site: %s}"
    constant = read(base % ("made-up-made-up", "datadoghq.eu")).config.destinations["d"]
    assert constant.display == "https://webhook-intake.datadoghq.eu"
    assert constant.recipe is None
    moving = read(base % ("'{{ labels.team }}'", "datadoghq.eu")).config.destinations["d"]
    assert "dd-api-key=payments" in made(moving).url


@given(held=st.text("{}%#'\" ax$é|", max_size=8))
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40
)
def test_what_a_variable_holds_is_never_run(read: Read, held: str) -> None:
    """It comes out as it is, or the file is refused."""
    for brace in ("", "{"):
        template = f"['${{env:X}}', 'a {brace}${{env:X}}']"
        text = f"url: 'https://d.example.com/', body: {{template: {template}}}"
        try:
            destination = read(text, X=held).config.destinations["d"]
        except ConfigError:
            assert any(mark in brace + held for mark in ("{{", "{%", "{#"))
        else:
            assert body_of(destination) == [held, f"a {brace}{held}"]


@given(held=st.sampled_from(["{{ x", "a {{ title }}", "{% x", "{#"]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_header_without_marks_of_its_own_is_no_template(read: Read, held: str) -> None:
    """A password may look like one."""
    destination = read("url: 'https://d.example.com/', headers: {x: '${env:X}'}", X=held).config
    assert destination.destinations["d"].headers["x"].get_secret_value() == held
    assert destination.destinations["d"].recipe is None


def test_an_option_is_no_template_by_what_a_variable_holds(read: Read) -> None:
    """Secret or not, it is refused."""
    for option in ("routing_key: '${env:X}'", "routing_key: x, severity: '${env:X}'"):
        with pytest.raises(ConfigError, match="is text, and no template"):
            read(f"body: {{preset: pagerduty, {option}}}", X="{{ payload }}")


def test_secrets_of_bodies_and_labels_are_known(read: Read) -> None:
    """Secret options, labels that are URLs, what variables held, long constants in templates."""
    loaded = read(
        "url: 'https://d.example.com/abcdefghijklmnopqrst/{{ branch }}',"
        "headers: {authorization: 'Bearer zyxwvutsrqponmlkjihg-{{ labels.team }}'},"
        "body: {preset: pagerduty, routing_key: made-up-routing-key}",
        f"projects: {{acme/api: {{hook: '{HOOK}', key: '${{env:KEY}}', team: payments}}}}\n",
        KEY="key-of-a-label",
    )
    known = loaded.config.secret_values
    assert known >= {
        "made-up-routing-key",
        HOOK,
        "/services/T0000/B1111/abcdEFGHijkl",
        "key-of-a-label",
        "abcdefghijklmnopqrst",
        "zyxwvutsrqponmlkjihg-",
    }
    assert "payments" not in known
    shown = repr(loaded) + str(loaded.config) + json.dumps(loaded.config.masked())
    for secret in known:
        assert secret not in shown


def test_a_template_is_in_no_repr(read: Read) -> None:
    """It may hold a token that nobody marked as one."""
    template = (
        "{token: made-up-token-of-a-body, text: made-up-text, key: [x], api_key: '{{ url }}'}"
    )
    loaded = read(f"url: 'https://d.example.com/', body: {{template: {template}}}")
    assert "made-up-token-of-a-body" in loaded.config.secret_values
    assert not loaded.config.secret_values & {"made-up-text", "x", "{{ url }}"}
    destination = loaded.config.destinations["d"]
    assert destination.recipe is not None
    for shown in (repr(loaded), repr(destination), repr(destination.recipe)):
        assert "made-up-token-of-a-body" not in shown
    assert loaded.config.masked()["destinations"]["d"]["body"] == "template"


def plain(text: str) -> Scalar:
    """A scalar written without quotes."""
    return Scalar.at(text, Spot("f", 1, 1, ()), Path(), plain=True)


@given(
    text=st.text(max_size=20)
    | st.from_regex(r"[-+]?[0-9.]{1,25}([eE][-+]?[0-9]{1,4})?", fullmatch=True)
)
def test_any_plain_scalar_is_json_or_refused(text: str) -> None:
    """What is taken survives JSON, and numbers stay what they are."""
    faults: list[Any] = []
    value = as_json(plain(text), faults)
    if not faults:
        assert json.loads(json.dumps(value, allow_nan=False)) == value
        if isinstance(value, str):
            assert value == text
    assert isinstance(setting(plain(text)), str | int | float | bool | None)


@pytest.mark.parametrize(
    "text", ["007", "1e5", "1.10", "12345678901234567890", "0x1F", ".nan", "no"]
)
def test_an_option_is_what_was_written(text: str) -> None:
    """A key of digits is no number."""
    assert setting(plain(text)) == text


def test_structures_are_typed_in_depth() -> None:
    """Each fault has its path."""
    grown = Map(Spot("f", 1, 1, ()))
    grown.put("a", [plain("1"), plain("007"), {"b": plain(".inf")}], grown.spot)
    faults: list[Any] = []
    as_json(grown, faults)
    assert [path for path, _ in faults] == [("a", 1), ("a", 2, "b")]


def test_labels_reach_routes(read: Read) -> None:
    """A project's labels are those of every pattern it meets; later ones win."""
    table = read(
        "url: 'https://d.example.com/'",
        "projects: {'acme/*': {team: platform, tier: 1}, acme/api: {team: payments}}\n"
        "routes: {r: {to: d, match: {labels: {team: payments}}}}\n",
    ).config.table
    labels = table.labels.of(Facts(type="workflow-completed", project="acme/api"))
    assert dict(labels) == {"team": "payments", "tier": "1"}
