"""What decides whether a database prepared earlier is still right."""

import hashlib
from pathlib import Path


def code_fingerprint(root: Path, database_url: str) -> str:
    """Hash every migration, the pinned requirements, what prepares, and the database's address."""
    digest = hashlib.sha256(database_url.encode())
    paths = [
        *sorted((root / "portal").glob("**/migrations/*.py")),
        root / "requirements.txt",
        root / "portal" / "config" / "settings" / "base.py",
        *sorted((root / "portal" / "commands").glob("**/*prepare*.py")),
    ]
    for path in paths:
        digest.update(str(path.relative_to(root)).encode() + b"\0")
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
