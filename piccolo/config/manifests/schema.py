"""JSON Schema (draft 2020-12) of the documents, from the models that check them.

It is what editors need to complete and explain keys. It is not stricter than the models; rules
between several keys are the models' alone.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from piccolo.config.manifests.kinds import KINDS
from piccolo.core.errors import NotFound
from piccolo.core.words import suggest


class _Generator(GenerateJsonSchema):
    """Without a title for each key, which would repeat its name."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def model_schema(self, schema: Any) -> dict[str, Any]:
        """A key without a value counts as not given, if it may be left out."""
        made = super().model_schema(schema)
        properties = made.get("properties", {})
        for name in properties.keys() - set(made.get("required", ())):
            properties[name] = _or_null(properties[name])
        return made


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    null = {"type": "null"}
    choices = schema.get("anyOf", [])
    if null in choices or schema.get("type") == "null":
        return schema
    notes = {k: v for k, v in schema.items() if k in ("description", "default")}
    rest = {k: v for k, v in schema.items() if k not in notes}
    return {"anyOf": [*(choices if [*rest] == ["anyOf"] else [rest]), null], **notes}


def schema_of(name: str | None) -> dict[str, Any]:
    """Of one kind, in whatever case its name is written; None: of all of them together.

    Raises `NotFound`.
    """
    if name is None:
        models = [(model, "validation") for _, model in KINDS.values()]
        refs, shared = models_json_schema(models, schema_generator=_Generator)  # type: ignore[arg-type]
        choice = {
            "type": "object",
            "required": ["apiVersion", "kind"],
            "properties": {
                "apiVersion": {"enum": sorted({version for version, _ in KINDS.values()})},
                "kind": {"enum": list(KINDS), "description": "What this document is."},
            },
            # Not oneOf: of that, editors can only say that nothing matches.
            "allOf": [
                {
                    "if": {"properties": {"kind": {"const": kind}}, "required": ["kind"]},
                    "then": refs[model, "validation"],
                }
                for kind, (_, model) in KINDS.items()
            ],
        }
        return {**_head("all"), **choice, "$defs": shared["$defs"]}
    kind = next((k for k in KINDS if k.lower() == name.lower()), None)
    if kind is None:
        guess = suggest(name, KINDS)
        raise NotFound(f'there is no kind "{name}"{guess or ":"} there are {", ".join(KINDS)}')
    model: type[BaseModel] = KINDS[kind][1]
    return {**_head(kind), **model.model_json_schema(schema_generator=_Generator)}


def _head(title: str) -> dict[str, Any]:
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": title}
