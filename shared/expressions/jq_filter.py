"""The `jq` filter.

Plain paths (`.a.b[0]`, `.[].id`) are followed here, fast and without changing a number. Everything else is
jq's own: in this process where a program can't run for long, and else in a process of its own with limits,
since nothing stops libjq from within.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import jq
import regex

from shared.expressions.errors import Excess, Refusal
from shared.expressions.json_text import from_json, plain
from shared.expressions.registry import filtering, needed, text_of
from shared.expressions.values import Entry, class_name

if TYPE_CHECKING:
    from shared.expressions.evaluation import Evaluation

#: Seconds and bytes of memory for a program that might run on and on.
ISOLATED_SECONDS = 5.0
ISOLATED_BYTES = 1024 * 1024 * 1024
#: Estimated steps up to which a program runs in this process: well below a second.
DIRECT_WORK = 1_000_000
#: Longest program; longer ones only cost time.
LONGEST = 10_000

_STEP = regex.compile(r'\.?(?:(\[\s*\])|\[\s*(-?\d{1,9})\s*\]|\[\s*"([^"\\]*)"\s*\])|\.([A-Za-z_]\w*)|\."([^"\\]*)"')
_TEXT = regex.compile(r'"(?:[^"\\]|\\.)*"')
_COMMENT = regex.compile(r"#[^\n]*")
_WORD = regex.compile(r"(?<![.$\w])[A-Za-z_]\w*")
#: Words that give away what isn't the template's, or read from elsewhere.
_FORBIDDEN = frozenset(
    {
        "env",
        "input",
        "inputs",
        "input_filename",
        "import",
        "include",
        "modulemeta",
        "get_search_list",
        "debug",
        "stderr",
        "halt",
        "halt_error",
        "input_line_number",
    }
)
#: Words whose work is bounded by the length of the input.
_BOUNDED = frozenset(
    [
        "map",
        "map_values",
        "select",
        "keys",
        "keys_unsorted",
        "values",
        "has",
        "in",
        "contains",
        "inside",
        "length",
        "utf8length",
        "not",
        "add",
        "any",
        "all",
        "flatten",
        "floor",
        "ceil",
        "round",
        "sqrt",
        "abs",
        "tostring",
        "tonumber",
        "type",
        "sort",
        "sort_by",
        "group_by",
        "min",
        "max",
        "min_by",
        "max_by",
        "unique",
        "unique_by",
        "reverse",
        "first",
        "last",
        "nth",
        "tojson",
        "fromjson",
        "to_entries",
        "from_entries",
        "with_entries",
        "startswith",
        "endswith",
        "ltrimstr",
        "rtrimstr",
        "trim",
        "ltrim",
        "rtrim",
        "join",
        "ascii_downcase",
        "ascii_upcase",
        "explode",
        "split",
        "if",
        "then",
        "else",
        "elif",
        "end",
        "and",
        "or",
        "empty",
        "error",
        "null",
        "true",
        "false",
        "numbers",
        "strings",
        "booleans",
        "arrays",
        "objects",
        "iterables",
        "scalars",
        "nulls",
        "index",
        "rindex",
        "indices",
        "transpose",
        "del",
        "path",
        "paths",
        "leaf_paths",
        "to_number",
        "tostream",
        "isnan",
        "isinfinite",
        "isvalid",
        "todate",
        "fromdate",
        "date",
        "now",
        "dateadd",
        "datesub",
        "strftime",
        "strptime",
        "mktime",
        "gmtime",
        "fromdateiso8601",
        "todateiso8601",
        "try",
        "catch",
        "infinite",
        "nan",
        "ascii",
        "toarray",
        "have_literal_numbers",
        "pick",
        "getpath",
    ]
)

_ITERATING = frozenset({"map", "map_values", "with_entries", "any", "all", "paths", "leaf_paths", "pick"})


@filtering("jq", "expression")
def jq_filter(evaluation: Evaluation, value: Any, given: Mapping[str, Any]) -> Any:
    """Apply a jq program; give the list of its results."""
    if value is None:
        return None
    program = text_of(
        needed(given, "expression", "The 'jq' filter expects an argument 'expression'."),
        "The argument 'expression'",
    )
    if isinstance(value, str):
        value = from_json(value)
    steps = _steps(program)
    if steps is not None:
        results = _followed([value], steps)
        evaluation.budget.items(len(results))
        return results
    return _run(evaluation, program, plain(value, evaluation.budget))


@lru_cache(maxsize=512)
def _steps(program: str) -> tuple[Any, ...] | None:
    """Take a plain path apart: texts are keys, numbers indices, None means all; None if it is no path."""
    program = program.strip()
    if program == ".":
        return ()
    steps: list[Any] = []
    at = 0
    if not program.startswith("."):
        return None
    while at < len(program):
        found = _STEP.match(program, at)
        if found is None:
            return None
        everything, index, quoted, name, quoted_name = found.groups()
        if index is not None:
            steps.append(int(index))
        else:
            steps.append(None if everything else next(key for key in (quoted, name, quoted_name) if key is not None))
        at = found.end()
    return tuple(steps)


def _followed(values: list[Any], steps: tuple[Any, ...]) -> list[Any]:
    for step in steps:
        if step is None:
            values = [item for value in values for item in _all(value)]
        elif isinstance(step, int):
            values = [_item(value, step) for value in values]
        else:
            values = [_field(value, step) for value in values]
    return values


def _all(value: Any) -> list[Any]:
    if isinstance(value, Mapping):
        return list(value.values())
    if isinstance(value, (list, tuple)) and not isinstance(value, Entry):
        return list(value)
    raise Refusal(f"Unable to parse jq value: Cannot iterate over {class_name(value)}")


def _item(value: Any, index: int) -> Any:
    if value is None:
        return None
    if isinstance(value, (list, tuple)) and not isinstance(value, Entry):
        place = index + len(value) if index < 0 else index
        return value[place] if 0 <= place < len(value) else None
    raise Refusal(f"Unable to parse jq value: Cannot index {class_name(value)} with number")


def _field(value: Any, name: str) -> Any:
    if value is None:
        return None
    if isinstance(value, Mapping):
        return value.get(name)
    raise Refusal(f'Unable to parse jq value: Cannot index {class_name(value)} with "{name}"')


def _run(evaluation: Evaluation, program: str, value: Any) -> list[Any]:
    if len(program) > LONGEST:
        raise Refusal(f"The jq program is longer than {LONGEST} characters")
    code = _COMMENT.sub("", _TEXT.sub('""', program))
    words = set(_WORD.findall(code))
    # In an interpolated text there is code too.
    if "\\(" in program:
        words |= set(_WORD.findall(program))
    forbidden = sorted(words & _FORBIDDEN) + (["$ENV"] if "$ENV" in program else [])
    if forbidden:
        raise Refusal(f"The jq expression uses `{forbidden[0]}`, which isn't available in expressions")
    risky = (
        words - _BOUNDED
        or "*" in code
        or regex.search(r"(?<![=!<>])=(?!=)|\.\.|@|\\\(", program)
        or _work(value, program, code) > DIRECT_WORK
    )
    try:
        results = _isolated(evaluation, program, value) if risky else _direct(program, value)
    except (ValueError, RecursionError) as error:
        raise Refusal(f"Unable to parse jq value with the expression '{program}': {error}") from error
    evaluation.budget.items(len(results))
    return results


def _work(value: Any, program: str, code: str) -> int:
    """Estimate the steps of a program without loops of its own: each iterator may go over everything."""
    iterators = code.count("[]") + sum(word in _ITERATING for word in _WORD.findall(code))
    return int((_count(value) + len(program)) ** max(1, iterators))


def _count(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + sum(map(_count, value.values()))
    return 1 + sum(map(_count, value)) if isinstance(value, list) else 1


@lru_cache(maxsize=128)
def _compiled(program: str) -> Any:
    return jq.compile(program)


def _direct(program: str, value: Any) -> list[Any]:
    results: list[Any] = _compiled(program).input_value(value).all()
    return results


#: What the process of its own runs: program and value as JSON in, `[results]` or a message out.
_CHILD = """
import json, resource, sys, jq
limits, program, value = json.load(sys.stdin)
for kind, limit in zip((resource.RLIMIT_AS, resource.RLIMIT_CPU), limits):
    resource.setrlimit(kind, (limit, limit))
try:
    json.dump({"results": jq.compile(program).input_value(value).all()}, sys.stdout)
except ValueError as error:
    json.dump({"error": str(error)}, sys.stdout)
"""


def _isolated(evaluation: Evaluation, program: str, value: Any) -> list[Any]:
    request = json.dumps([[ISOLATED_BYTES, int(ISOLATED_SECONDS) + 1], program, value])
    try:
        done = subprocess.run(  # noqa: S603 - the interpreter itself, and the program is data
            [sys.executable, "-I", "-c", _CHILD],
            input=request,
            capture_output=True,
            text=True,
            timeout=min(ISOLATED_SECONDS, evaluation.budget.left()),
            check=False,
            env={key: os.environ[key] for key in ("PATH", "LD_LIBRARY_PATH") if key in os.environ},
        )
    except subprocess.TimeoutExpired as error:
        raise Excess("The jq expression takes too long") from error
    if done.returncode != 0:
        raise Excess("The jq expression takes too much memory or time")
    evaluation.budget.text(len(done.stdout))
    answer = json.loads(done.stdout)
    if "error" in answer:
        raise Refusal(f"Unable to parse jq value with the expression '{program}': {answer['error']}")
    results: list[Any] = answer["results"]
    return results
