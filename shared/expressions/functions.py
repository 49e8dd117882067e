"""Functions, and the filters that write or read a format."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from shared.expressions import (  # noqa: F401 - importing them registers what they hold
    collection_filters,
    dates,
    jq_filter,
    numbers,
    text_filters,
)
from shared.expressions.errors import Missing, NotFoundError, Refusal, RenderError
from shared.expressions.ion import from_ion, to_ion
from shared.expressions.json_text import from_json, to_json
from shared.expressions.registry import calling, filtering, integer_of, needed, text_of
from shared.expressions.text_filters import slug
from shared.expressions.values import INTEGER_RANGE, java_text
from shared.expressions.yaml_text import from_yaml, to_yaml

if TYPE_CHECKING:
    from shared.expressions.evaluation import Evaluation

#: Importing this module has registered every filter, function and test.
REGISTERED = True
#: Where files of the internal storage are.
STORAGE_SCHEME = "kestra:///"


def _written(name: str, write: Any) -> None:
    @filtering(name)
    def apply(evaluation: Evaluation, value: Any, given: Mapping[str, Any]) -> Any:
        del given
        return "null" if value is None else write(value, evaluation.budget)


_written("toJson", to_json)
_written("json", to_json)
_written("toIon", to_ion)
_written("yaml", to_yaml)


def _parsed(name: str, argument: str, parse: Any) -> None:
    @calling(name, argument)
    def call(evaluation: Evaluation, given: Mapping[str, Any]) -> Any:
        text = needed(given, argument, f"The '{name}' function expects an argument '{argument}'.")
        if text is None and name != "yaml":
            return None
        if not isinstance(text, str):
            raise Refusal(f"The '{name}' function expects an argument '{argument}' with type string.")
        evaluation.budget.text(len(text))
        return parse(text)


_parsed("fromJson", "json", from_json)
_parsed("json", "json", from_json)
_parsed("fromIon", "ion", from_ion)
_parsed("yaml", "yaml", from_yaml)


# Rendering


def _rendered(evaluation: Evaluation, value: Any, *, recursive: bool) -> Any:
    evaluation.budget.enter()
    try:
        result = evaluation.renderer.rendered_value(value, evaluation.visible(), evaluation.budget, recursive)
    except NotFoundError as error:
        # As in Kestra, `??` doesn't catch what is missing in there.
        raise RenderError(error.message, template=error.template, line=error.line, column=error.column) from error
    evaluation.budget.leave()
    return result


@calling("render", "toRender", "recursive")
def render(evaluation: Evaluation, given: Mapping[str, Any]) -> Any:
    """Render a template that is a value, until nothing changes or once."""
    value = needed(given, "toRender", "The 'render' function expects an argument 'toRender'.")
    recursive = given.get("recursive")
    recursive = True if recursive is None else recursive
    if not isinstance(recursive, bool):
        raise Refusal("The 'render' function expects an optional argument 'recursive' with type boolean.")
    return _rendered(evaluation, value, recursive=recursive)


@calling("renderOnce", "toRender")
def render_once(evaluation: Evaluation, given: Mapping[str, Any]) -> Any:
    """Render a template that is a value, once."""
    value = needed(given, "toRender", "The 'render' function expects an argument 'toRender'.")
    return _rendered(evaluation, value, recursive=False)


@calling("printContext")
def print_context(evaluation: Evaluation, given: Mapping[str, Any]) -> Any:
    """Give all variables."""
    del given
    return dict(evaluation.visible())


@calling("fetchContext")
def fetch_context(evaluation: Evaluation, given: Mapping[str, Any]) -> Any:
    """Give all variables."""
    return print_context(evaluation, given)


# What the execution has


@calling("currentEachOutput", "outputs")
def current_each_output(evaluation: Evaluation, given: Mapping[str, Any]) -> Any:
    """Give a sibling's output of the same iteration: by the parents' values, then by the own one."""
    message = "The 'currentEachOutput' function expects an argument 'outputs'"
    outputs = needed(given, "outputs", f"{message}.")
    if not isinstance(outputs, Mapping):
        raise Refusal(f"{message} with type map.")
    for value in each_values(evaluation.lookup("parents"), evaluation.lookup("taskrun")):
        if not isinstance(outputs, Mapping):
            raise Refusal(f"The outputs have no entry for the value before `{java_text(value, evaluation.budget)}`.")
        outputs = outputs.get(value)
    return outputs


def each_values(parents: Any, taskrun: Any) -> list[Any]:
    """Give the loop values that lead to the current iteration's outputs, outermost first.

    Raises:
        Missing: there is no `taskrun`.
    """
    values: list[Any] = []
    for parent in reversed(parents if isinstance(parents, (list, tuple)) else ()):
        run = parent.get("taskrun") if isinstance(parent, Mapping) else None
        if isinstance(run, Mapping):
            values.append(run.get("value"))
    if not isinstance(taskrun, Mapping):
        raise Missing("taskrun")
    return [*values, taskrun.get("value")]


@calling("parentOutput", "index")
def parent_output(evaluation: Evaluation, given: Mapping[str, Any]) -> Any:
    """Give the outputs of the closest ancestor task run, or of one counted from the outermost."""
    index = given.get("index")
    parents = evaluation.lookup("parents")
    if not isinstance(parents, (list, tuple)) or not parents:
        raise Missing("parent")
    place = len(parents) - 1 if index is None else integer_of(index, "The argument 'index'")
    if not 0 <= place < len(parents):
        raise Refusal(f"Invalid index: {place} for parents size: {len(parents)}")
    parent = parents[len(parents) - 1 - place]
    return parent.get("outputs") if isinstance(parent, Mapping) else None


@calling("iterationOutput", "taskId", "iteration")
def iteration_output(evaluation: Evaluation, given: Mapping[str, Any]) -> Any:
    """Give the `value` that a task of the loop gave in an iteration: this task and the one before by default."""
    taskrun, task = evaluation.lookup("taskrun"), evaluation.lookup("task")
    if not isinstance(taskrun, Mapping) or "iteration" not in taskrun:
        raise Refusal("The 'iterationOutput' function should be used inside iterative tasks only")
    task_id, wanted = given.get("taskId"), given.get("iteration")
    if task_id is None:
        task_id = task.get("id") if isinstance(task, Mapping) else None
    iteration = integer_of(taskrun["iteration"], "iteration") - 1 if wanted is None else wanted
    if integer_of(iteration, "The argument 'iteration'") < 0:
        raise Refusal(f"Cannot fetch iteration {iteration}: no previous iteration exists.")
    outputs: Any = evaluation.lookup("outputs")
    for key in (task_id, *each_values(evaluation.lookup("parents"), taskrun)[:-1]):
        outputs = outputs.get(key) if isinstance(outputs, Mapping) else None
        if outputs is None:
            return None
    if not isinstance(outputs, Mapping) or iteration >= len(outputs):
        raise Refusal(f"The provided index ({iteration}) is out of range.")
    found = list(outputs.values())[iteration]
    return found.get("value") if isinstance(found, Mapping) else None


@calling("tasksWithState", "state")
def tasks_with_state(evaluation: Evaluation, given: Mapping[str, Any]) -> list[dict[str, Any]]:
    """List the task runs of a state, with the value of their iteration where they have one."""
    message = "The 'tasksWithState' function expects an argument 'state'."
    state = text_of(needed(given, "state", message), "The argument 'state'").upper()
    found: list[dict[str, Any]] = []
    tasks = evaluation.lookup("tasks")
    for task_id, runs in tasks.items() if isinstance(tasks, Mapping) else ():
        evaluation.budget.step()
        if not isinstance(runs, Mapping):
            continue
        if runs.get("state") == state:
            found.append({"taskId": task_id, "state": state})
        for value, run in runs.items():
            if isinstance(run, Mapping) and run.get("state") == state:
                found.append({"taskId": task_id, "value": value, "state": state})
    return found


@calling("errorLogs")
def error_logs(evaluation: Evaluation, given: Mapping[str, Any]) -> list[Any]:
    """Give the ERROR log entries of the execution."""
    del given
    return list(evaluation.renderer.outside.error_logs(evaluation.place()))


# What is outside


@calling("secret", "key", "namespace", "subkey")
def secret(evaluation: Evaluation, given: Mapping[str, Any]) -> Any:
    """Give a secret of the flow's namespace or another one, or one entry of it where it is a JSON object."""
    message = "The 'secret' function expects an argument 'key'."
    key = text_of(needed(given, "key", message), "The argument 'key'")
    place, other = evaluation.place(), given.get("namespace")
    if other is not None:
        place = replace(place, namespace=text_of(other, "The argument 'namespace'"))
    found = evaluation.renderer.outside.secret(place, key)
    subkey = given.get("subkey")
    if subkey is None:
        return found
    entries = from_json(found)
    if not isinstance(entries, Mapping) or subkey not in entries:
        raise Refusal(f"Cannot find secret sub-key '{java_text(subkey, evaluation.budget)}' in secret '{key}'.")
    return entries[subkey]


