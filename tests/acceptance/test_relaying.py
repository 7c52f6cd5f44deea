"""The whole program: what CircleCI posts arrives where the routes say, once, byte for byte."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import aiohttp

from circleci_relay.circleci import samples
from support.program import SECRET, an_event, circleci, running, series, write_config
from support.receiver import Receiver, answer

if TYPE_CHECKING:
    from pathlib import Path

StartReceiver = Callable[..., Awaitable[Receiver]]

SAMPLES = {
    samples.with_id(samples.load(name), f"sample-{number}"): name
    for number, name in enumerate(samples.names())
}


def verify_as_circleci_says(headers: dict[str, str], secret: str, body: bytes) -> bool:
    """Verify a signature; the recipe of CircleCI's docs, "Validate outbound webhooks"."""
    # get the v1 signature from the `circleci-signature` header
    signature_from_header = dict(
        [pair.split("=") for pair in headers["circleci-signature"].split(",")]
    )["v1"]
    # compute HMAC-SHA256 over the body with the secret
    valid_signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(valid_signature, signature_from_header)


async def test_every_sample_arrives_byte_for_byte_and_verifies(
    tmp_path: Path, receiver: StartReceiver
) -> None:
    """Each payload shape goes through a real server to a real receiver, signature intact."""
    there = await receiver()
    config = write_config(
        tmp_path,
        destinations={"all": {"url": there.url()}},
        routes={"everything": {"to": "all"}, "pings": {"match": {"type": "ping"}, "to": "all"}},
    )
    async with running(config) as program, circleci(program) as sender:
        for body, name in SAMPLES.items():
            status, said = await sender.post(body)
            assert (status, said["duplicate"]) == (202, False), name
        await there.wait_for(len(SAMPLES))
        assert await program.stop() == 0
    assert {request.body for request in there.requests} == set(SAMPLES)
    assert len(there.requests) == len(SAMPLES)
    for request in there.requests:
        assert verify_as_circleci_says(request.headers, SECRET, request.body)
        assert request.headers["content-type"] == "application/json"
        assert request.headers["user-agent"] == "CircleCI-Webhook/1.0"


async def test_fifty_at_once_are_stored_once_and_delivered_once(
    tmp_path: Path, receiver: StartReceiver
) -> None:
    """One 202, forty-nine 200, one delivery at each destination, all naming one event."""
    first, second = await receiver(), await receiver()
    config = write_config(
        tmp_path,
        destinations={"first": {"url": first.url()}, "second": {"url": second.url()}},
        routes={"everything": {"to": ["first", "second"]}},
    )
    body = an_event()
    async with running(config) as program, circleci(program) as sender:
        answers = await asyncio.gather(*(sender.post(body) for _ in range(50)))
        await first.wait_for(1)
        await second.wait_for(1)
        metrics = await series(program)
        assert await program.stop() == 0
    assert sorted(status for status, _ in answers) == [200] * 49 + [202]
    assert len({said["event"] for _, said in answers}) == 1
    assert (len(first.requests), len(second.requests)) == (1, 1)
    assert metrics("events_total", result="accepted") == 1
    assert metrics("events_total", result="duplicate") == 49


async def test_the_same_id_with_other_bytes_is_a_conflict(
    tmp_path: Path, receiver: StartReceiver
) -> None:
    """It is answered as a duplicate, counted as a conflict, and not delivered."""
    there = await receiver()
    config = write_config(
        tmp_path,
        destinations={"all": {"url": there.url()}},
        routes={"everything": {"to": "all"}},
    )
    async with running(config) as program, circleci(program) as sender:
        await sender.post(an_event())
        status, said = await sender.post(an_event(happened_at="another time"))
        await there.wait_for(1)
        metrics = await series(program)
        assert await program.stop() == 0
    assert (status, said["duplicate"]) == (200, True)
    assert metrics("events_total", result="conflict") == 1
    assert len(there.requests) == 1


async def test_change_fires_once(tmp_path: Path, receiver: StartReceiver) -> None:
    """Red twice tells once, green again tells once."""
    there = await receiver()
    config = write_config(
        tmp_path,
        destinations={"pager": {"url": there.url()}},
        routes={
            "turned": {
                "match": {"type": "workflow-completed", "change": ["broken", "fixed"]},
                "to": "pager",
            }
        },
    )

    def an_outcome(number: int, status: str) -> bytes:
        return an_event(
            number,
            workflow={"id": "f", "name": "build", "status": status},
            pipeline={"id": "p", "number": 400 + number, "vcs": {"branch": "main"}},
        )

    async with running(config) as program, circleci(program) as sender:
        for number, status in enumerate(
            ["success", "failed", "failed", "canceled", "error", "success", "success"]
        ):
            await sender.post(an_outcome(number, status))
        # A late failure of an older pipeline says nothing of the line as it stands.
        await sender.post(
            an_event(
                99,
                workflow={"id": "f", "name": "build", "status": "failed"},
                pipeline={"id": "p", "number": 1, "vcs": {"branch": "main"}},
            )
        )
        await there.wait_for(2)
        assert await program.stop() == 0
    assert {request.body for request in there.requests} == {
        an_outcome(1, "failed"),
        an_outcome(5, "success"),
    }


