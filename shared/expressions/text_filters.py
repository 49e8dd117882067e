"""Filters of texts."""

from __future__ import annotations

import base64
import binascii
import hashlib
import unicodedata
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus, unquote_plus

import regex

from shared.expressions import patterns
from shared.expressions.errors import Refusal
from shared.expressions.registry import filtering, integer_of, needed, text_of
from shared.expressions.values import class_name, java_text

if TYPE_CHECKING:
    from shared.expressions.evaluation import Evaluation


def _on_text(name: str, work: Callable[[str], Any], *, any_type: bool = False) -> None:
    """Register a filter without arguments that leaves null alone and takes texts, or what prints as one."""

    @filtering(name)
    def apply(evaluation: Evaluation, value: Any, given: Mapping[str, Any]) -> Any:
        if given:
            raise Refusal(f"The '{name}' filter has no arguments.")
        if value is None:
            return None
        text = java_text(value, evaluation.budget) if any_type else text_of(value, f"The input of '{name}'")
        return work(text)


def _capitalized(text: str) -> str:
    start = len(text) - len(text.lstrip())
    return text[:start] + text[start : start + 1].title() + text[start + 1 :]


def _titled(text: str) -> str:
    return regex.sub(r"(?<!\S)\S", lambda found: found.group().title(), text)


def slug(text: str) -> str:
    """Give the form that Kestra uses for flow ids in paths: lower case, dashes, ASCII."""
    normal = unicodedata.normalize("NFD", regex.sub(r"\s", "-", text))
    letters = regex.sub(r"[^A-Za-z0-9_-]", "", normal).replace("_", "-")
    dashed = regex.sub("-{2,}", "-", letters)
    return dashed.removeprefix("-").removesuffix("-").lower()


def _urlencoded(text: str) -> str:
    # As java.net.URLEncoder: space is `+`, and of the signs only .-*_ stay.
    return quote_plus(text, safe="*").replace("~", "%7E")


def _urldecoded(text: str) -> str:
    if regex.search(r"%(?![0-9a-fA-F]{2})", text):
        raise Refusal("URLDecoder: Illegal hex characters in escape (%) pattern")
    return unquote_plus(text)


def _base64_decoded(text: str) -> str:
    try:
        padded = text if "=" in text else text + "=" * (-len(text) % 4)
        return base64.b64decode(padded, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError) as error:
        message = "Please provide a correctly Base64 encoded string containing an UTF-8 string"
        raise Refusal(message) from error


def _with_breaks(text: str) -> str:
    return regex.sub(r"\r\n|\r|\n", "<br />", text)


_on_text("upper", str.upper, any_type=True)
_on_text("lower", str.lower, any_type=True)
_on_text("capitalize", _capitalized)
_on_text("title", _titled)
_on_text("trim", lambda text: text.strip("".join(map(chr, range(33)))))
_on_text("slugify", slug, any_type=True)
_on_text("urlencode", _urlencoded)
_on_text("urldecode", _urldecoded)
_on_text("base64encode", lambda text: base64.b64encode(text.encode()).decode(), any_type=True)
_on_text("base64decode", _base64_decoded)
_on_text("nl2br", _with_breaks)
_on_text("string", str, any_type=True)
_on_text("sha1", lambda text: hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())
_on_text("sha256", lambda text: hashlib.sha256(text.encode()).hexdigest())
_on_text("sha512", lambda text: hashlib.sha512(text.encode()).hexdigest())
_on_text("md5", lambda text: hashlib.md5(text.encode(), usedforsecurity=False).hexdigest())


@filtering("abbreviate", "length")
def abbreviate(evaluation: Evaluation, value: Any, given: Mapping[str, Any]) -> Any:
    """Shorten a text to a length, with three dots at its end."""
    del evaluation
    if value is None:
        return None
    text = text_of(value, "The input of 'abbreviate'")
    width = integer_of(given.get("length"), "The argument 'length'")
    if width < 0:
        raise Refusal("Invalid argument to abbreviate filter; must be greater than zero")
    if len(text) < width or len(text) <= len("..."):
        return text
    return text[:width] if width <= len("...") else text[: width - 3] + "..."