@calling("kv", "key", "namespace", "errorOnMissing")
def kv(evaluation: Evaluation, given: Mapping[str, Any]) -> Any:
    """Give a value of the key-value store of the flow's namespace, or of another one."""
    key = text_of(needed(given, "key", "The 'kv' function expects an argument 'key'."), "The argument 'key'")
    place = evaluation.place()
    other = given.get("namespace")
    namespace = place.namespace if other is None else text_of(other, "The argument 'namespace'")
    found = evaluation.renderer.outside.kv(place, key, namespace or "")
    if found is None and given.get("errorOnMissing") is True:
        raise Refusal(f"The key '{key}' does not exist in the namespace '{namespace}'.")
    return found


def _allowed(evaluation: Evaluation, uri: str) -> str:
    """Check that a file belongs to the execution, or to the one that started it."""
    place = evaluation.place()
    if _within(uri, place.namespace, place.flow, place.execution):
        return uri
    trigger = evaluation.lookup("trigger")
    if isinstance(trigger, Mapping) and _within(
        uri, trigger.get("namespace"), trigger.get("flowId"), trigger.get("executionId")
    ):
        return uri
    raise Refusal(f"Unable to read the file '{uri}' as it didn't belong to the current execution")


def _within(uri: str, namespace: Any, flow: Any, execution: Any) -> bool:
    if not (isinstance(namespace, str) and isinstance(flow, str) and isinstance(execution, str)):
        return False
    folder = f"{STORAGE_SCHEME}{namespace.replace('.', '/')}/{slug(flow)}/executions/{execution}/"
    return uri.startswith(folder) and ".." not in uri.split("/")


