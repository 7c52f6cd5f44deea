"""Replays, cancellations, pauses, and jobs of many: what changes something."""

from __future__ import annotations

from typing import TYPE_CHECKING

from circleci_relay.console.given import Given
from circleci_relay.console.requests import (
    BulkCancel,
    BulkReplay,
    Id,
    JobQuery,
    Pause,
    ReplayEvent,
    ReplayOne,
    Retry,
)
from circleci_relay.console.shapes import DestinationState, Due, Job, Jobs, Made, Preview
from circleci_relay.web.api.deliveries import OneDelivery
from circleci_relay.web.api.endpoints import Endpoint, Reply, Request
from circleci_relay.web.api.standing import OneDestination

if TYPE_CHECKING:
    from circleci_relay.console.repairing import Repairing
    from circleci_relay.console.standing import Standing

TAG = "repair"

_DRY = (
    "A dry run, which is the default, counts and changes nothing. With `dry_run: false` a job is"
    " started, or, under an idempotency key that was used for it, the same is answered. It goes on"
    " step by step, on whichever replica, over restarts too."
)


class OneEvent(Given):
    """Which event, by the relay's id or by CircleCI's."""

    id: Id


class OneJob(Given):
    """Which job."""

    id: Id


def repair_endpoints(repairing: Repairing, standing: Standing) -> list[Endpoint]:
    """Return the endpoints that change what is pending, dead or paused."""
    return [*_ones(repairing), *_destinations(repairing, standing), *_jobs(repairing)]


def _ones(repairing: Repairing) -> list[Endpoint]:
    async def event(request: Request) -> Made:
        return await repairing.replay_event(request.path.id, request.body, request.caller.name)

    async def delivery(request: Request) -> Made:
        return await repairing.replay_delivery(request.path.id, request.body, request.caller.name)

    async def cancel(request: Request) -> Made:
        return await repairing.cancel_delivery(request.path.id, request.caller.name)

    return [
        Endpoint(
            method="POST",
            path="/events/{id}/replay",
            summary="Deliver an event once more: to all it went to, or to destinations named.",
            tag=TAG,
            handler=event,
            changes=True,
            path_params=OneEvent,
            body=ReplayEvent,
            answers={200: Made},
            problems=(404, 409),
        ),
        Endpoint(
            method="POST",
            path="/deliveries/{id}/replay",
            summary="Make a delivery once more, at its destination.",
            tag=TAG,
            handler=delivery,
            changes=True,
            path_params=OneDelivery,
            body=ReplayOne,
            answers={200: Made},
            problems=(404, 409),
        ),
        Endpoint(
            method="POST",
            path="/deliveries/{id}/cancel",
            summary="End a delivery that is pending.",
            description=(
                "An attempt under way goes on and is recorded, and changes nothing. What a"
                " cancelled replay was of counts as dead again."
            ),
            tag=TAG,
            handler=cancel,
            changes=True,
            path_params=OneDelivery,
            answers={200: Made},
            problems=(404, 409),
        ),
    ]


def _destinations(repairing: Repairing, standing: Standing) -> list[Endpoint]:
    async def pause(request: Request) -> DestinationState:
        await repairing.pause(request.path.name, request.body, request.caller.name)
        return await standing.destination(request.path.name)

    async def resume(request: Request) -> DestinationState:
        await repairing.resume(request.path.name, request.caller.name)
        return await standing.destination(request.path.name)

    async def retry(request: Request) -> Due:
        name = request.path.name
        return Due(due=await repairing.retry(name, request.body, request.caller.name))

    return [
        Endpoint(
            method="POST",
            path="/destinations/{name}/pause",
            summary="Let no attempt begin at a destination, on any replica, until it is resumed.",
            tag=TAG,
            handler=pause,
            changes=True,
            path_params=OneDestination,
            body=Pause,
            answers={200: DestinationState},
            problems=(404,),
        ),
        Endpoint(
            method="POST",
            path="/destinations/{name}/resume",
            summary="Let attempts begin again; not where relay.yaml has it paused.",
            tag=TAG,
            handler=resume,
            changes=True,
            path_params=OneDestination,
            answers={200: DestinationState},
            problems=(404, 409),
        ),
        Endpoint(
            method="POST",
            path="/destinations/{name}/retry",
            summary="Make due now all that waits for another attempt at a destination.",
            description=(
                "Its breaker is closed, and a wait that it asked for ends. `due` counts all that"
                " waits there and is tried now."
            ),
            tag=TAG,
            handler=retry,
            changes=True,
            path_params=OneDestination,
            body=Retry,
            answers={200: Due},
            problems=(404,),
        ),
    ]


def _jobs(repairing: Repairing) -> list[Endpoint]:
    async def replay(request: Request) -> Reply:
        return _told(await repairing.replay(request.body, request.caller.name))

    async def cancel(request: Request) -> Reply:
        return _told(await repairing.cancel(request.body, request.caller.name))

    async def many(request: Request) -> Jobs:
        return await repairing.jobs(request.query)

    async def one(request: Request) -> Job:
        return await repairing.job(request.path.id)

    async def stop(request: Request) -> Job:
        return await repairing.cancel_job(request.path.id, request.caller.name)

    return [
        Endpoint(
            method="POST",
            path="/replays",
            summary="Replay everything that a filter selects, in a job.",
            description=_DRY,
            tag=TAG,
            handler=replay,
            changes=True,
            spares=_is_dry,
            body=BulkReplay,
            answers={200: Preview, 202: Job},
            problems=(404, 409),
        ),
        Endpoint(
            method="POST",
            path="/cancellations",
            summary="Cancel everything pending that a filter selects, in a job.",
            description=_DRY,
            tag=TAG,
            handler=cancel,
            changes=True,
            spares=_is_dry,
            body=BulkCancel,
            answers={200: Preview, 202: Job},
            problems=(404, 409),
        ),
        Endpoint(
            method="GET",
            path="/jobs",
            summary="Replays and cancellations of many, newest first.",
            tag=TAG,
            handler=many,
            changes=False,
            query=JobQuery,
            answers={200: Jobs},
        ),
        Endpoint(
            method="GET",
            path="/jobs/{id}",
            summary="One job, and what became of what it made.",
            tag=TAG,
            handler=one,
            changes=False,
            path_params=OneJob,
            answers={200: Job},
            problems=(404,),
        ),
        Endpoint(
            method="POST",
            path="/jobs/{id}/cancel",
            summary="Stop a job, and take back what it made and nobody attempted yet.",
            tag=TAG,
            handler=stop,
            changes=True,
            path_params=OneJob,
            answers={200: Job},
            problems=(404, 409),
        ),
    ]


def _is_dry(wanted: BulkReplay | BulkCancel) -> bool:
    return wanted.dry_run


def _told(answer: Preview | Job) -> Reply:
    return Reply(content=answer, status=202 if isinstance(answer, Job) else 200)
