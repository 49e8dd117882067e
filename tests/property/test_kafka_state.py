"""The Kafka journal's in-memory state against a plain sorted dictionary."""

from hypothesis import given, settings
from hypothesis import strategies as st

from shared.adapters.kafka import state
from shared.adapters.kafka.state import KeyValueState

PREFIXES = st.text(alphabet="abé/", max_size=5)
KEYS = st.text(alphabet="abé/", min_size=1, max_size=5)
CHANGES = st.dictionaries(KEYS, st.none() | st.binary(max_size=2), max_size=30)
#: Changes, and whether a scan follows (which sorts the keys in), of what prefix and after which key.
STEPS = st.lists(st.tuples(CHANGES, st.booleans(), PREFIXES, PREFIXES), max_size=20)


@given(STEPS)
@settings(max_examples=300)
def test_scans_and_gets_are_those_of_a_sorted_dictionary(steps: list) -> None:
    """After any changes, every scan gives the pairs of its prefix after its key, in order."""
    # given small chunks and slices, so that few keys fill several
    chunk, some = state._CHUNK, state._SLICE
    state._CHUNK, state._SLICE = 3, 2
    try:
        subject, model = KeyValueState(), {}
        for changes, scans, prefix, after in steps:
            # when
            subject.apply(changes)
            model = {key: value for key, value in {**model, **changes}.items() if value is not None}
            # then
            if scans:
                expected = [(key, model[key]) for key in sorted(model) if key.startswith(prefix) and key > after]
                assert list(subject.scan(prefix, after)) == expected
        assert dict(subject.scan("")) == model
        assert len(subject) == len(model)
        assert all(subject.get(key) == value for key, value in model.items())
    finally:
        state._CHUNK, state._SLICE = chunk, some


@given(CHANGES, CHANGES, PREFIXES)
def test_a_scan_goes_on_over_changes(before: dict, during: dict, prefix: str) -> None:
    """A scan that is open while the state changes gives each key once, in order, and none that was never there."""
    subject = KeyValueState()
    subject.apply(before)
    scan = subject.scan(prefix)
    first = next(scan, None)

    subject.apply(during)
    keys = [key for key, _ in ([first] if first else []) + list(scan)]

    assert keys == sorted(set(keys))
    assert set(keys) <= {key for key in {*before, *during} if key.startswith(prefix)}
