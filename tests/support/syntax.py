"""Syntax trees of files, parsed once for all tests of the shape and the language."""

import ast
from functools import cache
from pathlib import Path


@cache
def syntax_tree(file: Path) -> ast.Module:
    """Return the syntax tree of *file*."""
    return ast.parse(file.read_text(encoding="utf-8"))
