"""Make configs/schema.json and the table of docs/config.md of the config's sections: python -m utils.config.docs"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from utils.config.loading import Config
from utils.config.official import REPOSITORY
from utils.io.terminal import say

TABLE = "| key | type | default | meaning |\n|---|---|---|---|\n"


def config_schema() -> dict[str, Any]:
    """Return the JSON Schema of config files, with descriptions and defaults."""
    schema = json.dumps(TypeAdapter(Config).json_schema())
    content: dict[str, Any] = json.loads(schema, object_hook=_tidy)
    content["properties"]["$schema"] = {"description": "The path of this schema, for editors.", "type": "string"}
    return content


def _tidy(node: dict[str, Any]) -> dict[str, Any]:
    """Remove pydantic's titles, which repeat the keys, and line breaks in descriptions."""
    text = {"description": " ".join(node["description"].split())} if "description" in node else {}
    return {key: value for key, value in (node | text).items() if key != "title"}


def config_rows(section: dict[str, Any], definitions: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield a row of the table for each key of a section of the schema, and of the sections in it."""
    for name, node in section["properties"].items():
        if "$ref" in node:
            inner = definitions[node["$ref"].rpartition("/")[2]]
            yield from config_rows(inner, definitions, f"{prefix}{name}.")
        elif name != "$schema":
            default = node.get("default")
            shown = "" if default is None else f"`{default if isinstance(default, str) else json.dumps(default)}`"
            yield f"| `{prefix}{name}` | {_type(node)} | {shown} | {node['description']} |\n"


def _type(node: dict[str, Any]) -> str:
    """Say in words what a key of the schema takes."""
    if "anyOf" in node:
        return " or ".join(_type(each) for each in node["anyOf"] if each.get("type") != "null")
    if "enum" in node or "const" in node:
        return ", ".join(f"`{each}`" for each in node.get("enum", [node.get("const")]))
    if node["type"] == "array":
        return f"list of {_type(node['items'])}" if "items" in node else f"list of {len(node['prefixItems'])} numbers"
    words = {"string": node.get("format", "text"), "boolean": "true or false"}
    limits = {"minimum": "from {:g}", "exclusiveMinimum": "above {:g}", "maximum": "to {:g}"}
    said = [words.get(node["type"], node["type"]), *(limits[key].format(node[key]) for key in limits if key in node)]
    return " ".join(said)


def made_files() -> dict[Path, str]:
    """Return the files with what is made of the sections; the page keeps what stands before its table."""
    page, schema = REPOSITORY / "docs/config.md", config_schema()
    introduction = page.read_text("utf-8").partition(TABLE)[0]
    rows = "".join(config_rows(schema, schema["$defs"]))
    text = json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
    return {page: introduction + TABLE + rows, REPOSITORY / "configs/schema.json": text}


def main(argv: Sequence[str] | None = None) -> int:
    """Write the files; return the exit code."""
    argparse.ArgumentParser(description=__doc__).parse_args(argv)
    for path, content in made_files().items():
        path.write_text(content, "utf-8")
        say([f"wrote {path}"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
