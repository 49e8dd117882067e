"""A partition's state in memory behaves as a sorted dictionary."""

from bisect import bisect_right

from hypothesis import given
from hypothesis import strategies as st

from shared.adapters.sqlite import partition_entries
from shared.adapters.sqlite.partition_entries import PartitionEntries

keys = st.text("abc/é", min_size=1, max_size=4)
prefixes = st.text("abc/é", max_size=3)


@given(
    st.lists(st.dictionaries(keys, st.none() | st.binary(max_size=2), max_size=30), max_size=12),
    prefixes,
    prefixes,
)
def test_any_changes_and_any_scan(changes: list[dict[str, bytes | None]], prefix: str, after: str) -> None:
    """After any commits, `get` and `scan` answer as a sorted dictionary would."""
    entries, model = PartitionEntries(), {}

    for change in changes:
        entries.apply(change)
        model |= change
        model = {key: value for key, value in model.items() if value is not None}

    assert list(entries.scan("")) == sorted(model.items())
    assert list(entries.scan(prefix, after)) == [
        (k, v) for k, v in sorted(model.items()) if k.startswith(prefix) and (k > after or after < prefix)
    ]
    assert all(entries.get(key) == value for key, value in model.items())
    assert len(entries) == len(model)


def test_many_keys_in_any_order() -> None:
    """Keys beyond one chunk are split and merged without loss, in and out."""
    count = 5 * partition_entries._CHUNK
    names = [f"{(number * 7919) % count:06}" for number in range(count)]
    entries = PartitionEntries()
    for name in names:
        entries.apply({name: b""})
    expected = sorted(names)
    middle = bisect_right(expected, "001500")

    listed = [key for key, _ in entries.scan("")]
    rest = [key for key, _ in entries.scan("", "001500")]
    entries.apply(dict.fromkeys(names[::2]))

    assert listed == expected
    assert rest == expected[middle:]
    assert [key for key, _ in entries.scan("")] == sorted(names[1::2])


def test_restored_rows_are_what_was_stored() -> None:
    """Rows from the file give the same scans as changes did."""
    rows = [(f"{number:05}", b"%d" % number) for number in range(3000)]

    entries = PartitionEntries(rows)

    assert list(entries.scan("")) == rows
    assert list(entries.scan("029")) == rows[2900:3000]


def test_scan_goes_on_over_changes() -> None:
    """Keys that are removed or added while a scan runs disturb it not: each is shown at most once, none twice."""
    entries = PartitionEntries([(f"{number:05}", b"") for number in range(3000)])
    seen = []

    for key, _ in entries.scan(""):
        seen.append(key)
        entries.apply({key: None, f"{key[:5]}x": b""})

    assert [key for key in seen if not key.endswith("x")] == [f"{number:05}" for number in range(3000)]
    assert len(seen) == len(set(seen))
