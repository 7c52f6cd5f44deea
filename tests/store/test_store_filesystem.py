"""What a SQLite file may lie on: told from the text of mountinfo alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from circleci_relay.errors import StoreRefused
from circleci_relay.store import filesystem
from circleci_relay.store.filesystem import Verdict, check, mount_of, verdict_of

LOCAL = "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"


def line(number: int, parent: int, point: str, kind: str, source: str = "x", *opts: str) -> str:
    """One line of mountinfo."""
    return (
        f"{number} {parent} 0:{number} / {point} rw,noatime - {kind} {source} rw{''.join(opts)}\n"
    )


@pytest.mark.parametrize(
    ("kind", "source", "verdict"),
    [
        ("ext4", "/dev/sdb", Verdict.FINE),
        ("xfs", "/dev/sdb", Verdict.FINE),
        ("tmpfs", "tmpfs", Verdict.FINE),
        ("fuseblk", "/dev/sdb", Verdict.FINE),
        ("nfs", "nas:/export", Verdict.REFUSED),
        ("nfs4", "nas:/export", Verdict.REFUSED),
        ("cifs", "//nas/share", Verdict.REFUSED),
        ("smb3", "//nas/share", Verdict.REFUSED),
        ("fuse.sshfs", "me@host:/", Verdict.REFUSED),
        ("fuse.glusterfs", "g1:/vol", Verdict.REFUSED),
        ("fuse.s3fs", "s3fs", Verdict.REFUSED),
        ("fuse", "mountpoint-s3", Verdict.REFUSED),
        ("9p", "share", Verdict.DOUBTFUL),
        ("virtiofs", "share", Verdict.DOUBTFUL),
        ("fuse.mine", "mine", Verdict.DOUBTFUL),
        ("fuse", "anything", Verdict.DOUBTFUL),
        ("ceph", "mon:/", Verdict.DOUBTFUL),
    ],
)
def test_each_kind_is_judged(kind: str, source: str, verdict: Verdict) -> None:
    """Network file systems are refused, what may be one is warned of, disks are fine."""
    text = LOCAL + line(30, 22, "/data", kind, source)
    assert verdict_of(text, "/data/relay.db") == (verdict, kind)
    assert verdict_of(text, "/database/relay.db")[0] is Verdict.FINE
    assert verdict_of(text, "/relay.db")[0] is Verdict.FINE


@pytest.mark.parametrize(
    ("text", "path", "kind"),
    [
        (line(30, 22, "/a", "nfs") + line(31, 30, "/a/b", "xfs"), "/a/b/c", "xfs"),
        (line(30, 22, "/a/b", "nfs") + line(31, 22, "/a", "xfs"), "/a/b/c", "xfs"),
        (line(30, 22, "/a", "xfs") + line(31, 30, "/a", "nfs"), "/a/c", "nfs"),
        (line(30, 22, "/a\\040b", "nfs"), "/a b/c", "nfs"),
        (line(30, 22, "/a\\134040b", "nfs"), "/a\\040b/c", "nfs"),
        (line(30, 22, "/a\\011b", "nfs"), "/a\tb/c", "nfs"),
        (line(30, 22, "/a/relay.db", "nfs"), "/a/relay.db", "nfs"),
        (line(30, 22, "/mnt/a", "nfs"), "/a", "ext4"),
    ],
)
def test_the_mount_is_found_as_the_kernel_finds_it(text: str, path: str, kind: str) -> None:
    """The deepest mount counts, unless another hides it; names are unescaped."""
    found = mount_of(LOCAL + text, path)
    assert found is not None
    assert found.type == kind


def test_an_overlay_is_as_good_as_what_it_writes_to() -> None:
    """Where the layer below can be seen; a container sees only the overlay."""
    below = line(30, 22, "/nas", "nfs")
    overlay = line(31, 22, "/m", "overlay", "overlay", ",lowerdir=/l,upperdir=/nas/up,workdir=/w")
    assert verdict_of(LOCAL + below + overlay, "/m/relay.db") == (Verdict.REFUSED, "nfs")
    alone = line(1, 0, "/", "overlay", "overlay", ",upperdir=/nas/up")
    assert verdict_of(alone, "/data/relay.db") == (Verdict.FINE, "overlay")


@given(st.text(), st.text(alphabet="/ab\\0 ", max_size=12))
def test_no_text_stumbles_it(text: str, path: str) -> None:
    """Whatever mountinfo may hold one day, start-up does not fail over it."""
    verdict_of(text, f"/{path}")


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from(["/", "/a", "/a/b", "/c"]))))
def test_no_tree_of_mounts_goes_round(tree: list[tuple[int, str]]) -> None:
    """The walk ends however the mounts are said to hang together, at one that holds the path."""
    text = "".join(
        line(number, parent, point, "ext4") for number, (parent, point) in enumerate(tree)
    )
    found = mount_of(text, "/a/b/relay.db")
    assert found is None or found.point in {"/", "/a", "/a/b"}


def test_refused_in_one_line_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the file is made: nothing is left where it must not be."""
    mountinfo = tmp_path / "mountinfo"
    mountinfo.write_text(LOCAL + line(30, 22, str(tmp_path), "nfs4", "nas:/x"))
    monkeypatch.setattr(filesystem, "MOUNTS", mountinfo)
    with pytest.raises(StoreRefused, match=r"network file system \(nfs4\).*local disk.*PostgreSQL"):
        check(tmp_path / "relay.db")
    mountinfo.write_text(LOCAL + line(30, 22, str(tmp_path), "virtiofs"))
    [warning] = check(tmp_path / "relay.db")
    assert "lies on virtiofs" in warning


def test_where_nothing_tells_nothing_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on macOS, which has no such file."""
    monkeypatch.setattr(filesystem, "MOUNTS", tmp_path / "absent")
    assert check(tmp_path / "relay.db") == []


@pytest.mark.skipif(not Path("/proc/self/mountinfo").exists(), reason="only Linux tells")
def test_the_mounts_of_this_machine_are_understood() -> None:
    """Some mount holds this very folder, and /proc is what it is."""
    text = os.fsdecode(filesystem.MOUNTS.read_bytes())
    assert mount_of(text, os.path.realpath(Path.cwd())) is not None
    assert verdict_of(text, "/proc/self") == (Verdict.FINE, "proc")
