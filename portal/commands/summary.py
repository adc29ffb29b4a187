"""The one object that `up --json` prints, and the same as text."""

import json
from pathlib import Path

import httpx

from portal.commands.state import Installation, State
from portal.core.supervision import Json


def demo_read(home: Path) -> dict[str, Json] | None:
    """Return the demonstration's addresses and secrets once it is complete."""
    try:
        content: Json = json.loads((home / "demo.json").read_text())
    except (OSError, ValueError):
        return None
    if not isinstance(content, dict) or content.get("complete") is not True:
        return None
    return content


def demo_urls(home: Path) -> list[str]:
    """Return where the demonstration's nodes serve; none before it is complete."""
    demo = demo_read(home)
    cluster = demo.get("cluster") if demo is not None else None
    nodes = cluster.get("nodes") if isinstance(cluster, dict) else None
    if not isinstance(nodes, list):
        return []
    return [str(node["url"]) for node in nodes if isinstance(node, dict)]


def answers_ready(url: str) -> bool:
    """Tell whether a node serves linearizable requests."""
    try:
        return httpx.get(f"{url}/ready", timeout=1.0, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def summary(installation: Installation, state: State) -> dict[str, Json]:
    """Describe a running installation."""
    demo = demo_read(installation.home)
    return {
        "portal": f"http://localhost:{state.portal_port}/",
        "operator": {"email": state.operator_email, "password": state.operator_password},
        "demo": None
        if demo is None
        else {
            "org": demo["org"],
            "email": state.demo_email,
            "password": state.demo_password,
            "api_token": demo["api_token"],
            "cluster": demo["cluster"],
        },
    }


def summary_text(installation: Installation, state: State) -> str:
    """Say the same to a person."""
    url = f"http://localhost:{state.portal_port}"
    lines = [
        "",
        f"  Portal       {url}/",
        f"  Demo         {url}/o/demo/   {state.demo_email}   {state.demo_password}",
        f"  Operators    {url}/operators/   {state.operator_email}   {state.operator_password}",
        "               (the first sign-in there sets up a second factor)",
        f"  Sent mail    {url}/mailbox/",
        "",
        "  Stop it with `make down`; look with `make status`.",
        f"  All state and logs are in {installation.home}.",
        "",
    ]
    return "\n".join(lines)