@calling("read", "path")
def read(evaluation: Evaluation, given: Mapping[str, Any]) -> str:
    """Give the text of a file of the namespace or of the internal storage."""
    message = (
        "The 'read' function expects an argument 'path' that is a path to a namespace file or an internal storage URI."
    )
    path = needed(given, "path", message)
    if not isinstance(path, str):
        raise Refusal(f"Unable to read the file {java_text(path, evaluation.budget)}")
    outside, place = evaluation.renderer.outside, evaluation.place()
    if path.startswith(STORAGE_SCHEME):
        text = outside.stored_file(place, _allowed(evaluation, path))
    else:
        if ".." in path.split("/"):
            raise Refusal("Path must not contain '../'")
        text = outside.namespace_file(place, path)
    evaluation.budget.text(len(text))
    return text


@calling("fileURI", "path")
def file_uri(evaluation: Evaluation, given: Mapping[str, Any]) -> str:
    """Give the URI of a file of the namespace."""
    message = "The 'fileURI' function expects an argument 'path' that is a path to a namespace file."
    path = text_of(needed(given, "path", message), "The argument 'path'").removeprefix("/")
    if "../" in path:
        raise Refusal("Path must not contain '../'")
    namespace = evaluation.place().namespace or ""
    return f"{STORAGE_SCHEME}{namespace.replace('.', '/')}/_files/{path}"


def _stored(evaluation: Evaluation, given: Mapping[str, Any], name: str) -> str:
    message = f"The '{name}' function expects an argument 'path' that is a path to the internal storage URI."
    path = needed(given, "path", message)
    if not isinstance(path, str) or not path.startswith(STORAGE_SCHEME):
        raise Refusal(f"Unable to create the URI from the path {java_text(path, evaluation.budget)}")
    return _allowed(evaluation, path)


@calling("fileSize", "path")
def file_size(evaluation: Evaluation, given: Mapping[str, Any]) -> int:
    """Give the size in bytes of a file of the internal storage."""
    return evaluation.renderer.outside.file_size(evaluation.place(), _stored(evaluation, given, "fileSize"))


