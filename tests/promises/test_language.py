"""Plain English in docstrings: few pronouns, no riddles, and one meaning for each class name."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path

from support.syntax import syntax_tree

import sunshine_async

ROOT = Path(sunshine_async.__file__).parent
PRONOUN = re.compile(r"\b(its?|they|them|theirs?|those|ones?|others?)\b", re.IGNORECASE)
QUESTION_WORD = re.compile(r"\b(what(ever)?|who|whose|whom|whether)\b", re.IGNORECASE)
BEGINNING = re.compile(r"(?:^|(?<=[.:;] ))(?:What|Who|Whose|Whom|Whether|How)\b")
CODE = re.compile(r"``[^`]*``|`[^`]*`|::\n\n(?: {4}.*\n?)+")
SERVICES = ("dixa", "smooch", "sunshine")


def trees() -> dict[str, ast.Module]:
    """Return the syntax tree of each file."""
    return {str(file.relative_to(ROOT)): syntax_tree(file) for file in sorted(ROOT.rglob("*.py"))}


@cache
def docstrings() -> list[tuple[str, str]]:
    """Return the place and the text of each docstring: of modules, classes, functions, attributes."""
    return list(_docstrings())


def _docstrings() -> Iterator[tuple[str, str]]:
    for name, module in trees().items():
        for node in ast.walk(module):
            body = getattr(node, "body", None)
            for before, child in (
                zip([None, *body], body, strict=False) if isinstance(body, list) else ()
            ):
                match child:
                    case ast.Expr(value=ast.Constant(value=str(text))) if (
                        before is None or isinstance(before, ast.Assign | ast.AnnAssign)
                    ):
                        yield f"{name}:{child.lineno}", CODE.sub(" ", text)


def test_docstrings_use_few_pronouns() -> None:
    """Of 1,000 words at most 17 are pronouns, and at most 5 ask what, who or whether."""
    text = " ".join(text for _, text in docstrings())
    words = len(re.findall(r"[A-Za-z']+", text))

    assert len(PRONOUN.findall(text)) / words <= 0.017
    assert len(QUESTION_WORD.findall(text)) / words <= 0.005


def test_no_sentence_begins_with_a_question_word() -> None:
    """A docstring states: no sentence begins with What, Who, Whose, Whom, Whether or How."""
    found = [place for place, text in docstrings() if BEGINNING.search(" ".join(text.split()))]

    assert found == []


def test_a_class_name_has_one_meaning() -> None:
    """A class name stands once, a leading underscore ignored; the services' own names excepted."""
    published = {
        name for service in SERVICES for name in import_module(f"sunshine_async.{service}").__all__
    }
    names = Counter(
        node.name.lstrip("_")
        for file, module in trees().items()
        for node in ast.walk(module)
        if isinstance(node, ast.ClassDef)
        and not (file.startswith(SERVICES) and node.name in published)
    )

    assert [name for name, count in names.items() if count > 1] == []
