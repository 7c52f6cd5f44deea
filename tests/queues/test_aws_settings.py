"""URLs and settings of SQS and SNS: what they come to, and what is said of bad ones."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from circleci_relay.config.aws import URL_READERS, Sns, Sqs, sns_place, sqs_place

QUEUE = "123456789012/ci"
ARN = "arn:aws:sns:eu-west-1:123456789012:ci"


@pytest.mark.parametrize(
    ("url", "region", "fifo"),
    [
        (f"sqs://sqs.eu-west-1.amazonaws.com/{QUEUE}", "eu-west-1", False),
        (f"sqs://sqs.us-gov-west-1.amazonaws.com/{QUEUE}.fifo", "us-gov-west-1", True),
        (f"sqs://sqs.cn-north-1.amazonaws.com.cn/{QUEUE}", "cn-north-1", False),
        (f"sqs://sqs-fips.us-east-2.amazonaws.com/{QUEUE}", "us-east-2", False),
        (f"sqs://sqs.eu-west-1.api.aws/{QUEUE}", "eu-west-1", False),
        (f"sqs://vpce-0a1b-c2.sqs.eu-west-3.vpce.amazonaws.com/{QUEUE}", "eu-west-3", False),
        (f"sqs://eu-west-2.queue.amazonaws.com/{QUEUE}", "eu-west-2", False),
        (f"sqs://queue.amazonaws.com/{QUEUE}", "us-east-1", False),
        ("sqs://message-queue.example.com:8443/b1g/dj6/ci.fifo", "", True),
    ],
)
def test_a_queue_is_named_by_its_own_url(url: str, region: str, *, fifo: bool) -> None:
    """Any URL that AWS gives a queue will do, and that of a service like it."""
    place = sqs_place(url)
    assert (place.region, place.fifo) == (region, fifo)
    assert place.resource == url.replace("sqs://", "https://")
    assert URL_READERS["sqs"](url) == url


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("sqs://sqs.eu-west-1.amazonaws.com/", "names no queue"),
        ("sqs://sqs.eu-west-1.amazonaws.com/s3cr3t/ci", "names no queue"),
        (f"sqs://sqs.eu-west-1.amazonaws.com/123456789012/{'s3cr3t' * 20}", "names no queue"),
        (f"sqs://sqs.eu-west-1.amazonaws.com/{QUEUE}/s3cr3t", "names no queue"),
        (f"sqs://s3.eu-west-1.amazonaws.com/{QUEUE}", "not SQS's"),
        (f"sqs://AKIA:s3cr3t@sqs.eu-west-1.amazonaws.com/{QUEUE}", "a user or password"),
        (f"sqs://sqs.eu-west-1.amazonaws.com/{QUEUE}?key=s3cr3t", r"a \? or #"),
        (f"sqs:///{QUEUE}", "no host"),
        (f"sqs://host:s3cr3t/{QUEUE}", "host or port"),
        (f"sqs://host/{QUEUE} s3cr3t", "a space"),
        (f"https://host/{QUEUE}", "no URL of SQS"),
        ("sqs:s3cr3t", "no URL of SQS"),
    ],
)
def test_what_names_no_queue_is_told_discreetly(url: str, words: str) -> None:
    """A fault is said with what is wanted, and without the URL."""
    with pytest.raises(ValueError, match=words) as caught:
        URL_READERS["sqs"](url)
    assert "s3cr3t" not in str(caught.value)


def test_a_topic_is_named_by_its_arn() -> None:
    """The ARN tells the region; the host is the service's, or that of one like it."""
    place = sns_place(f"sns://sns.eu-west-1.amazonaws.com/{ARN}.fifo")
    assert (place.endpoint, place.region) == ("https://sns.eu-west-1.amazonaws.com", "eu-west-1")
    assert place.resource == f"{ARN}.fifo"
    assert place.fifo
    assert sns_place(f"sns://localhost:4566/{ARN}").endpoint == "https://localhost:4566"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("sns://sns.eu-west-1.amazonaws.com/ci", "names no topic"),
        (f"sns://sns.eu-west-1.amazonaws.com/{ARN}:s3cr3t-1", "a subscription"),
        (f"sns://sns.eu-west-2.amazonaws.com/{ARN}", "two regions"),
        (f"sns://sqs.eu-west-1.amazonaws.com/{ARN}", "not SNS's"),
        (f"sns://a:s3cr3t@host/{ARN}", "a user or password"),
        ("arn:aws:sns:eu-west-1:123456789012:s3cr3t", "no URL of SNS"),
    ],
)
def test_what_names_no_topic_is_told_discreetly(url: str, words: str) -> None:
    """A fault is said with what is wanted, and without the URL."""
    with pytest.raises(ValueError, match=words) as caught:
        URL_READERS["sns"](url)
    assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"access_key_id": "AKIAIOSFODNN7EXAMPLE"}, "secret_access_key"),
        ({"secret_access_key": "s3cr3t"}, "access_key_id"),
        ({"access_key_id": "A", "secret_access_key": "s3cr3t", "profile": "p"}, "exclude"),
        ({"access_key_id": "s3cr3t s3cr3t", "secret_access_key": "x"}, "no access key id"),
        ({"access_key_id": "A", "secret_access_key": "s3cr3t\n"}, "no secret access key"),
        ({"endpoint": "s3cr3t"}, "no http or https URL"),
        ({"regions": "eu-west-1"}, "Extra inputs"),
    ],
)
def test_settings_that_will_not_do_are_told_discreetly(
    settings: dict[str, str], words: str
) -> None:
    """Half a pair of keys, or what is no key at all, is a fault that repeats nothing."""
    with pytest.raises(ValidationError, match=words) as caught:
        Sqs.model_validate(settings)
    assert "s3cr3t" not in str(caught.value)


def test_a_secret_is_shown_nowhere() -> None:
    """Neither by the settings' repr nor by a dump of them."""
    settings = Sns.model_validate({"access_key_id": "A", "secret_access_key": "s3cr3t"})
    assert "s3cr3t" not in f"{settings!r} {settings.model_dump()} {settings.model_dump_json()}"


def test_each_project_is_a_group_unless_told_otherwise() -> None:
    """The group is rendered for each message, and so is a subject if there is one."""
    assert Sqs().templates() == {"group": "{{ project }}"}
    assert Sqs(group="all").templates() == {"group": "all"}
    assert Sns().templates() == {"group": "{{ project }}"}
    assert Sns(subject="{{ title }}").templates()["subject"] == "{{ title }}"
