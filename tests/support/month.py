"""A month of forty projects, made up from a seed: what CircleCI would send, and when."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

START = datetime(2026, 3, 2, tzinfo=UTC)  # a Monday
DAYS = 30
PROJECTS = tuple(
    f"{team}-{number}"
    for team, count in (("pay", 10), ("web", 10), ("core", 20))
    for number in range(1, count + 1)
)


@dataclass(frozen=True, kw_only=True)
class Sent:
    """One webhook."""

    at: datetime
    id: str
    type: str
    status: str
    project: str
    branch: str
    job: str | None
    run: str  #: the workflow's id
    body: bytes


@dataclass
class Month:
    """All that is sent, in the order it is."""

    seed: int
    sent: list[Sent] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Make it up."""
        self._chance = random.Random(self.seed)  # noqa: S311 - it has to come again
        self._numbers = dict.fromkeys(PROJECTS, 0)
        for project in PROJECTS:
            self._run(project, "main", START, "success")
        for day in range(DAYS):
            if (START + timedelta(days=day)).weekday() < 5:
                for project in PROJECTS:
                    self._day(project, START + timedelta(days=day))
        self.sent.sort(key=lambda each: each.at)

    def _day(self, project: str, day: datetime) -> None:
        """A merge, a branch, and on some days a release."""
        hour = self._chance.randrange(8, 18)
        self._merge(project, day + timedelta(hours=hour, minutes=self._chance.randrange(60)))
        at = day + timedelta(hours=12, seconds=self._chance.randrange(3600))
        branch = f"fix-{self._chance.randrange(100)}"
        self._run(project, branch, at, self._chance.choice(["success", "success", "failed"]))
        if self._chance.random() < 0.2:
            self._release(project, day + timedelta(hours=19))

    def _merge(self, project: str, at: datetime) -> None:
        """Main is built: mostly green, red for minutes or for hours, or cancelled."""
        number = self._pipeline(project)
        chance = self._chance.random()
        if chance < 0.05:
            self._cancel(project, at, number)
        elif chance < 0.17:
            self._run(project, "main", at, "failed", number=number)
            if self._chance.random() < 0.5:
                # Rerun by itself: the same pipeline, another run of the workflow.
                again = at + timedelta(minutes=2, seconds=self._chance.randrange(420))
                self._run(project, "main", again, "success", number=number)
        else:
            self._run(project, "main", at, "success", number=number, deploys=True)

    def _cancel(self, project: str, at: datetime, number: int) -> None:
        """Cancel a run with some jobs under way: one webhook more than there are jobs."""
        run = self._uuid()
        for _ in range(self._chance.randrange(2, 6)):
            self._send(project, "main", at, "canceled", run=run, number=number)
            at += timedelta(seconds=self._chance.randrange(1, 45))

    def _release(self, project: str, at: datetime) -> None:
        """Deploy from a release branch until it works."""
        branch = f"release-{self._chance.randrange(3)}"
        for attempt in range(3):
            status = "failed" if attempt < 2 and self._chance.random() < 0.25 else "success"
            self._run(project, branch, at, status, deploys=True)
            if status == "success":
                break
            at += timedelta(minutes=self._chance.randrange(20, 90))

    def _run(
        self,
        project: str,
        branch: str,
        at: datetime,
        status: str,
        *,
        number: int | None = None,
        deploys: bool = False,
    ) -> None:
        """Run a workflow of one job."""
        number = number or self._pipeline(project)
        run = self._uuid()
        job = "deploy" if deploys else "test"
        self._send(project, branch, at, status, run=run, number=number, job=job)
        self._send(project, branch, at + timedelta(seconds=1), status, run=run, number=number)

    def _pipeline(self, project: str) -> int:
        self._numbers[project] += 1
        return self._numbers[project]

    def _uuid(self) -> str:
        return str(UUID(int=self._chance.getrandbits(128)))

    def _send(
        self,
        project: str,
        branch: str,
        at: datetime,
        status: str,
        *,
        run: str,
        number: int,
        job: str | None = None,
    ) -> None:
        began = (at - timedelta(minutes=4)).isoformat()
        kind = "workflow-completed" if job is None else "job-completed"
        body: dict[str, Any] = {
            "type": kind,
            "id": self._uuid(),
            "happened_at": at.isoformat(),
            "workflow": {
                "id": run,
                "name": "build",
                "created_at": began,
                "stopped_at": at.isoformat(),
                "url": f"https://app.circleci.com/pipelines/github/acme/{project}/{number}",
            },
            "pipeline": {
                "id": self._uuid(),
                "number": number,
                "vcs": {"revision": f"{number:040x}", "branch": branch},
            },
            "project": {"id": project, "name": project, "slug": f"github/acme/{project}"},
            "organization": {"id": "acme", "name": "acme"},
        }
        if job is None:
            body["workflow"]["status"] = status
        else:
            body["job"] = {"id": self._uuid(), "name": job, "status": status}
        self.sent.append(
            Sent(
                at=at,
                id=body["id"],
                type=kind,
                status=status,
                project=project,
                branch=branch,
                job=job,
                run=run,
                body=json.dumps(body).encode(),
            )
        )
