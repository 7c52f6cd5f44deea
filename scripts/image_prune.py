#!/usr/bin/env python3
"""Take out of this Python's botocore what no destination can use, and show that the rest works."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import botocore
from aiobotocore.session import get_session

# The two destinations, and the services that credentials are had from.
KEPT = ("signin", "sns", "sqs", "sso", "sso-oidc", "sts")


def prune(data: Path) -> tuple[int, int]:
    """How many services' models were there, and how many are left; plain files all stay."""
    services = sorted(each for each in data.iterdir() if each.is_dir())
    for service in services:
        if service.name not in KEPT:
            shutil.rmtree(service)
    return len(services), sum(each.is_dir() for each in data.iterdir())


async def prove() -> None:
    """Make a client of each service that is left, endpoint and all; nothing is sent."""
    session = get_session()
    for service in KEPT:
        made = session.create_client(
            service,
            region_name="eu-central-1",
            aws_access_key_id="none",
            aws_secret_access_key="none",  # noqa: S106 - a client wants one, and sends nothing
        )
        async with made as client:
            if "eu-central-1" not in client.meta.endpoint_url:
                raise SystemExit(f"image_prune: no endpoint of {service}")


if __name__ == "__main__":
    before, after = prune(Path(botocore.__file__).parent / "data")
    asyncio.run(prove())
    print(f"image_prune: {after} of {before} AWS services kept")  # noqa: T201
