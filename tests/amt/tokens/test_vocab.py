import json

from amt.decoding.instrument_limit import MAX_INSTRUMENTS
from amt.midi import notes
from amt.tokens import vocab
from tests.conftest import GOLDEN

REFERENCE = json.loads((GOLDEN / "vocab.json").read_text())


def test_offsets_and_sizes_match_the_reference():
    assert {
        "TIME_OFFSET": vocab.ONSET.offset,
        "DUR_OFFSET": vocab.DURATION.offset,
        "NOTE_OFFSET": vocab.NOTE.offset,
        "REST": vocab.REST,
        "CONTROL_OFFSET": vocab.CONTROL_OFFSET,
        "ATIME_OFFSET": vocab.CONTROL_OFFSET + vocab.ONSET.offset,
        "ADUR_OFFSET": vocab.CONTROL_OFFSET + vocab.DURATION.offset,
        "ANOTE_OFFSET": vocab.CONTROL_OFFSET + vocab.NOTE.offset,
        "SEPARATOR": vocab.SEPARATOR,
        "AUTOREGRESS": vocab.AUTOREGRESS,
        "ANTICIPATE": vocab.ANTICIPATE,
        "VOCAB_SIZE": vocab.VOCAB_SIZE,
        "TIME_RESOLUTION": notes.TICKS_PER_SECOND,
        "MAX_TIME": vocab.MAX_ONSET_TICKS,
        "MAX_DUR": vocab.MAX_DURATION_TICKS,
        "MAX_PITCH": notes.N_PITCHES,
        "MAX_INSTR": notes.N_INSTRUMENTS,
        "MAX_NOTE": notes.N_INSTRUMENTS * notes.N_PITCHES,
        "MAX_TRACK_INSTR": MAX_INSTRUMENTS + 1,
        "CONTEXT_SIZE": vocab.CONTEXT_TOKENS,
        "EVENT_SIZE": vocab.EVENT_TOKENS,
        "M": vocab.MAX_WINDOW_EVENTS,
    }.items() <= REFERENCE.items()


def test_the_anticipation_interval_matches_the_reference():
    assert REFERENCE["DELTA"] * notes.TICKS_PER_SECOND == vocab.ANTICIPATION_TICKS


def test_slots_cover_the_event_half_of_the_vocabulary_without_overlap():
    tokens = [token for slot in vocab.SLOTS for token in range(slot.slice.start, slot.slice.stop)]
    assert tokens == list(range(vocab.CONTROL_OFFSET))


def test_the_rest_token_is_the_last_of_the_note_slot():
    assert vocab.NOTE.slice.stop - 1 == vocab.REST


def test_special_tokens_follow_both_halves():
    assert [vocab.AUTOREGRESS, vocab.ANTICIPATE, vocab.VOCAB_SIZE] == [
        vocab.SEPARATOR + 1,
        vocab.SEPARATOR + 2,
        vocab.SEPARATOR + 3,
    ]
