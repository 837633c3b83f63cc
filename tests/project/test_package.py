"""What users get: the wheel and the sdist hold every room, demo data and templates, and nothing else."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("agents", "broker_config", "codecs", "coordinator", "monitor", "simulation")


def tracked_files() -> list[str]:
    """Every file that is in the repository, or would be with the next commit."""
    command = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, capture_output=True, check=True, text=True, timeout=30).stdout.split("\n")
    return [name for name in names if name and os.path.lexists(ROOT / name)]


def package_files() -> set[str]:
    """The names in an installed package of all that lies in the rooms."""
    links = {room: f"antiphon/{room}" for room in ROOMS}
    names = (name.partition("/") for name in tracked_files())
    return {
        f"{links.get(first, first)}/{rest}"
        for first, _, rest in names
        if first in (*ROOMS, "antiphon") and rest
    } - set(links.values())


def build(source: Path, hook: str, out: Path) -> Path:
    """Call one of setuptools' build hooks, as pip does, in ``source``; needs no package index."""
    code = f"import sys; from setuptools import build_meta; print(build_meta.{hook}(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", code, str(out)], cwd=source, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    return out / done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository's files, links as links, so that no build folder appears in the real one."""
    folder = tmp_path_factory.mktemp("clone")
    for name in tracked_files():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name, follow_symlinks=False)
    return folder


def wheel_names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def test_wheel_has_every_file_of_every_room(clone: Path, tmp_path: Path) -> None:
    assert wheel_names(build(clone, "build_wheel", tmp_path)) == package_files()


def test_wheel_built_from_the_sdist_is_the_same(clone: Path, tmp_path: Path) -> None:
    sdist = build(clone, "build_sdist", tmp_path)
    subprocess.run(["tar", "-xf", str(sdist), "-C", str(tmp_path)], check=True, timeout=60)
    source = tmp_path / sdist.name.removesuffix(".tar.gz")
    assert not any(path.is_symlink() for path in source.rglob("*")), "an sdist's rooms are real files"
    assert wheel_names(build(source, "build_wheel", tmp_path)) == package_files()


@pytest.mark.parametrize("room", ROOMS)
def test_room_is_a_committed_relative_link(room: str) -> None:
    assert os.readlink(ROOT / "antiphon" / room) == f"../{room}"


def test_constraints_pin_exact_versions_and_name_no_place() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert pins
    assert [pin for pin in pins if pin.count("==") != 1 or "/" in pin or "@" in pin] == []
