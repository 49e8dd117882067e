"""What a task's templates can reach, and the smallest context that renders them the same.

A command for a worker carries this context instead of all outputs of the execution, so that a task run's
cost doesn't grow with its execution.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any

from shared.expressions.errors import Refusal, RenderError
from shared.expressions.facts import EACH, EVERY, Facts, Path, Subscript, facts_of, opens
from shared.expressions.functions import each_values
from shared.expressions.renderer import is_template
from shared.model.reference import is_reference

#: How often templates found in values may lead to further ones before everything is taken.
ROUNDS = 20
_FIRST_OF_KEYS = ("{", "%", "#")


@dataclass(frozen=True, slots=True)
class Access:
    """What is read of a value: all of it, or some of what is in it."""

    whole: bool = False
    #: By key of a map or index of a list; `EVERY` stands for each item of a list.
    keys: Mapping[Any, Access] = field(default_factory=dict)
    #: By subscripts whose keys are known only with the variables; `EACH` among them.
    subscripts: tuple[tuple[Any, Access], ...] = ()


@dataclass(frozen=True, slots=True)
class Reach:
    """What a set of templates can read of the context."""

    #: What is read of each root.
    tree: Mapping[str, Access]
    #: Roots that are read at a place that only rendering can tell, or as a whole.
    wide: frozenset[str] = frozenset()
    #: Whether anything at all may be read.
    everything: bool = False
    #: Values that are rendered as templates themselves, and whether recursively: followed by `prune`.
    rendered: tuple[tuple[Path, bool], ...] = ()
    #: Templates whose result is rendered again, so that values may become templates.
    looping: frozenset[str] = frozenset()
    #: What each template reads.
    facts: tuple[Facts, ...] = field(default=(), repr=False)

    @property
    def roots(self) -> frozenset[str]:
        """Names of the variables that are read; `everything` says if there may be others."""
        return frozenset(self.tree)

    def prune(self, variables: Mapping[str, Any]) -> dict[str, Any]:
        """Give the smallest context for which rendering is the same. Values are shared, not copied."""
        if not self.everything and not self.rendered and not self.looping:
            return _pruned_roots(self.tree, variables)
        collected = _Collected.of(self)
        for _ in range(ROUNDS):
            collected.follow(variables)
            if collected.covers_subscripts() or collected.everything:
                break
            pruned = collected.pruned(variables)
            if not collected.looping or not collected.loop(pruned):
                if collected.everything:
                    break
                return pruned
        return dict(variables)


def reach(
    templates: Iterable[Any],
    vars: Mapping[str, Any] | None = None,  # noqa: A002 - Kestra's name for them
    *,
    recursive: bool = False,
) -> Reach:
    """Find what templates can reach.

    Args:
        templates: values as a task has them: texts, and maps and lists of them; map keys are templates too.
        vars: the flow's variables as written; templates in them are followed where they are rendered.
        recursive: whether the renderer renders recursively.
    """
    collected = _Collected()
    for source in _texts(list(templates)):
        collected.add(source, looping=recursive)
    if vars is not None:
        known = {"vars": vars}
        for _ in range(ROUNDS):
            collected.follow(known, only="vars")
            if not collected.looping or not collected.loop(collected.pruned(known)):
                break
        else:
            collected.everything = True
    return collected.reach()


def _texts(value: Any) -> Iterator[str]:
    """Give the templates in a nested value."""
    if isinstance(value, str):
        if is_template(value):
            yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _texts(key)
            yield from _texts(item)
    elif isinstance(value, (list, tuple, AbstractSet)):
        for item in value:
            yield from _texts(item)


class _Collected:
    """Facts of templates while they are put together."""

    def __init__(self) -> None:
        self._facts: dict[Facts, None] = {}
        self._seen: set[tuple[str, bool]] = set()
        self._followed: set[tuple[Path, bool]] = set()
        self.looping: set[str] = set()
        self.everything = False

    @classmethod
    def of(cls, reach: Reach) -> _Collected:
        collected = cls()
        collected._facts = dict.fromkeys(reach.facts)
        collected.looping = set(reach.looping)
        collected.everything = reach.everything
        done = {entry for facts in reach.facts for entry in facts.rendered} - set(reach.rendered)
        collected._followed = done
        collected._seen = {(source, True) for source in reach.looping}
        return collected

    def add(self, source: str, *, looping: bool) -> bool:
        """Add a template; `looping` if its result is rendered again. Say whether it is a new one."""
        if (source, looping) in self._seen:
            return False
        self._seen.add((source, looping))
        facts = facts_of(source)
        self._facts[facts] = None
        self.everything |= facts.everything
        if looping:
            self.looping.add(source)
            # What a template in pieces becomes, or one that makes marks, can't be told.
            self.everything |= facts.broken or facts.inventive or bool(facts.locals)
        for template, recursive in facts.templates:
            self.add(template, looping=recursive or looping)
        return True

    def follow(self, variables: Mapping[str, Any], only: str | None = None) -> None:
        """Add the templates that are values and are rendered, as far as they can be found."""
        while not self.everything:
            waiting = [
                entry
                for facts in self._facts
                for entry in facts.rendered
                if entry not in self._followed and (only is None or entry[0][0] == only)
            ]
            if not waiting:
                return
            for path, recursive in waiting:
                self._followed.add((path, recursive))
                try:
                    value = _value_at(variables, path)
                except (RenderError, Refusal, LookupError):
                    # There is nothing to render: rendering fails the same, or comes upon a default.
                    continue
                for source in _texts(value):
                    self.add(source, looping=recursive)

    def loop(self, pruned: Mapping[str, Any]) -> bool:
        """Add the values that may become templates by being rendered again; say whether there are new ones."""
        new = False
        for text, is_key in _all_texts(pruned):
            if opens(text) or (is_key and text.startswith(_FIRST_OF_KEYS)):
                self.everything = True
                return False
            if is_template(text):
                new |= self.add(text, looping=True)
        return new and not self.everything

    def _trees(self) -> dict[str, Access]:
        root: dict[Any, Any] = {}
        for facts in self._facts:
            for path in facts.paths:
                node = root
                for step in path:
                    node = node.setdefault(step, {})
                node[_WHOLE] = True
        frozen = _frozen(root)
        return dict(frozen.keys)

    def pruned(self, variables: Mapping[str, Any]) -> dict[str, Any]:
        """Give what the facts read of the variables."""
        return _pruned_roots(self._trees(), variables)

    def covers_subscripts(self) -> bool:
        """Say whether a template may cover a variable that another one's subscript is made of."""
        covered = {name for facts in self._facts for name in facts.locals}
        return any(covered & names for names in _subscript_roots(self._trees().values()))

    def reach(self) -> Reach:
        """Give the value object."""
        trees = self._trees()
        self.everything |= self.covers_subscripts()
        wide = {name for facts in self._facts for name in facts.dynamic}
        wide |= {name for name, access in trees.items() if access.whole}
        rendered = tuple(entry for facts in self._facts for entry in facts.rendered if entry not in self._followed)
        return Reach(trees, frozenset(wide), self.everything, rendered, frozenset(self.looping), tuple(self._facts))