def _edge(name: str, ends: Callable[[str, str], bool]) -> None:
    @filtering(name, "value")
    def apply(evaluation: Evaluation, value: Any, given: Mapping[str, Any]) -> Any:
        if value is None:
            raise Refusal(f"The '{name}' filter can't be applied to null.")
        part = needed(given, "value", f"The '{name}' filter expects an argument 'value'.")
        return ends(java_text(value, evaluation.budget), java_text(part, evaluation.budget))


_edge("startsWith", str.startswith)
_edge("endsWith", str.endswith)


def _cut(name: str, cut: Callable[[str, str], str]) -> None:
    @filtering(name, "separator")
    def apply(evaluation: Evaluation, value: Any, given: Mapping[str, Any]) -> Any:
        if value is None:
            return None
        message = f"The '{name}' filter expects an argument 'separator'."
        separator = needed(given, "separator", message)
        text = java_text(value, evaluation.budget)
        if separator is None:
            return "" if "After" in name else text
        return cut(text, text_of(separator, "The argument 'separator'"))


def _before(text: str, separator: str) -> str:
    return text.partition(separator)[0] if separator else ""


def _after(text: str, separator: str) -> str:
    return text.partition(separator)[2] if separator else text


def _before_last(text: str, separator: str) -> str:
    return text[: text.rindex(separator)] if separator and separator in text else text


def _after_last(text: str, separator: str) -> str:
    return text[text.rindex(separator) + len(separator) :] if separator and separator in text else ""


_cut("substringBefore", _before)
_cut("substringAfter", _after)
_cut("substringBeforeLast", _before_last)
_cut("substringAfterLast", _after_last)


def each_text(evaluation: Evaluation, value: Any, work: Callable[[str], str]) -> Any:
    """Apply a change to a text, or to every value of a nested list or map, as texts."""
    if isinstance(value, Mapping):
        return {key: each_text(evaluation, item, work) for key, item in value.items()}
    if isinstance(value, list):
        return [each_text(evaluation, item, work) for item in value]
    evaluation.budget.step()
    return work(java_text(value, evaluation.budget))


_ESCAPES = {"single": ("'", "\\'"), "double": ('"', '\\"'), "shell": ("'", "'\\''")}


@filtering("escapeChar", "type")
def escape_char(evaluation: Evaluation, value: Any, given: Mapping[str, Any]) -> Any:
    """Escape quotes for single quotes, double quotes, or a shell."""
    if value is None:
        return None
    kind = needed(given, "type", "The 'escapeChar' filter expects an argument 'type'.")
    escape = _ESCAPES.get(kind.lower()) if isinstance(kind, str) else None
    if escape is None:
        raise Refusal(
            "The 'escapeChar' filter expects the value of 'type' to be either 'single', 'double', or 'shell'."
        )
    old, new = escape
    return each_text(evaluation, value, lambda text: text.replace(old, new))


@filtering("replace", "replace_pairs", "regexp")
def replace(evaluation: Evaluation, value: Any, given: Mapping[str, Any]) -> Any:
    """Replace the keys of a map by its values, one after the other; as regular expressions if asked to."""
    if value is None:
        return None
    pairs = given.get("replace_pairs")
    if pairs is None:
        raise Refusal("The argument 'replace_pairs' is required.")
    if not isinstance(pairs, Mapping):
        raise Refusal(f"The argument 'replace_pairs' must be a Map. Actual type was: {class_name(pairs)}")
    budget = evaluation.budget
    texts = [(java_text(old, budget), java_text(new, budget)) for old, new in pairs.items()]
    by_expression = given.get("regexp", False)
    if not isinstance(by_expression, bool):
        raise Refusal("The argument 'regexp' must be a Boolean.")

    def changed(text: str) -> str:
        for old, new in texts:
            if by_expression:
                text = patterns.replaced_all(text, old, new, budget)
            else:
                budget.text(len(text) + (text.count(old) if old else len(text) + 1) * len(new))
                text = text.replace(old, new)
        return text

    return each_text(evaluation, value, changed)


