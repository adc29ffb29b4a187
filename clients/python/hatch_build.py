"""Makes the package `aerolith` of the repository's own client, so that there is one implementation.

`dataplane.client` is the door of the portal and of the tests; users get the same files under
another name. A build takes the client's modules, the command line (`aerolith_cli`), and the few
modules of the data plane that they import, and renames what they import. A source distribution
carries the originals, from which it can be built without the repository.
"""

import ast
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, override

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

RENAMED: Final = {
    "aerolith_cli.__main__": "aerolith.__main__",
    "aerolith_cli": "aerolith.cli",
    "dataplane.client": "aerolith",
    "dataplane.consensus": "aerolith._consensus",
    "dataplane.ports": "aerolith._ports",
    "dataplane.wire": "aerolith._wire",
}
LEFT_OUT: Final = {
    "dataplane.client.__main__": "the command line of the package is aerolith_cli",
    "dataplane.client.archive_store": "keeps what nodes archive",
    "dataplane.client.audit_command": "the command line of the package is aerolith_cli",
    "dataplane.client.backup_command": "the command line of the package is aerolith_cli",
    "dataplane.client.evidence_command": "the command line of the package is aerolith_cli",
    "dataplane.client.tombstone_command": "the command line of the package is aerolith_cli",
    "dataplane.client.key_providers": "keeps the keys of nodes",
    "dataplane.client.local": "starts node processes",
    "dataplane.client.membership": "orders of the control plane",
    "dataplane.client.provisioning": "makes certificates for nodes",
    "dataplane.client.tokens": "signs tokens for the portal",
}
ALLOWED: Final = re.compile(
    r"(dataplane\.(client|wire)(\..+)?|dataplane\.ports|aerolith_cli(\..+)?"
    r"|dataplane\.consensus(\.(config|evidence|messages))?)"
)
"""What the package may consist of. More of the data plane in it would be a mistake: a user's
process has no business with storage or replication."""
_PACKAGES: Final = ("dataplane.client", "aerolith_cli")
_NAMES: Final = re.compile(
    r"\b(" + "|".join(map(re.escape, sorted(RENAMED, key=len, reverse=True))) + r")\b"
)


class VendoringError(Exception):
    """The client cannot be made a package of its own; says which import is in the way."""


class Sources:
    """Where modules are: in the repository, or in an unpacked source distribution."""

    def __init__(self, project: Path) -> None:
        originals = project / "originals"
        self._roots = (originals if originals.is_dir() else project.parents[1], project / "src")

    def path(self, module: str) -> Path | None:
        """Return the file of a module, None where there is none."""
        relative = Path(*module.split("."))
        places = (relative.with_suffix(".py"), relative / "__init__.py")
        files = (root / place for root in self._roots for place in places)
        return next((file for file in files if file.is_file()), None)

    def members(self, package: str) -> Iterator[str]:
        """Yield the modules of a package that belong into the wheel."""
        opening = self.path(package)
        if opening is None:
            raise VendoringError(f"{package} is not there")
        yield package
        for file in sorted(opening.parent.rglob("*.py")):
            parts = file.relative_to(opening.parent).with_suffix("").parts
            names = parts[:-1] if parts[-1] == "__init__" else parts
            if names and (name := ".".join((package, *names))) not in LEFT_OUT:
                yield name


def modules(project: Path) -> dict[str, Path]:
    """Return every module of the package by its name in the repository.

    Raises:
        VendoringError: One of them imports what does not belong into it.
    """
    sources = Sources(project)
    waiting = [name for package in _PACKAGES for name in sources.members(package)]
    found: dict[str, Path] = {}
    while waiting:
        name = waiting.pop()
        path = sources.path(name)
        if name in found or path is None:
            continue
        if name in LEFT_OUT or not ALLOWED.fullmatch(name):
            why = LEFT_OUT.get(name, "see ALLOWED in clients/python/hatch_build.py")
            raise VendoringError(f"{name} is imported but is no part of the package: {why}")
        found[name] = path
        waiting += _imports(path)
        parent = name.rpartition(".")[0]
        if parent not in {"", "dataplane"}:
            waiting.append(parent)
    return dict(sorted(found.items()))


def _imports(path: Path) -> list[str]:
    """Return what a file imports of the repository; some of it may be names inside modules."""
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            names += [module, *(f"{module}.{alias.name}" for alias in node.names)]
    return [name for name in names if name.split(".")[0] in {"dataplane", "aerolith_cli", "portal"}]


def renamed(text: str) -> str:
    """Return text with the repository's names of modules replaced by the package's."""
    return _NAMES.sub(lambda match: RENAMED[match[0]], text)


def stage(project: Path, into: Path) -> dict[str, str]:
    """Write the package's files; return where each goes in the wheel."""
    placed: dict[str, str] = {}
    for name, path in modules(project).items():
        target = Path(*renamed(name).split("."))
        target = target / "__init__.py" if path.name == "__init__.py" else target.with_suffix(".py")
        staged = into / target
        staged.parent.mkdir(parents=True, exist_ok=True)
        text = renamed(path.read_text(encoding="utf-8"))
        staged.write_text(text, encoding="utf-8")
        left = [item for item in _imports(staged) if item.split(".")[0] != "aerolith"]
        if left:
            raise VendoringError(f"{name} still imports {', '.join(left)}")
        placed[str(staged)] = target.as_posix()
    marker = into / "aerolith" / "py.typed"
    marker.touch()
    placed[str(marker)] = "aerolith/py.typed"
    return placed


class ClientBuildHook(BuildHookInterface[Any]):
    """Called by hatchling for each distribution that is built."""

    PLUGIN_NAME = "custom"
    _staged: str | None = None

    @override
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the client's files to the distribution.

        Raises:
            VendoringError: The client cannot be packaged as it is.
        """
        project = Path(self.root)
        if self.target_name == "sdist":
            for name, path in modules(project).items():
                if not path.is_relative_to(project / "src"):
                    place = Path("originals", *name.split("."))
                    is_package = path.name == "__init__.py"
                    file = place / "__init__.py" if is_package else place.with_suffix(".py")
                    build_data["force_include"][str(path)] = file.as_posix()
            return
        if version == "editable":
            raise VendoringError("it is built of other files: use dataplane.client in a checkout")
        self._staged = tempfile.mkdtemp(prefix="aerolith-build-")
        build_data["force_include"].update(stage(project, Path(self._staged)))

    @override
    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove what was staged."""
        if self._staged is not None:
            shutil.rmtree(self._staged)
