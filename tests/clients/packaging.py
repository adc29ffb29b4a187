"""The package `aerolith` built as users build it, and an environment that holds nothing else."""

import importlib.metadata
import importlib.util
import subprocess
import sys
import venv
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
PROJECT = ROOT / "clients" / "python"


def build_hook():
    """Return the module that collects the package's files."""
    spec = importlib.util.spec_from_file_location("hatch_build", PROJECT / "hatch_build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(*command, **options) -> str:
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False, **options
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build_wheel(project: Path, into: Path) -> Path:
    """Build by the front end that everybody has, with the back end of this environment."""
    run(
        *(sys.executable, "-m", "pip", "wheel", "--no-build-isolation", "--no-deps"),
        *("--no-index", "--disable-pip-version-check", "-w", into, project),
    )
    (wheel,) = into.glob("aerolith-*.whl")
    return wheel


def build_sdist(project: Path, into: Path) -> Path:
    into.mkdir()
    code = f"import hatchling.build; print(hatchling.build.build_sdist({str(into)!r}))"
    return into / run(sys.executable, "-c", code, cwd=project).split()[-1]


def fresh_environment(folder: Path, wheel: Path, *extras: str) -> Path:
    """Return the interpreter of a new environment with the wheel and what it says it needs.

    What it needs is linked from this environment, so that no network is needed.
    """
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    run(
        *(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index"),
        *("--disable-pip-version-check", wheel),
    )
    (site,) = folder.glob("lib/python*/site-packages")
    (metadata,) = site.glob("aerolith-*.dist-info")
    needed = importlib.metadata.Distribution.at(metadata)
    _link_requirements(needed, frozenset(extras), site, set())
    return python


def _link_requirements(distribution, extras: frozenset, site: Path, done: set) -> None:
    for text in distribution.requires or ():
        wanted = Requirement(text)
        environments = [{"extra": extra} for extra in extras or {""}]
        if wanted.marker is not None and not any(map(wanted.marker.evaluate, environments)):
            continue
        found = importlib.metadata.distribution(wanted.name)
        assert found.version in wanted.specifier, f"{text}, but {found.version} is here"
        if (wanted.name, tuple(wanted.extras)) in done:
            continue
        done.add((wanted.name, tuple(wanted.extras)))
        for top in {Path(file).parts[0] for file in found.files or () if file.parts[0] != ".."}:
            place = site / top
            if not place.exists():
                place.symlink_to(Path(str(found.locate_file(top))))
        _link_requirements(found, frozenset(wanted.extras), site, done)