#: Marks, while paths are collected, that a path ends here.
_WHOLE = object()


def _frozen(node: Mapping[Any, Any]) -> Access:
    if _WHOLE in node:
        return Access(whole=True)
    keys = {}
    subscripts = []
    for step, child in node.items():
        if step is EACH or isinstance(step, Subscript):
            subscripts.append((step, _frozen(child)))
        else:
            keys[step] = _frozen(child)
    return Access(keys=keys, subscripts=tuple(subscripts))


def _subscript_roots(accesses: Iterable[Access]) -> Iterator[frozenset[str]]:
    for access in accesses:
        for step, child in access.subscripts:
            yield frozenset({"parents", "taskrun"}) if step is EACH else step.roots
            yield from _subscript_roots([child])
        yield from _subscript_roots(access.keys.values())


class _Unknown(Exception):
    """A key can't be evaluated: the value is taken as a whole."""


def _keys(access: Access, variables: Mapping[str, Any]) -> dict[Any, Access]:
    """Give what is read by key, subscripts evaluated.

    Raises:
        _Unknown: a subscript can't be evaluated, or gives what is no key.
    """
    if not access.subscripts:
        return dict(access.keys)
    keys = dict(access.keys)
    for step, child in access.subscripts:
        try:
            if step is EACH:
                chain = each_values(variables.get("parents"), variables.get("taskrun"))
            else:
                chain = [step.key(variables)]
        except (RenderError, Refusal) as error:
            raise _Unknown from error
        if not all(isinstance(key, (str, int)) and not isinstance(key, bool) for key in chain):
            raise _Unknown
        for key in reversed(chain[1:]):
            child = Access(keys={key: child})  # noqa: PLW2901 - it grows from the inside out
        keys[chain[0]] = _merged(keys[chain[0]], child) if chain[0] in keys else child
    return keys


