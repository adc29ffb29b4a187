"""Programs that work as they stand once the key is set, with the cluster's own addresses."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Snippet:
    """A piece of code to copy."""

    language: str
    title: str
    code: str


_CURL = """export AEROLITH_TOKEN='{key}'

# Write a document ...
curl -sS -X PUT {url}/api/v1/collections/notes/documents/first \\
  -H "Authorization: Bearer $AEROLITH_TOKEN" \\
  -H "Content-Type: application/json" \\
  -d '{{"text": "hello"}}'

# ... read it back, from any node ...
curl -sS {last}/api/v1/collections/notes/documents/first \\
  -H "Authorization: Bearer $AEROLITH_TOKEN"

# ... and ask for documents.
curl -sS -X POST {url}/api/v1/collections/notes/query \\
  -H "Authorization: Bearer $AEROLITH_TOKEN" \\
  -H "Content-Type: application/json" \\
  -d '{{"filter": {{"text": {{"$exists": true}}}}, "limit": 10}}'
"""

_SHELL = """# In a checkout of AerolithDB Cloud: pip install './clients/python[cli]'
export AEROLITH_URLS='{joined}'
export AEROLITH_TOKEN='{key}'

aerolith put notes first '{{"text": "hello"}}'
aerolith get notes first
aerolith query notes --filter '{{"text": {{"$exists": true}}}}' --limit 10
"""

_PYTHON = """# In a checkout of AerolithDB Cloud: pip install ./clients/python
import os

from aerolith import Client

NODES = {nodes}
KEY = os.environ["AEROLITH_TOKEN"]  # {key}

with Client(NODES, KEY) as client:
    print(client.put("notes", "first", {{"text": "hello"}}))
    print(client.get("notes", "first"))
    for note in client.iterate("notes", filter={{"text": {{"$exists": True}}}}):
        print(note)
"""

_TYPESCRIPT = """// In a checkout of AerolithDB Cloud: cd clients/typescript && npm ci && npm pack
// In your project: npm install .../clients/typescript/aerolith-0.1.0.tgz
import {{ Client }} from "aerolith";

const nodes = {nodes};
const client = new Client(nodes, process.env.AEROLITH_TOKEN ?? ""); // {key}

console.log(await client.put("notes", "first", {{ text: "hello" }}));
console.log(await client.get("notes", "first"));
for await (const note of client.iterate("notes", {{ filter: {{ text: {{ $exists: true }} }} }})) {{
  console.log(note);
}}
"""

_PYTHON_PLAIN = '''"""Needs only the standard library."""
import json
import os
import urllib.error
import urllib.request

NODES = {nodes}
KEY = os.environ["AEROLITH_TOKEN"]  # {key}


def call(method, path, body=None):
    """Ask the nodes in turn until one answers."""
    for node in NODES:
        request = urllib.request.Request(node + "/api/v1" + path, method=method)
        request.add_header("Authorization", f"Bearer {{KEY}}")
        request.add_header("Content-Type", "application/json")
        data = None if body is None else json.dumps(body).encode()
        try:
            with urllib.request.urlopen(request, data, timeout=5) as answer:
                return json.load(answer)
        except urllib.error.HTTPError:
            raise
        except OSError:
            continue
    raise SystemExit("no node answers")


print(call("PUT", "/collections/notes/documents/first", {{"text": "hello"}}))
print(call("GET", "/collections/notes/documents/first"))
print(call("POST", "/collections/notes/query", {{"filter": {{}}, "limit": 10}}))
'''


def snippets(urls: Sequence[str], key: str = "adk_…") -> list[Snippet]:
    """Return the snippets of a cluster; empty while it has no addresses."""
    if not urls:
        return []
    nodes = "[\n" + "".join(f'    "{url}",\n' for url in urls) + "]"
    fill = {"url": urls[0], "last": urls[-1], "joined": " ".join(urls), "nodes": nodes, "key": key}
    return [
        Snippet(language, title, template.format(**fill))
        for language, title, template in (
            ("curl", "curl", _CURL),
            ("shell", "Command line", _SHELL),
            ("python", "Python", _PYTHON),
            ("typescript", "TypeScript", _TYPESCRIPT),
            ("python-plain", "Python, without any package", _PYTHON_PLAIN),
        )
    ]