def _expression(evaluation: Evaluation, given: Mapping[str, Any], name: str = "regex") -> str:
    if given.get(name) is None:
        raise Refusal(f"The argument '{name}' is required.")
    return java_text(given[name], evaluation.budget)


@filtering("regexMatch", "regex")
def regex_match(evaluation: Evaluation, value: Any, given: Mapping[str, Any]) -> bool:
    """Say whether a regular expression matches somewhere in the text."""
    if value is None:
        return False
    text = java_text(value, evaluation.budget)
    return patterns.found(text, _expression(evaluation, given), evaluation.budget) is not None


@filtering("regexExtract", "regex", "group")
def regex_extract(evaluation: Evaluation, value: Any, given: Mapping[str, Any]) -> Any:
    """Give the first match of a regular expression, or one of its groups; null where there is none."""
    if value is None:
        return None
    group = given.get("group")
    number = 0 if group is None else integer_of(group, "The argument 'group'")
    match = patterns.found(java_text(value, evaluation.budget), _expression(evaluation, given), evaluation.budget)
    if match is None:
        return None
    if not 0 <= number <= len(match.groups()):
        raise Refusal(f"No group {number}")
    return match.group(number)


@filtering("regexReplace", "regex", "replacement")
def regex_replace(evaluation: Evaluation, value: Any, given: Mapping[str, Any]) -> Any:
    """Replace what a regular expression matches; `$1` stands for a group."""
    if value is None:
        return None
    expression, new = _expression(evaluation, given), _expression(evaluation, given, "replacement")
    return patterns.replaced_all(java_text(value, evaluation.budget), expression, new, evaluation.budget)


@filtering("split", "delimiter", "limit")
def split(evaluation: Evaluation, value: Any, given: Mapping[str, Any]) -> Any:
    """Split a text by a regular expression, as Java's `split`: empty parts at the end are left out."""
    if value is None:
        return None
    delimiter = given.get("delimiter")
    if delimiter is None:
        raise Refusal("missing delimiter parameter in split filter")
    limit = given.get("limit")
    count = 0 if limit is None else integer_of(limit, "The argument 'limit'")
    text = text_of(value, "The input of 'split'")
    return patterns.split(text, text_of(delimiter, "The argument 'delimiter'"), count, evaluation.budget)


def _line_end(text: str) -> str:
    return next((ending for ending in ("\r\n", "\n\r", "\n", "\r") if ending in text), "\n")


def _indented(evaluation: Evaluation, name: str, value: Any, given: Mapping[str, Any]) -> Any:
    if value is None:
        return None
    text = java_text(value, evaluation.budget)
    if not text:
        return text
    message = f"The '{name}' filter expects an integer as argument 'amount'."
    amount = integer_of(needed(given, "amount", message), "The argument 'amount'")
    if amount < 0:
        raise Refusal(f"The '{name}' filter expects a positive integer >=0 as argument 'amount'.")
    prefix = text_of(given.get("prefix", " "), "The argument 'prefix'")
    ending = _line_end(text)
    if name == "nindent":
        text = ending + text
    evaluation.budget.text(len(text) + max(1, text.count(ending)) * amount * len(prefix))
    return text.replace(ending, ending + prefix * amount)


@filtering("indent", "amount", "prefix")
def indent(evaluation: Evaluation, value: Any, given: Mapping[str, Any]) -> Any:
    """Indent all lines but the first."""
    return _indented(evaluation, "indent", value, given)


@filtering("nindent", "amount", "prefix")
def nindent(evaluation: Evaluation, value: Any, given: Mapping[str, Any]) -> Any:
    """Begin a new line and indent all lines."""
    return _indented(evaluation, "nindent", value, given)
