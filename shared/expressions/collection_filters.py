"""Filters and tests of lists and maps, and those that take anything."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any

from shared.expressions import operators
from shared.expressions.errors import Refusal
from shared.expressions.json_text import from_json
from shared.expressions.registry import filtering, integer_of, needed, testing, text_of
from shared.expressions.values import Entry, class_name, is_number, java_text

if TYPE_CHECKING:
    from shared.expressions.evaluation import Evaluation


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and not isinstance(value, Entry)


def _is_collection(value: Any) -> bool:
    return _is_list(value) or isinstance(value, AbstractSet)


@testing("null")
def is_null(value: Any) -> bool:
    """Say whether a value is null."""
    return value is None


@testing("empty")
def is_empty(value: Any) -> bool:
    """Say whether a value is null, a blank text, or an empty list or map."""
    if isinstance(value, str):
        return not value.strip()
    return value is None or ((isinstance(value, Mapping) or _is_collection(value)) and not value)


@testing("map")
def is_map(value: Any) -> bool:
    """Say whether a value is a map."""
    return isinstance(value, Mapping)


@testing("iterable")
def is_iterable(value: Any) -> bool:
    """Say whether a value is a list; maps aren't iterable in Pebble's sense."""
    return _is_collection(value)


@testing("even")
def is_even(value: Any) -> bool:
    """Say whether an integer is even."""
    if value is None:
        raise Refusal('Can not pass null value to "even" test.')
    return integer_of(value, "The input of the tests 'even' and 'odd'") % 2 == 0


@testing("odd")
def is_odd(value: Any) -> bool:
    """Say whether an integer is odd."""
    return not is_even(value)


@testing("json")
def is_json(value: Any) -> bool:
    """Say whether a text is JSON."""
    try:
        from_json(text_of(value, "The input of the test 'json'"))
    except Refusal:
        if not isinstance(value, str):
            raise
        # Jackson reads an empty text as a missing node, without an error.
        return not value.strip()
    return True


@filtering("default", "default")
def default(evaluation: Evaluation, value: Any, given: Mapping[str, Any]) -> Any:
    """Give the default for what is missing, null or empty."""
    del evaluation
    return given.get("default") if is_empty(value) else value


@filtering("className")
def class_name_of(evaluation: Evaluation, value: Any, given: Mapping[str, Any]) -> Any:
    """Give the name of the Java class."""
    del evaluation, given
    return None if value is None else class_name(value)


@filtering("length")
def length(evaluation: Evaluation, value: Any, given: Mapping[str, Any]) -> int:
    """Count the characters or items; 0 for null and everything else."""
    del evaluation, given
    sized = isinstance(value, (str, Mapping)) or _is_collection(value)
    return len(value) if sized else 0


@filtering("first")
def first(evaluation: Evaluation, value: Any, given: Mapping[str, Any]) -> Any:
    """Give the first item or character."""
    del evaluation, given
    if isinstance(value, str) and not value:
        raise Refusal("Index 0 out of bounds for length 0")
    return _end(value, 0, "first")


@filtering("last")
def last(evaluation: Evaluation, value: Any, given: Mapping[str, Any]) -> Any:
    """Give the last item or character."""
    del evaluation, given
    if isinstance(value, str) and not value:
        raise Refusal("Index -1 out of bounds for length 0")
    return _end(value, -1, "last")


def _end(value: Any, place: int, name: str) -> Any:
    if value is None:
        return None
    if isinstance(value, str):
        return value[place]
    if not _is_collection(value):
        raise Refusal(f"The '{name}' filter can't be applied to {class_name(value)}")
    return list(value)[place] if value else None


@filtering("join", "separator")
def join(evaluation: Evaluation, value: Any, given: Mapping[str, Any]) -> Any:
    """Join the items to a text."""
    if value is None:
        return None
    if not _is_collection(value):
        raise Refusal("The 'join' filter expects that the input is either a collection or an array.")
    separator = given.get("separator")
    glue = "" if separator is None else text_of(separator, "The argument 'separator'")
    texts = []
    total = 0
    for item in value:
        text = java_text(item, evaluation.budget)
        total += len(text) + len(glue)
        evaluation.budget.text(total)
        evaluation.budget.step()
        texts.append(text)
    return glue.join(texts)


def _order(left: Any, right: Any) -> int:
    if is_number(left) and is_number(right):
        return int(left > right) - int(left < right)
    if isinstance(left, type(right)) or isinstance(right, type(left)):
        try:
            return int(left > right) - int(left < right)
        except TypeError as error:
            raise Refusal(f"{class_name(left)} can't be sorted") from error
    raise Refusal(f"{class_name(left)} can't be compared to {class_name(right)}")


def _sorted(evaluation: Evaluation, value: Any, *, backwards: bool) -> Any:
    if value is None:
        return None
    if not _is_list(value):
        raise Refusal("Unsupported input type for sort filter")
    evaluation.budget.items(len(value))
    return sorted(value, key=functools.cmp_to_key(_order), reverse=backwards)


@filtering("sort")
def sort(evaluation: Evaluation, value: Any, given: Mapping[str, Any]) -> Any:
    """Sort a list."""
    del given
    return _sorted(evaluation, value, backwards=False)


@filtering("rsort")
def rsort(evaluation: Evaluation, value: Any, given: Mapping[str, Any]) -> Any:
    """Sort a list backwards."""
    del given
    return _sorted(evaluation, value, backwards=True)


@filtering("reverse")
def reverse(evaluation: Evaluation, value: Any, given: Mapping[str, Any]) -> Any:
    """Turn a list around."""
    del given
    if value is None:
        return None
    if not _is_list(value):
        raise Refusal(f"The 'reverse' filter can't be applied to {class_name(value)}")
    evaluation.budget.items(len(value))
    return list(reversed(value))


@filtering("distinct")
def distinct(evaluation: Evaluation, value: Any, given: Mapping[str, Any]) -> Any:
    """Leave out the items that came before."""
    del given
    if value is None:
        return None
    if not _is_collection(value):
        raise Refusal("The 'distinct' filter can only be applied to lists.")
    kept: list[Any] = []
    seen: set[tuple[str, Any]] = set()
    for item in value:
        evaluation.budget.step()
        if isinstance(item, (str, int, float)):
            key = (class_name(item), item)
            if key in seen:
                continue
            seen.add(key)
        else:
            evaluation.budget.step(len(kept))
            if any(operators.equal(item, other) for other in kept):
                continue
        kept.append(item)
    return kept


@filtering("merge", "items")
def merge(evaluation: Evaluation, value: Any, given: Mapping[str, Any]) -> Any:
    """Put two lists or maps together."""
    items = given.get("items")
    if value is None or items is None:
        if value is None and items is None:
            raise Refusal("The two arguments to be merged are null")
        return items if value is None else value
    if isinstance(value, Mapping):
        if isinstance(items, Mapping):
            evaluation.budget.items(len(value) + len(items))
            return {**value, **items}
        if _is_list(items):
            evaluation.budget.items(len(value) + len(items))
            return {**value, **{item: item for item in items}}
        raise Refusal(f"Currently, only Maps and Lists can be merged with a Map. Arg2: {class_name(items)}")
    if _is_list(value):
        if isinstance(items, Mapping):
            items = [Entry(key, item) for key, item in items.items()]
        if _is_list(items):
            evaluation.budget.items(len(value) + len(items))
            return [*value, *items]
        raise Refusal(f"Currently, only Maps and Lists can be merged with a List. Arg2: {class_name(items)}")
    raise Refusal("The object being filtered is not a Map/List/Array")


@filtering("slice", "fromIndex", "toIndex")
def slice_of(evaluation: Evaluation, value: Any, given: Mapping[str, Any]) -> Any:
    """Give the part of a list or text from one place up to another."""
    del evaluation
    if value is None:
        return None
    start, end = given.get("fromIndex"), given.get("toIndex")
    start = 0 if start is None else start
    for name, place in (("fromIndex", start), ("toIndex", end)):
        if place is not None and not is_number(place):
            raise Refusal(f"Argument {name} must be a number. Actual type: {class_name(place)}")
    if not (isinstance(value, str) or _is_list(value)):
        raise Refusal(
            f"Slice filter can only be applied to String, List and array inputs. Actual type was: {class_name(value)}"
        )
    first_, last_ = int(start), len(value) if end is None else int(end)
    if first_ < 0:
        raise Refusal("fromIndex must be greater than 0")
    if last_ > len(value):
        raise Refusal(f"toIndex must be smaller than input size: {len(value)}")
    if first_ > last_ or (end is not None and first_ == last_):
        raise Refusal("toIndex must be greater than fromIndex")
    return value[first_:last_]


@filtering("chunk", "size")
def chunk(evaluation: Evaluation, value: Any, given: Mapping[str, Any]) -> Any:
    """Cut a list into lists of a size."""
    if value is None:
        return None
    size = needed(given, "size", "'chunk' filter expects an argument 'size'.")
    if not _is_list(value):
        raise Refusal(f"'chunk' filter can only be applied to List. Actual type was: {class_name(value)}")
    step = integer_of(size, "The argument 'size'")
    if step <= 0:
        raise Refusal("The argument 'size' must be greater than 0")
    evaluation.budget.items(len(value))
    return [list(value[start : start + step]) for start in range(0, len(value), step)]


@filtering("flatten")
def flatten(evaluation: Evaluation, value: Any, given: Mapping[str, Any]) -> Any:
    """Replace the lists in a list by their items, one level deep."""
    del given
    if value is None:
        return None
    if not _is_list(value):
        raise Refusal("The 'flatten' filter can only be applied to lists.")
    flat: list[Any] = []
    for item in value:
        if _is_list(item):
            evaluation.budget.items(len(item))
            flat.extend(item)
        else:
            evaluation.budget.step()
            flat.append(item)
    return flat


@filtering("keys")
def keys(evaluation: Evaluation, value: Any, given: Mapping[str, Any]) -> Any:
    """Give the keys of a map, or the indices of a list."""
    del given
    if value is None:
        return None
    if isinstance(value, Mapping):
        return list(value)
    if _is_list(value):
        evaluation.budget.items(len(value))
        return list(range(len(value)))
    raise Refusal(f"'keys' filter can only be applied to List, Map, Array. Actual type was: {class_name(value)}")


@filtering("values")
def values(evaluation: Evaluation, value: Any, given: Mapping[str, Any]) -> Any:
    """Give the values of a map."""
    del evaluation, given
    if value is None:
        return None
    if isinstance(value, Mapping):
        return list(value.values())
    raise Refusal(f"'values' filter can only be applied to Map. Actual type was: {class_name(value)}")
