"""Regular expressions of Java in Python."""

from __future__ import annotations

import pytest

from shared.flows.pattern import compile_java, matches


@pytest.mark.parametrize(
    ("pattern", "good", "bad"),
    [
        (r"A\d+", "A12", "xA12"),
        (r"\d", "5", "٥"),
        (r"\w+", "abc_1", "é"),
        (r"\p{Upper}\p{Lower}+", "Ann", "ann"),
        (r"[\p{Alnum}-]+", "a-1", "a b"),
        (r"\p{L}+", "Zoë", "Zoë1"),
        (r"\Qa.b\E+", "a.bb", "axb"),
        (r"(?<first>a|b)\k<first>", "aa", "ab"),
        (r"(?<=a)b|(?<!a)c", "c", "b"),
        (r"a++b", "aab", "aa"),
        (r"[\[\]]+", "[]", "()"),
        (r"(?i)abc", "ABC", "abd"),
        (r"a\z", "a", "a\n"),
    ],
)
def test_what_matches(pattern, good, bad):
    """The whole text has to match, with Java's meaning of classes, groups and quotes."""
    assert matches(pattern, good)
    assert not matches(pattern, bad)


@pytest.mark.parametrize("pattern", ["(", "\\", r"\p{Klingon}", "[a-z&&[^b]]", "[a[bc]]", r"[\p{L}]", r"\p{L"])
def test_what_python_cannot_say(pattern):
    """A pattern that is wrong, or that would mean something else, is refused by name."""
    with pytest.raises(ValueError) as caught:
        compile_java(pattern)
    assert f"invalid pattern [{pattern}]" in str(caught.value)
