"""Describe the monitor's API as OpenAPI, from its declarations.

python -m daemon.monitor.document      writes daemon/monitor/static/openapi.json
"""

import ast
import inspect
import json
import sys
from functools import reduce
from importlib import import_module
from operator import or_
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter
from starlette.responses import Response

from daemon.monitor.app import PARTS
from daemon.monitor.endpoints import Content, Endpoint, is_model
from trainer import __version__

FILE = Path(__file__).with_name("static") / "openapi.json"
REFERENCE = "#/components/schemas/{model}"
REFUSALS = {
    "400": "the request asks for what is not offered",
    "401": "no token, or a wrong one",
    "403": "the token may only read, or the request comes from another site",
    "404": "there is nothing of this name",
    "422": "the daemon's rules do not allow it; the message says why",
    "429": "too many requests",
    "503": "no daemon runs that could do it, or nothing can be read",
}


def openapi() -> dict[str, Any]:
    """Return the document."""
    schemas: dict[str, Any] = {"Error": {"type": "object", "properties": {"error": {"type": "string"}}}}
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in (endpoint for part in PARTS for endpoint in part.endpoints):
        path = endpoint.path.replace(":path}", "}")
        paths.setdefault(path, {})[endpoint.method.lower()] = _operation(endpoint, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Training monitor",
            "version": __version__,
            "description": "What the web page asks. Documents gain keys, and lose none.",
        },
        "security": [{"token": []}],
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": dict(sorted(schemas.items())),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(endpoint: Endpoint, schemas: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "operationId": endpoint.function.__name__,
        "summary": endpoint.summary,
        "parameters": [],
    }
    for name, parameter in endpoint.parameters().items():
        is_required = parameter.default is parameter.empty
        if parameter.annotation is Content:
            found["requestBody"] = {"content": {"application/octet-stream": {}}}
            continue
        schema = _schema(parameter.annotation, schemas)
        if is_model(parameter.annotation):
            found["requestBody"] = {"content": {"application/json": {"schema": schema}}}
        else:
            is_in_path = f"{{{name}" in endpoint.path
            found["parameters"].append(
                {
                    "name": name,
                    "in": "path" if is_in_path else "query",
                    "required": is_required or is_in_path,
                    "schema": schema,
                }
            )
    refusal = {"application/json": {"schema": {"$ref": REFERENCE.format(model="Error")}}}
    found["responses"] = {
        "200": _answer(endpoint, schemas),
        **{status: {"description": words, "content": refusal} for status, words in REFUSALS.items()},
    }
    return found


def _answer(endpoint: Endpoint, schemas: dict[str, Any]) -> dict[str, Any]:
    """Describe what is answered; of a response that is passed on as it is, only words.

    What returns a document or a response offers the same as a table, too.
    """
    kind = _returned(endpoint.function)
    kinds = get_args(kind) if get_origin(kind) in (UnionType, Union) else (kind,)
    documents = [one for one in kinds if not (isinstance(one, type) and issubclass(one, Response))]
    if not documents:
        return {"description": endpoint.summary}
    schema = _schema(reduce(or_, documents), schemas)
    content: dict[str, Any] = {"application/json": {"schema": schema}}
    if len(documents) < len(kinds):
        content["text/csv"] = {"schema": {"type": "string"}}
    return {"description": endpoint.summary, "content": content}


def _returned(function: Any) -> Any:
    """Return the type of the answer, whose name its module only knows while types are checked."""
    annotation = inspect.signature(function).return_annotation
    if not isinstance(annotation, str):
        return annotation
    module = sys.modules[function.__module__]
    names = {**vars(module)}
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            for line in node.body:
                assert isinstance(line, ast.ImportFrom)
                names |= {
                    name.name: getattr(import_module(str(line.module)), name.name) for name in line.names
                }
    found = get_type_hints(function, names, include_extras=True)["return"]
    # A response that is a document already, as another process has made it
    return get_args(found)[1] if get_origin(found) is Annotated else found


def _schema(kind: Any, schemas: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a type; those that it refers to are added to `schemas`."""
    found = TypeAdapter(kind).json_schema(ref_template=REFERENCE, mode="serialization")
    schemas |= found.pop("$defs", {})
    return found


def main() -> None:
    """Write the document."""
    FILE.write_text(json.dumps(openapi(), indent=1) + "\n")


if __name__ == "__main__":
    main()