@calling("fileExists", "path")
def file_exists(evaluation: Evaluation, given: Mapping[str, Any]) -> bool:
    """Say whether a file of the internal storage exists."""
    return evaluation.renderer.outside.file_exists(evaluation.place(), _stored(evaluation, given, "fileExists"))


def _file_empty(name: str) -> None:
    @calling(name, "path")
    def call(evaluation: Evaluation, given: Mapping[str, Any]) -> bool:
        return evaluation.renderer.outside.file_size(evaluation.place(), _stored(evaluation, given, name)) == 0


_file_empty("isFileEmpty")
_file_empty("fileEmpty")


@calling("http", "uri", "method", "query", "body", "contentType", "headers", "options", "accept")
def http(evaluation: Evaluation, given: Mapping[str, Any]) -> Any:
    """Do an HTTP request and give its body, parsed."""
    uri = needed(given, "uri", "The 'http' function expects an argument 'uri'.")
    return evaluation.renderer.outside.http({**given, "uri": text_of(uri, "The argument 'uri'")})


# Encryption and chance


def _ciphering(name: str, argument: str) -> None:
    @calling(name, "key", argument)
    def call(evaluation: Evaluation, given: Mapping[str, Any]) -> str:
        message = f"The '{name}' function expects two arguments 'key' and '{argument}'."
        key = text_of(needed(given, "key", message), "The argument 'key'")
        text = text_of(needed(given, argument, message), f"The argument '{argument}'")
        outside = evaluation.renderer.outside
        return outside.encrypt(key, text) if name == "encrypt" else outside.decrypt(key, text)


_ciphering("encrypt", "plaintext")
_ciphering("decrypt", "encrypted")


@calling("uuid")
def uuid(evaluation: Evaluation, given: Mapping[str, Any]) -> str:
    """Give a new UUID."""
    del given
    return evaluation.renderer.outside.uuid()


@calling("id")
def new_id(evaluation: Evaluation, given: Mapping[str, Any]) -> str:
    """Give a new id, like an execution's."""
    del given
    return evaluation.renderer.outside.id()


_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
#: Seconds at which KSUIDs begin (segmentio/ksuid).
_KSUID_EPOCH = 1_400_000_000


@calling("ksuid")
def ksuid(evaluation: Evaluation, given: Mapping[str, Any]) -> str:
    """Give a KSUID: 4 bytes of seconds, 16 of chance, in base 62."""
    del given
    seconds = int(evaluation.renderer.outside.now().timestamp()) - _KSUID_EPOCH
    number = (seconds << 128) | secrets.randbits(128)
    letters = ""
    while number:
        number, letter = divmod(number, 62)
        letters = _BASE62[letter] + letters
    return letters.rjust(27, "0")


_NANO_LETTERS = f"_-{_BASE62}"


@calling("nanoId", "length", "alphabet")
def nano_id(evaluation: Evaluation, given: Mapping[str, Any]) -> str:
    """Give a NanoID of 21 letters, or of a length and alphabet."""
    length = given.get("length")
    count = 21 if length is None else integer_of(length, "The argument 'length'")
    alphabet = given.get("alphabet")
    letters = _NANO_LETTERS if alphabet is None else text_of(alphabet, "The argument 'alphabet'")
    if count <= 0 or not letters:
        raise Refusal("The 'nanoId' function expects a length and an alphabet that aren't empty.")
    evaluation.budget.items(count)
    return "".join(secrets.choice(letters) for _ in range(count))


@calling("randomInt", "lower", "upper")
def random_int(evaluation: Evaluation, given: Mapping[str, Any]) -> int:
    """Give an integer from lower up to upper, without upper."""
    lower, upper = (_bound(given, name) for name in ("lower", "upper"))
    if upper < lower:
        raise Refusal("In 'randomInt' upper is less than lower")
    return evaluation.renderer.outside.random_int(lower, upper)


def _bound(given: Mapping[str, Any], name: str) -> int:
    value = needed(given, name, f"The 'randomInt' function expects an argument {name}")
    if not isinstance(value, int) or isinstance(value, bool) or value not in INTEGER_RANGE:
        raise Refusal(f"The 'randomInt' function expects an argument {name} with type Integer.")
    return value


@calling("randomPort")
def random_port(evaluation: Evaluation, given: Mapping[str, Any]) -> int:
    """Give a local port that is free."""
    del given
    return evaluation.renderer.outside.random_port()
