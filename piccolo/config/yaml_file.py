"""Configuration files: the one door from a path to a checked document or model."""

from __future__ import annotations

from pathlib import Path

from piccolo.config.document import Document, load_documents
from piccolo.config.text_file import MAX_BYTES, read_text, source_name, to_text
from piccolo.config.validation import validate
from piccolo.core.errors import InvalidSpec

__all__ = [
    "MAX_BYTES",
    "Document",
    "load_documents",
    "load_file",
    "load_one",
    "read_text",
    "source_name",
    "to_text",
    "validate",
]


def load_file(path: Path) -> Document:
    """The one document of a configuration file; its value is None when the file is empty.

    Raises `InvalidSpec`, with file, line and column as far as they are known.
    """
    return load_one(read_text(path), source_name(path))


def load_one(text: str, source: str) -> Document:
    """The same from a text; `source` names it in errors."""
    documents = load_documents(text, source)
    if len(documents) > 1:
        raise InvalidSpec(
            f"{documents[1].place()}: a second document begins here: a configuration file is one"
            ' document, remove the "---"'
        )
    return documents[0] if documents else Document(source)
