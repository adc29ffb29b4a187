"""JSON Schema 2020-12 for documents, in bounded and counted work, so that replicas agree.

`compile_schema(schema)` refuses what is no schema, or one that cannot be followed in bounded work,
with pointers; `Schema.faults(document, size_bytes)` returns what does not fit.
"""

from dataplane.documents.schemas.compiler import Schema, compile_schema

__all__ = ["Schema", "compile_schema"]
