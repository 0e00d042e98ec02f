"""YAML in and out: safe, with the line of every knob, and refusing a key that stands twice. Knows no knob.

Departures from PyYAML's YAML 1.1, towards 1.2: `1e-3` is a number (PyYAML wants `1.0e-3`); `yes`, `no`, `on`, `off`
and dates are text.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from fedray.config.problems import Where, dotted
from fedray.errors import Problem, UserMistake

Lines: TypeAlias = Mapping[Where, int]

_MERGE = "tag:yaml.org,2002:merge"
_FLOAT = "tag:yaml.org,2002:float"
_EXPONENT = re.compile(r"^[-+]?[0-9][0-9_]*(?:\.[0-9_]*)?[eE][-+]?[0-9]+$")
_BOOL = "tag:yaml.org,2002:bool"
_TRUE_OR_FALSE = re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$")
_TIMESTAMP = "tag:yaml.org,2002:timestamp"


class _Loader(yaml.SafeLoader):
    """Reads."""


class _Dumper(yaml.SafeDumper):
    """Writes what `_Loader` reads; a list stands in one line, and nothing is an alias."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in (_BOOL, _TIMESTAMP)]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(_BOOL, _TRUE_OR_FALSE, list("tTfF"))
for _either in (_Loader, _Dumper):  # the dumper keeps the old resolvers as well: it quotes `yes`, for other readers
    _either.add_implicit_resolver(_FLOAT, _EXPONENT, list("-+0123456789"))
_Dumper.add_representer(
    list, lambda dumper, items: dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=True)
)


def load(path: Path) -> tuple[dict[Any, Any], Lines]:
    """A YAML file as a mapping, and the line (from 1) of every key and list entry by its path.

    Raises:
        UserMistake: If it isn't there, isn't YAML, isn't a mapping, or has keys that stand twice (all of them).
    """
    text = _text(path)
    lines: dict[Where, int] = {}
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        twice = list(_walk(node, (), lines, set(), path.name))  # before construction, which unfolds merges in place
        tree = {} if node is None else loader.construct_document(node)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserMistake(_not_yaml(path, error)) from None
    if not isinstance(tree, dict):
        got = "a list" if isinstance(tree, list) else repr(tree)
        rule, mend = "must be a mapping of knobs to values", "for example `name: my-experiment`"
        raise UserMistake(Problem(f"{path.name}, line 1", got, rule, mend))
    if twice:
        raise UserMistake(twice)
    return tree, lines


def value(text: str) -> Any:
    """A single YAML value.

    Raises:
        ValueError: If it isn't one.
    """
    try:
        return yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader with two more resolvers
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(str(error)) from error


def dump(tree: Mapping[str, Any]) -> str:
    """A tree of mappings, lists and plain values as YAML, in its own order."""
    return yaml.dump(tree, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except IsADirectoryError:
        inside = sorted(file.name for file in path.iterdir() if file.suffix in (".yaml", ".yml"))
        mend = f"name a file in it: {', '.join(inside)}" if inside else "name a YAML file"
        problem = Problem(str(path), "a directory", "must be an experiment's YAML file", mend)
    except FileNotFoundError:
        beside = [file.name for file in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
        near = get_close_matches(path.name, beside, 1)
        mend = f"did you mean {path.parent / near[0]}?" if near else "check the path; it is relative to where you are"
        problem = Problem(str(path), "", "there is no such file", mend)
    except UnicodeDecodeError:
        problem = Problem(str(path), "other bytes", "must be text in UTF-8", "save it as UTF-8")
    except OSError as error:
        problem = Problem(str(path), "", f"can't be read: {error.strerror}", "check its permissions")
    raise UserMistake(problem)


def _not_yaml(path: Path, error: Exception) -> Problem:
    mark = getattr(error, "problem_mark", None)
    place = f"{path.name}, line {mark.line + 1}, column {mark.column + 1}" if mark else path.name
    said = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    mend = "indent with spaces, put a space after each colon, and quote text that contains `: ` or ` #`"
    return Problem(place, "", f"isn't YAML: {said}", mend)


def _walk(node: yaml.Node | None, here: Where, lines: dict[Where, int], seen: set[int], file: str) -> Iterator[Problem]:
    """Note the line of everything below a node; yield the keys that stand twice."""
    if node is None or id(node) in seen:  # an alias: its lines are those of its anchor
        return
    seen.add(id(node))
    entries: list[tuple[Hashable, yaml.Node, yaml.Node]] = []
    if isinstance(node, yaml.MappingNode):
        entries = [(key.value, key, below) for key, below in node.value if isinstance(key, yaml.ScalarNode)]
    elif isinstance(node, yaml.SequenceNode):
        entries = [(number, below, below) for number, below in enumerate(node.value)]
    for name, marked, below in entries:
        where = (*here, name) if isinstance(name, int) else (*here, str(name))
        line = marked.start_mark.line + 1
        if where in lines and marked.tag != _MERGE:
            rule = f"a key may stand only once; it stands in line {lines[where]} already"
            yield Problem(f"{dotted(where)} ({file}, line {line})", "", rule, "keep one of them")
        lines.setdefault(where, line)
        yield from _walk(below, where, lines, seen, file)