def _merged(one: Access, other: Access) -> Access:
    if one.whole or other.whole:
        return Access(whole=True)
    keys = dict(one.keys)
    for key, child in other.keys.items():
        keys[key] = _merged(keys[key], child) if key in keys else child
    return Access(keys=keys, subscripts=(*one.subscripts, *other.subscripts))


def _pruned_roots(tree: Mapping[str, Access], variables: Mapping[str, Any]) -> dict[str, Any]:
    return {root: _pruned(variables[root], access, variables) for root, access in tree.items() if root in variables}


def _pruned(value: Any, access: Access, variables: Mapping[str, Any]) -> Any:
    if access.whole or not isinstance(value, (Mapping, list)) or is_reference(value):
        return value  # what is read of a reference is read of what it stands for, where that is at hand
    try:
        keys = _keys(access, variables)
    except _Unknown:
        return value
    if isinstance(value, Mapping):
        pruned: dict[Any, Any] = {}
        if EVERY in keys:
            return value
        for key, child in keys.items():
            # A number finds the key that is its text, see `attributes`.
            found = str(key) if isinstance(key, int) and key not in value else key
            if found in value:
                if found in pruned:
                    return value
                pruned[found] = _pruned(value[found], child, variables)
        return pruned
    every = keys.pop(EVERY, None)
    if not all(type(key) is int for key in keys):
        return value
    # What isn't read leaves its place, so that indices and the length stay.
    items = []
    for place, item in enumerate(value):
        read = [access for access in (keys.get(place), every) if access is not None]
        items.append(_pruned(item, functools.reduce(_merged, read), variables) if read else None)
    return items


def _value_at(variables: Mapping[str, Any], path: Path) -> Any:
    """Give the value at the end of a path.

    Raises:
        Refusal: the path ends early.
    """
    value: Any = variables
    for step in path:
        key: Any = step.key(variables) if isinstance(step, Subscript) else step
        if not isinstance(key, (str, int)) or not isinstance(value, (Mapping, list)):
            raise Refusal("the path ends early")
        if isinstance(value, list) and isinstance(key, str):
            key = int(key) if key.isascii() and key.isdigit() and len(key) < len(str(len(value))) + 1 else len(value)
        elif isinstance(value, Mapping) and isinstance(key, int) and key not in value:
            key = str(key)
        value = value[key]
    return value


def _all_texts(value: Any) -> Iterator[tuple[str, bool]]:
    if isinstance(value, str):
        yield value, False
    elif isinstance(value, Mapping):
        for key, item in value.items():
            if isinstance(key, str):
                yield key, True
            yield from _all_texts(item)
    elif isinstance(value, (list, tuple, AbstractSet)):
        for item in value:
            yield from _all_texts(item)
