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

_WEBSOCKET = """# pip install websockets
import json
import os

from websockets.sync.client import connect

NODE = "{socket}/api/v1/ws"
KEY = os.environ["AEROLITH_TOKEN"]  # {key}
HEADERS = {{"Authorization": f"Bearer {{KEY}}"}}

with connect(NODE, additional_headers=HEADERS) as socket:

    def ask(**frame):
        socket.send(json.dumps(frame))
        answer = json.loads(socket.recv())
        if answer["type"] == "error":
            raise SystemExit(answer["problem"]["detail"])
        return answer

    first = {{"collection": "notes", "document_id": "first"}}
    written = ask(id=1, type="put", document={{"text": "hello"}}, **first)
    print(written["body"])
    print(ask(id=2, type="get", **first)["body"])

    # Changes come by themselves, from a place on.
    ask(id=3, type="subscribe", collection="notes", after=str(written["sequence"] - 1))
    print(json.loads(socket.recv())["change"])
"""

_GRAPHQL = """export AEROLITH_TOKEN='{key}'
ask() {{
  curl -sS --fail "$1/graphql" -d "$2" -H "Content-Type: application/json" \\
    -H "Authorization: Bearer $AEROLITH_TOKEN"
}}

# Write a document ...
ask {url} '{{
"query": "mutation($x: JSON!) {{put(collection: \\"notes\\", id: \\"first\\", data: $x) {{data}}}}",
"variables": {{"x": {{"text": "hello"}}}}}}'

# ... read it back, from any node ...
ask {last} '{{
"query": "{{document(collection: \\"notes\\", id: \\"first\\") {{version data}}}}"}}'

# ... and ask for documents.
ask {url} '{{
"query": "query($f:JSON) {{documents(collection: \\"notes\\", filter: $f) {{documents {{data}}}}}}",
"variables": {{"f": {{"text": {{"$exists": true}}}}}}}}'
"""

_GRPC = """# pip install grpcio grpcio-reflection: the node itself describes its calls.
import os

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

NODE = "{grpc}"
KEY = os.environ["AEROLITH_TOKEN"]  # {key}
with open("ca.pem", "rb") as file:  # Of the page Connect: who signs the nodes' certificates.
    CREDENTIALS = grpc.ssl_channel_credentials(file.read())

with grpc.secure_channel(NODE, CREDENTIALS) as channel:
    pool = DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
    service = pool.FindServiceByName("aerolith.v1.DataService")

    def call(name, **fields):
        method = service.methods_by_name[name]
        kind = channel.unary_stream if method.server_streaming else channel.unary_unary
        ask = kind(
            f"/{{service.full_name}}/{{name}}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=GetMessageClass(method.output_type).FromString,
        )
        request = GetMessageClass(method.input_type)(**fields)
        return ask(request, metadata=[("authorization", f"Bearer {{KEY}}")], timeout=5)

    print(call("Put", collection="notes", id="first", json=b'{{"text": "hello"}}'))
    print(call("Get", collection="notes", id="first").json.decode())
    for page in call("Query", collection="notes", limit=10):
        print(page.documents_json)
"""


def snippets(urls: Sequence[str], key: str = "adk_…", *, grpc: Sequence[str] = ()) -> list[Snippet]:
    """Return the snippets of a cluster; empty while it has no addresses.

    That for gRPC is left out while no node has a port for it.
    """
    if not urls:
        return []
    nodes = "[\n" + "".join(f'    "{url}",\n' for url in urls) + "]"
    fill = {
        "url": urls[0],
        "last": urls[-1],
        "socket": urls[0].replace("http", "ws", 1),
        "joined": " ".join(urls),
        "nodes": nodes,
        "key": key,
        "grpc": grpc[0] if grpc else "",
    }
    return [
        Snippet(language, title, template.format(**fill))
        for language, title, template in (
            ("curl", "curl", _CURL),
            ("shell", "Command line", _SHELL),
            ("python", "Python", _PYTHON),
            ("typescript", "TypeScript", _TYPESCRIPT),
            ("python-plain", "Python, without any package", _PYTHON_PLAIN),
            ("graphql", "GraphQL, with curl", _GRAPHQL),
            ("websocket", "WebSocket, in Python", _WEBSOCKET),
            ("grpc", "gRPC, in Python", _GRPC),
        )
        if language != "grpc" or grpc
    ]
