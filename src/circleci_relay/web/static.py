"""The page's static files: read once, served from memory, cached by browsers for good."""

from __future__ import annotations

import hashlib
import mimetypes
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Self

from aiohttp import web

if TYPE_CHECKING:
    from pathlib import Path

PREFIX = "/static/"

FOR_GOOD = "public, max-age=31536000, immutable"
"""For a name that holds the content's digest: other content has another name."""

ASK_AGAIN = "no-cache"
"""For a plain name: kept, but only shown once the `etag` is known to hold still."""

TYPES = {".js": "text/javascript", ".svg": "image/svg+xml", ".webmanifest": "application/json"}
"""Where the machine's own tables may say something else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """One file."""

    content: bytes
    type: str
    digest: str


class Static:
    """All files of a folder, its subfolders left out."""

    def __init__(self, files: dict[str, File]) -> None:
        self._files = files
        self._named = {_named(name, file): file for name, file in files.items()}

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read *folder*; before the event loop runs, or in a thread."""
        return cls({path.name: _file(path) for path in sorted(folder.iterdir()) if path.is_file()})

    def url(self, name: str) -> str:
        """Return the path under which *name* is kept for good; `KeyError` if there is none."""
        return PREFIX + _named(name, self._files[name])

    def routes(self) -> list[web.RouteDef]:
        """Return the routes that serve the files."""
        route = PREFIX + r"{name:[^/]+}"
        return [web.get(route, self._serve)]  # HEAD too

    async def _serve(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        file = self._named.get(name)
        kept = FOR_GOOD if file else ASK_AGAIN
        file = file or self._files.get(name)
        if file is None:
            raise web.HTTPNotFound
        headers = {"cache-control": kept, "etag": f'"{file.digest}"'}
        if any(each.value == file.digest for each in request.if_none_match or ()):
            return web.Response(status=304, headers=headers)
        return web.Response(body=file.content, headers={**headers, "content-type": file.type})


def _file(path: Path) -> File:
    content = path.read_bytes()
    kind = TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0]
    kind = kind or "application/octet-stream"
    if kind.startswith("text/"):
        kind += "; charset=utf-8"
    return File(content=content, type=kind, digest=hashlib.sha256(content).hexdigest()[:16])


def _named(name: str, file: File) -> str:
    """`app.css` as `app.0123456789abcdef.css`."""
    path = PurePosixPath(name)
    return f"{path.stem}.{file.digest}{path.suffix}"