async def test_unmatched_events_are_stored_and_counted(tmp_path: Path) -> None:
    """Nothing disappears silently: an event no route takes is a 202 and a count."""
    config = write_config(
        tmp_path,
        destinations={"pager": {"url": "http://127.0.0.1:1/"}},
        routes={"red": {"match": {"status": "failed"}, "to": "pager"}},
    )
    async with running(config) as program, circleci(program) as sender:
        status, _ = await sender.post(an_event())
        metrics = await series(program)
        again, _ = await sender.post(an_event())
        assert await program.stop() == 0
    assert (status, again) == (202, 200)
    assert metrics("events_unmatched_total", source="circleci") == 1


async def test_forged_and_malformed_events_are_turned_away_and_counted(tmp_path: Path) -> None:
    """401 for a wrong signature, 400 for a body that is no event."""
    config = write_config(tmp_path)
    async with running(config) as program, circleci(program) as sender:
        forged, _ = await sender.post(an_event(), secret="not-the-secret")
        malformed, said = await sender.post(b"[1, 2, 3]")
        metrics = await series(program)
        await program.log("event_rejected")
        assert await program.stop() == 0
    assert (forged, malformed) == (401, 400)
    assert "error" in said
    assert metrics("events_total", result="unauthorized") == 1
    assert metrics("events_total", result="malformed") == 1


async def test_one_secret_a_project_by_the_last_segment(
    tmp_path: Path, receiver: StartReceiver
) -> None:
    """NAME and NAME.next both verify at NAME's path, another project's secret does not."""
    there = await receiver()
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "api").write_text("api-secret-now\n")
    (secrets / "api.next").write_text("api-secret-next")
    (secrets / "web").write_text("web-secret-now")
    config = write_config(
        tmp_path,
        sources={
            "projects": {"path": "/webhooks/projects/{secret}", "secrets": {"dir": "secrets"}}
        },
        destinations={"all": {"url": there.url()}},
        routes={"everything": {"to": "all"}},
    )
    async with running(config) as program, circleci(program, "/webhooks/projects/api") as sender:
        statuses = [
            (await sender.post(an_event(number), secret=secret))[0]
            for number, secret in enumerate(["api-secret-now", "api-secret-next", "web-secret-now"])
        ]
        sender.url = program.url("listen", "/webhooks/projects/nobody")
        unknown, _ = await sender.post(an_event(9), secret="api-secret-now")
        await there.wait_for(2)
        metrics = await series(program)
        assert await program.stop() == 0
    assert statuses == [202, 202, 401]
    assert unknown == 404
    assert metrics("secret_last_used_timestamp_seconds", secret="api.next") > 0
    assert metrics("secret_last_used_timestamp_seconds", secret="web") == 0


async def test_readiness_and_liveness(tmp_path: Path) -> None:
    """Both are 200 while it serves."""
    config = write_config(tmp_path)
    async with running(config) as program, aiohttp.ClientSession() as session:
        for path in ("/healthz", "/readyz"):
            async with session.get(program.url("ops", path)) as response:
                assert response.status == 200, path
        assert await program.stop() == 0


async def test_a_destination_with_its_own_retries_never_repeats_another(
    tmp_path: Path, receiver: StartReceiver
) -> None:
    """One fails twice, one is gone, one is healthy: the healthy one hears each event once."""
    healthy, flaky, gone = (
        await receiver(),
        await receiver(answer(500), answer(502), answer(200)),
        await receiver(answer(410)),
    )
    config = write_config(
        tmp_path,
        destinations={
            "healthy": {"url": healthy.url()},
            "flaky": {"url": flaky.url(), "retry": {"initial": "50ms"}},
            "gone": {"url": gone.url()},
        },
        routes={"everything": {"to": ["healthy", "flaky", "gone"]}},
    )
    async with running(config) as program, circleci(program) as sender:
        await sender.post(an_event())
        await flaky.wait_for(3)
        await program.log("attempt", destination="flaky", then="delivered")
        await program.log("attempt", destination="gone", then="dead")
        assert await program.stop() == 0
    assert (len(healthy.requests), len(flaky.requests), len(gone.requests)) == (1, 3, 1)
    assert len({request.headers["webhook-id"] for request in flaky.requests}) == 1
