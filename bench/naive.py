"""
The naive relay to compare with: verify, answer, post to N; nothing is stored or retried.

What a capable person writes in an hour with aiohttp. What it has not posted when it ends is
lost.
"""

from __future__ import annotations

import argparse
import asyncio
import hmac
import signal
import sys

import aiohttp
from aiohttp import web
from yarl import URL

from bench import loops
from bench.wire import PATH, SECRET

HEADERS = ("content-type", "user-agent", "circleci-event-type", "circleci-signature")
WORKERS = 100  #: as many as aiohttp opens connections by default

Post = tuple[URL, bytes, dict[str, str]]


class Naive:
    """
    A queue in memory and tasks that post from it.

    A task for each post, started at once, is simpler still; but thousands of them waiting
    for one of aiohttp's hundred connections cost it two thirds of its speed, and the
    comparison is to be with a good one.
    """

    def __init__(self, urls: list[URL]) -> None:
        self._urls = urls
        self._posts: asyncio.Queue[Post] = asyncio.Queue()

    async def receive(self, request: web.Request) -> web.Response:
        """Verify the signature, queue the posts, answer."""
        body = await request.read()
        signature = request.headers.get("circleci-signature", "")
        wanted = "v1=" + hmac.digest(SECRET.encode(), body, "sha256").hex()
        if not hmac.compare_digest(signature.encode(errors="replace"), wanted.encode()):
            return web.json_response({"error": "wrong signature"}, status=401)
        headers = {name: request.headers[name] for name in HEADERS}
        for url in self._urls:
            self._posts.put_nowait((url, body, headers))
        return web.json_response({"accepted": True}, status=202)

    async def work(self, session: aiohttp.ClientSession) -> None:
        """Post what is queued, for ever."""
        while True:
            url, body, headers = await self._posts.get()
            try:
                async with session.post(url, data=body, headers=headers) as response:
                    await response.read()
            except (aiohttp.ClientError, TimeoutError) as error:
                print(f"lost: {error!r}", file=sys.stderr)


async def main(options: argparse.Namespace) -> None:
    """Serve until asked to stop."""
    naive = Naive([URL(f"{options.receiver}/d{number}") for number in range(options.fan_out)])
    app = web.Application()
    app.router.add_post(PATH, naive.receive)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", options.port, backlog=1024).start()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        workers = [asyncio.create_task(naive.work(session)) for _ in range(WORKERS)]
        await stop.wait()
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
    await runner.cleanup()


def arguments() -> argparse.Namespace:
    """Where to listen and where to post to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--receiver", required=True, help="where the destinations are")
    parser.add_argument("--fan-out", type=int, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    loops.run(main(arguments()))
