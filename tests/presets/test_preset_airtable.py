"""Airtable: its usual Python client, and the limits that its API documents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyairtable

from circleci_relay.rendering import preset
from support.heard import heard
from support.presets import SAMPLES, rendered, said
from support.rounds import rounds

if TYPE_CHECKING:
    from collections.abc import Mapping

OPTIONS = {"token": "pat0123456789", "base": "appLkNDICXNqxSDhG", "table": "CI Runs/2026"}
FIELDS = {
    "Event", "Project", "Workflow", "Job", "Status", "Branch", "Tag", "Commit", "Subject",
    "Author", "Finished", "Seconds", "Pipeline", "Link",
}  # fmt: skip
MOST_CHARACTERS = 100_000  # of a cell


def test_every_record_is_one_that_airtable_takes(payloads: Mapping[str, Any]) -> None:
    """One record, of known fields, each a text or a number."""
    for name, made in rounds("airtable", payloads, OPTIONS):
        body = said(made)
        assert body.keys() == {"typecast", "records"}, name
        [record] = body["records"]
        assert record.keys() == {"fields"}, name
        assert {"Event", "Finished"} <= record["fields"].keys() <= FIELDS, name
        for field, value in record["fields"].items():
            kind = int if field in {"Seconds", "Pipeline"} else str
            assert type(value) is kind, f"{name}: {field}"
            assert value != "", f"{name}: {field}"
            assert len(str(value)) <= MOST_CHARACTERS, f"{name}: {field}"


def test_its_own_client_sends_the_same() -> None:
    """The client, asked for the same records, makes the same request, if more explicit."""
    others = ("gh_oauth_workflow_success", "gitlab_workflow_success", "ping")
    made = rendered("airtable", "gh_oauth_job_failed", options=OPTIONS, others=others)
    records = said(made)["records"]
    with heard({"records": []}) as book:
        api = pyairtable.Api(OPTIONS["token"], endpoint_url=book.url)
        table = api.table(OPTIONS["base"], OPTIONS["table"])
        table.batch_create([record["fields"] for record in records], typecast=True)
        api.session.close()
    [(path, headers, sent)] = book.requests
    assert made.url == f"https://api.airtable.com{path}"
    assert made.headers["authorization"] == headers["authorization"]
    assert made.content_type == headers["content-type"]
    assert {**said(made), "returnFieldsByFieldId": False} == sent


def test_a_record_in_full() -> None:
    """Everything a table of runs wants to know."""
    made = rendered("airtable", "gh_oauth_job_failed", options=OPTIONS)
    assert made.url == "https://api.airtable.com/v0/appLkNDICXNqxSDhG/CI%20Runs%2F2026"
    assert said(made) == {
        "typecast": True,
        "records": [
            {
                "fields": {
                    "Event": "01KJPZK3YG6WQ4S0V5J4X7T2A0",
                    "Project": "github/acme-rockets/launchpad",
                    "Workflow": "build-and-ship",
                    "Job": "unit-tests",
                    "Status": "failed",
                    "Branch": "main",
                    "Commit": "9c1f0d2ab3e4c5d6f7a8091b2c3d4e5f60718293",
                    "Subject": "Fix fuel gauge — “überläuft” 🚀",
                    "Author": "Zoë Example",
                    "Finished": "2026-03-02T09:15:44Z",
                    "Seconds": 220,
                    "Pipeline": 412,
                    "Link": "https://app.circleci.com/pipelines/github/acme-rockets/launchpad/412/"
                    "workflows/55555555-5555-4555-9555-555555555555",
                }
            }
        ],
    }


def test_fields_are_called_as_the_table_calls_them() -> None:
    """Another name, or none; a field's id is a name too."""
    off = dict.fromkeys(name.lower() for name in FIELDS)
    options = {**OPTIONS, **off, "project": "Projekt", "status": "fldoi0c3GaRQJ3xnI"}
    body = said(rendered("airtable", "gh_oauth_workflow_failed", options=options))
    fields = {"Projekt": "github/acme-rockets/launchpad", "fldoi0c3GaRQJ3xnI": "failed"}
    assert body["records"] == [{"fields": fields}]


def test_a_group_is_a_record_each() -> None:
    """Ten at once, in the order they came."""
    assert preset.find("airtable").groups
    first, *others = [*SAMPLES, *SAMPLES][:10]
    body = said(rendered("airtable", first, options=OPTIONS, others=others))
    assert len(body["records"]) == 10
    assert len({record["fields"]["Event"] for record in body["records"]}) == 10
