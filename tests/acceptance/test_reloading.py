"""Reload, all three ways: nothing lost, nothing doubled, nothing changed by a faulty file."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import aiohttp

from support.program import Program, an_event, circleci, running, series, write_config
from support.receiver import Receiver, answer

if TYPE_CHECKING:
    from pathlib import Path

StartReceiver = Callable[..., Awaitable[Receiver]]


def routed_to(folder: Path, url: str, **destination: Any) -> Path:
    """Write a relay.yaml that sends everything to *url*."""
    return write_config(
        folder,
        destinations={"all": {"url": url, **destination}},
        routes={"everything": {"to": "all"}},
    )


async def post_reload(program: Program) -> tuple[int, dict[str, Any]]:
    """Ask for a reload over the admin API."""
    async with (
        aiohttp.ClientSession() as session,
        session.post(program.url("admin", "/api/v1/reload")) as response,
    ):
        return response.status, await response.json()


async def test_a_reload_by_signal_api_and_file_each_take_effect(
    tmp_path: Path, receiver: StartReceiver
) -> None:
    """Each way leads to where the file now says; what was stored before follows the name."""
    first, second, third, fourth = [await receiver() for _ in range(4)]
    config = routed_to(tmp_path, first.url())
    async with running(config) as program, circleci(program) as sender:
        await sender.post(an_event(1))
        await first.wait_for(1)

        routed_to(tmp_path, second.url())
        program.signal(signal.SIGHUP)
        await program.log("config_reloaded", 1)
        await sender.post(an_event(2))
        await second.wait_for(1)

        routed_to(tmp_path, third.url())
        status, said = await post_reload(program)
        assert status == 200
        await program.log("config_reloaded", 2)
        assert said["result"] in {"reloaded", "unchanged"}
        await sender.post(an_event(3))
        await third.wait_for(1)

        routed_to(tmp_path, fourth.url())
        await program.log("config_reloaded", 3)
        await sender.post(an_event(4))
        await fourth.wait_for(1)
        assert await program.stop() == 0
    assert [len(each.requests) for each in (first, second, third, fourth)] == [1, 1, 1, 1]


async def test_a_faulty_file_changes_nothing_and_is_said(
    tmp_path: Path, receiver: StartReceiver
) -> None:
    """The fault is logged with its place, counted, and answered with 422; events go on."""
    there = await receiver()
    config = routed_to(tmp_path, there.url())
    async with running(config) as program, circleci(program) as sender:
        config.write_text(config.read_text().replace("everything:", "everything: {}\n  odd:"))
        status, said = await post_reload(program)
        await program.log("config_fault")
        await sender.post(an_event())
        await there.wait_for(1)
        metrics = await series(program)
        assert await program.stop() == 0
    assert status == 422
    assert any("routes.everything" in fault["path"] for fault in said["faults"])
    assert metrics("config_last_reload_successful") == 0
    assert metrics("config_reloads_total", result="failed") >= 1


async def test_what_needs_a_restart_is_said(tmp_path: Path, receiver: StartReceiver) -> None:
    """A changed port is in the answer, the log and a metric."""
    there = await receiver()
    config = routed_to(tmp_path, there.url())
    async with running(config) as program:
        text = config.read_text().replace("listen: 127.0.0.1:0", "listen: 127.0.0.1:18080")
        config.write_text(text)
        _, said = await post_reload(program)
        await program.log("config_restart_required")
        metrics = await series(program)
        assert await program.stop() == 0
    assert said["restart_required"] == ["server.listen"]
    assert metrics("config_restart_required") == 1


async def test_a_secret_rotated_by_symlink_swap_is_taken_up(
    tmp_path: Path, receiver: StartReceiver
) -> None:
    """As Kubernetes updates a mounted Secret: ..data swings to a new directory."""
    there = await receiver()
    mount = tmp_path / "mounted"
    for version in ("old", "new"):
        (mount / f"..{version}").mkdir(parents=True)
        (mount / f"..{version}" / "launchpad").write_text(f"{version}-secret-of-launchpad")
    (mount / "..data").symlink_to("..old")
    (mount / "launchpad").symlink_to("..data/launchpad")
    config = write_config(
        tmp_path,
        sources={"circleci": {"path": "/hooks/{secret}", "secrets": {"dir": "mounted"}}},
        destinations={"all": {"url": there.url()}},
        routes={"everything": {"to": "all"}},
    )
    async with running(config) as program, circleci(program, "/hooks/launchpad") as sender:
        before, _ = await sender.post(an_event(1), secret="old-secret-of-launchpad")
        (mount / "..data_tmp").symlink_to("..new")
        os.replace(mount / "..data_tmp", mount / "..data")  # noqa: PTH105 - what Kubernetes does
        await program.log("config_reloaded")
        after, _ = await sender.post(an_event(2), secret="new-secret-of-launchpad")
        old, _ = await sender.post(an_event(3), secret="old-secret-of-launchpad")
        assert await program.stop() == 0
    assert (before, after, old) == (202, 202, 401)


async def test_reloads_under_load_lose_and_double_nothing(
    tmp_path: Path, receiver: StartReceiver
) -> None:
    """Destinations come and go and change while events stream in; each arrives once."""
    there = await receiver()
    config = routed_to(tmp_path, there.url())
    total = 300
    async with running(config) as program, circleci(program) as sender:

        async def load() -> None:
            for number in range(total):
                status, _ = await sender.post(an_event(number))
                assert status == 202

        async def reloads() -> None:
            for turn in range(8):
                write_config(
                    tmp_path,
                    destinations={
                        "all": {"url": there.url(), "concurrency": 1 + turn},
                        f"other-{turn}": {"url": there.url("/other")},
                    },
                    routes={"everything": {"to": "all"}},
                )
                status, _ = await post_reload(program)
                assert status == 200

        await asyncio.gather(load(), reloads())
        await there.wait_for(total)
        assert await program.stop() == 0
    ids = [request.headers["webhook-id"] for request in there.requests]
    assert len(ids) == len(set(ids)) == total


async def test_a_removed_destination_waits_visibly_and_goes_on_when_it_is_back(
    tmp_path: Path, receiver: StartReceiver
) -> None:
    """Its deliveries stay pending in the metrics, and are sent under the same name later."""
    failing, there = await receiver(answer(503)), await receiver()
    config = routed_to(tmp_path, failing.url())
    async with running(config) as program, circleci(program) as sender:
        await sender.post(an_event())
        await failing.wait_for(1)
        write_config(tmp_path)
        assert (await post_reload(program))[0] == 200
        assert not (await program.log("config_reloaded"))[0].get("faults")
        async with asyncio.timeout(20):
            while not (pending := (await series(program))("deliveries_pending", destination="all")):
                await program.moment()
        routed_to(tmp_path, there.url(), retry={"initial": "100ms"})
        assert (await post_reload(program))[0] == 200
        [request] = await there.wait_for(1)
        assert await program.stop() == 0
    assert pending == 1
    assert request.headers["webhook-id"] == failing.requests[0].headers["webhook-id"]
