"""What is handed in comes back whole, by the ears of other readers than ours."""

from collections import Counter
from dataclasses import dataclass
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amt.midi.codec import read_notes, read_piece, write_piece
from amt.midi.notes import DRUMS, Note
from tests.amt.midi.building import (
    GM_ON,
    GS_RESET,
    XG_ON,
    Timed,
    bend,
    body,
    control,
    meta,
    name,
    note,
    program,
    song,
    sysex,
    tempo,
)
from tests.amt.midi.hearing import Hearing

DIVISION = 96
LAST = 2_000
"""No message of a piece is later, but for the ends of tracks."""

COPYRIGHT, TEXT, LYRIC, MARKER, KEY = 0x02, 0x01, 0x05, 0x06, 0x59

even_ticks = st.integers(0, LAST // 2).map(lambda half: 2 * half)
odd_ticks = st.integers(0, LAST // 2 - 1).map(lambda half: 2 * half + 1)
"""Programs and banks, which hold for a note at their own tick wherever they stand, are never at the tick of a note."""

values = st.integers(0, 127)


def bend_range(tick, semitones, channel):
    """RPN 0."""
    return [control(tick, 101, 0, channel), control(tick, 100, 0, channel), control(tick, 6, semitones, channel)]


def channel_messages(channel):
    """Lists of messages that colour notes, or choose the sound of a channel."""
    return st.lists(
        st.one_of(
            st.builds(
                lambda tick, number, value: [control(tick, number, value, channel)],
                even_ticks, st.sampled_from([1, 7, 10, 11, 64, 66, 91]), values,
            ),
            st.builds(lambda tick, value: [bend(tick, value, channel)], even_ticks, st.integers(-8_192, 8_191)),
            st.builds(partial(bend_range, channel=channel), even_ticks, st.integers(1, 24)),
            st.builds(lambda tick, value: [Timed(tick, bytes((0xD0 | channel, value)))], even_ticks, values),
            st.builds(
                lambda tick, pitch, value: [Timed(tick, bytes((0xA0 | channel, pitch, value)))],
                even_ticks, st.integers(60, 64), values,
            ),
            st.builds(
                lambda tick, bank, number: [control(tick, 0, bank, channel), program(tick, number, channel)],
                odd_ticks, st.integers(0, 119), values,
            ),
        ),
        max_size=8,
    )  # fmt: skip


def notes_of(channel):
    """Lists of notes that leave each key free before they strike it again."""

    def build(rows):
        free, built = {}, []
        for begin, length, pitch, velocity in sorted(rows):
            if free.get(pitch, 0) <= begin:
                free[pitch] = begin + length + 2
                built.append(note(begin, begin + length, pitch, channel, velocity))
        return built

    row = st.tuples(
        even_ticks, st.integers(0, 150).map(lambda half: 2 * half), st.integers(60, 64), st.integers(1, 127)
    )
    return st.lists(row, min_size=1, max_size=10).map(build)


texts = st.lists(
    st.builds(
        meta, even_ticks, st.sampled_from([COPYRIGHT, TEXT, LYRIC, MARKER]), st.binary(min_size=1, max_size=6)
    )
    | st.builds(
        lambda tick, sharps, minor: meta(tick, KEY, bytes((sharps & 0xFF, minor))),
        even_ticks, st.integers(-7, 7), st.integers(0, 1),
    )
    | st.builds(sysex, even_ticks, st.sampled_from([GM_ON, GS_RESET, XG_ON, b"\x7d\x01\x02\xf7"])),
    max_size=4,
)  # fmt: skip
tempos = st.lists(st.builds(tempo, st.integers(0, LAST), st.integers(200_000, 900_000)), max_size=12)
metres = st.lists(
    st.builds(lambda tick, beats: meta(tick, 0x58, bytes((beats, 2, 24, 8))), even_ticks, st.integers(1, 12)),
    max_size=3,
)


@st.composite
def pieces(draw):
    """Files of one to five tracks, each on a channel of its own or on one that two share."""
    channels = draw(st.lists(st.sampled_from([0, 1, 2, 3, 9, 14]), min_size=1, max_size=5))
    channels = [channel for place, channel in enumerate(channels) if channels[:place].count(channel) < 2]
    tracks = []
    for number, channel in enumerate(channels):
        events = [draw(channel_messages(channel)), draw(notes_of(channel)), [draw(texts)]]
        if number == 0:
            events += [[draw(tempos), draw(metres)]]
        flat = [message for each in events for some in each for message in some]
        tracks.append(body(name(f"Track {number}"), flat, end=draw(st.integers(LAST, 2 * LAST))))
    return song(*tracks, division=DIVISION, file_type=draw(st.sampled_from([1, 1] + [0] * (len(tracks) == 1))))


def new_notes(start):
    """Notes from a time on, some by instruments that a piece may have."""
    row = st.tuples(
        st.integers(0, 300), st.integers(1, 200), st.integers(58, 66), st.sampled_from([0, 0, 5, 40, DRUMS])
    )
    return st.lists(row, max_size=6).map(
        lambda rows: [Note(start + onset, length, pitch, instrument) for onset, length, pitch, instrument in rows]
    )


@dataclass
class Answer:
    """What went in, and what came back, as mido hears them; `factor`: file ticks of the answer per one of the input."""

    given: Hearing
    found: Hearing
    factor: int

    @classmethod
    def of(cls, given, found):
        before, after = Hearing(given), Hearing(found)
        factor, remainder = divmod(after.file.ticks_per_beat, before.file.ticks_per_beat)
        assert remainder == 0
        return cls(before, after, factor)

    def assert_kept(self, is_kept, until):
        """Check that notes are kept with what colours them, up to a file tick of the input, and texts too."""
        wanted = Counter(
            heard._replace(changes=[each for each in heard.changes if each[0] < until]).in_units(self.factor)
            for heard in self.given.notes
            if is_kept(heard)
        )
        found = Counter(
            heard._replace(changes=[each for each in heard.changes if each[0] < self.factor * until]).in_units(1)
            for heard in self.found.notes
        )
        assert not wanted - found, (list(wanted - found), list(found - wanted))
        for before, after in zip(self.given.texts, self.found.texts, strict=False):
            kept = [(tick, text) for tick, text in after if tick < self.factor * until]
            assert kept == [(self.factor * tick, text) for tick, text in before if tick < until]
        assert self.found.names[: len(self.given.names)] == self.given.names

    def assert_new(self, new):
        """Check that new notes are there, as they are: neither bent nor held."""
        seconds = seconds_of(self.found)
        left = [
            heard for heard in self.found.notes
            if heard.velocity == 72
        ]  # fmt: skip
        for wanted in new:
            alike = [
                heard for heard in left
                if (heard.pitch, heard.instrument) == (wanted.pitch, wanted.instrument)
                and seconds(heard.begin) == pytest.approx(wanted.onset / 100, abs=0.005)
            ]  # fmt: skip
            assert alike, (wanted, left)
            heard = alike[0]
            left.remove(heard)
            if wanted.instrument != DRUMS:
                assert (heard.state["bend"], heard.state["control", 64] < 64, heard.state["control", 66] < 64) == (
                    0, True, True,
                )  # fmt: skip


def seconds_of(hearing):
    """A function from the file ticks of a file to seconds."""
    changes = [(0, 500_000), *((tick, each.tempo) for tick, each in hearing.conductor if each.type == "set_tempo")]

    def seconds(tick):
        total = 0.0
        for (since, microseconds), (until, _) in zip(changes, [*changes[1:], (tick, 0)], strict=True):
            total += max(min(until, tick) - since, 0) * microseconds / hearing.file.ticks_per_beat / 1e6
        return total

    return seconds


def without_new(data, new):
    """The notes of a file that are not among the new ones, by our own reader."""
    found = Counter(each._replace(duration=0) for each in read_notes(data))
    return found - Counter(each._replace(duration=0) for each in new)


@given(pieces(), st.data())
@settings(max_examples=60, deadline=None)
def test_a_piece_that_is_continued_from_its_end_comes_back_whole(data, draws):
    piece = read_piece(data)
    new = draws.draw(new_notes(piece.length_ticks + 5))
    answer = write_piece(piece, piece.notes, new, piece.length_ticks + 500, piece.timing)
    heard = Answer.of(data, answer)
    heard.assert_kept(lambda note: True, until=LAST + 1)
    heard.assert_new(new)
    assert set(map(str, heard.found.conductor)) >= {
        str((heard.factor * tick, message))
        for tick, message in last_of_each(heard.given.conductor)
        if tick < piece.timing.file_tick(10 * piece.length_ticks + 5_000)
    }
    kept = [note for note in read_notes(answer) if note.onset < piece.length_ticks + 5]
    assert_alike(kept, piece.notes)


def assert_alike(found, expected):
    """Check that notes are the same but for a last digit: times are sums, and what lies between may differ."""
    for one, other in zip(sorted(found), sorted(expected), strict=True):
        assert one[2:] == other[2:]
        assert one[:2] == pytest.approx(other[:2], abs=1)


def last_of_each(conductor):
    """Of changes of one kind at one file tick the last; the others mean nothing."""
    return {(tick, message.type): (tick, message) for tick, message in conductor}.values()


@given(pieces(), st.integers(20, 600), st.data())
@settings(max_examples=40, deadline=None)
def test_what_begins_before_a_cut_comes_back_with_what_came_before_it(data, cut_ticks, draws):
    piece = read_piece(data)
    kept = [note for note in piece.notes if note.onset < cut_ticks]
    new = [note for note in draws.draw(new_notes(cut_ticks + 1)) if not any(meet(note, other) for other in kept)]
    timing = piece.timing.until(10 * cut_ticks)
    answer = Answer.of(data, write_piece(piece, kept, new, cut_ticks + 500, timing, cut_ticks))
    cut = timing.file_tick(10 * cut_ticks) // 2 * 2 - 1  # nothing is at an odd file tick but programs and tempos
    answer.assert_kept(lambda note: note.begin < cut, until=cut)
    seconds = seconds_of(answer.found)
    assert all(seconds(heard.begin) < cut_ticks / 100 + 0.006 for heard in answer.found.notes if heard.velocity != 72)
    answer.assert_new(new)


def meet(one, other):
    """Tell whether two notes are of one key and sound together; no plan of an edit has such new notes."""
    is_apart = one.onset + one.duration < other.onset or other.onset + other.duration < one.onset
    return (one.instrument, one.pitch) == (other.instrument, other.pitch) and not is_apart


@given(pieces(), st.integers(0, 400), st.integers(10, 400), st.data())
@settings(max_examples=40, deadline=None)
def test_what_is_outside_a_span_comes_back_with_all_messages_of_the_piece(data, start, length, draws):
    piece = read_piece(data)
    span = range(start, start + length)
    kept = [note for note in piece.notes if note.onset not in span]
    new = [note for note in draws.draw(new_notes(start)) if not any(meet(note, other) for other in kept)]
    answer = Answer.of(data, write_piece(piece, kept, new, piece.length_ticks, piece.timing))
    seconds = seconds_of(answer.given)
    edges = [round(100 * seconds(heard.begin)) in span for heard in answer.given.notes]
    removed = {id(heard) for heard, inside in zip(answer.given.notes, edges, strict=True) if inside}
    answer.assert_kept(lambda note: id(note) not in removed, until=2 * LAST)


@given(pieces(), st.sampled_from([20.0, 60.0, 87.3, 133.7, 300.0]))
@settings(max_examples=25, deadline=None)
def test_with_another_tempo_all_notes_and_messages_keep_their_times(data, bpm):
    piece = read_piece(data)
    answer = write_piece(piece, piece.notes, [], piece.length_ticks, piece.timing.with_tempo(bpm))
    before, after = Hearing(data), Hearing(answer)
    given_seconds, found_seconds = seconds_of(before), seconds_of(after)
    for one, other in zip(
        sorted(before.notes, key=lambda heard: heard.in_units(1)[2:6] + heard.in_units(1)[:2]),
        sorted(after.notes, key=lambda heard: heard.in_units(1)[2:6] + heard.in_units(1)[:2]),
        strict=True,
    ):
        assert one.in_units(1)[2:7] == other.in_units(1)[2:7]
        assert found_seconds(other.begin) == pytest.approx(given_seconds(one.begin), abs=0.001)
        assert found_seconds(other.end) == pytest.approx(given_seconds(one.end), abs=0.001)
        assert [change[1:] for change in one.changes] == [change[1:] for change in other.changes]
    for own, others in zip(before.texts, after.texts, strict=True):
        assert [text for _, text in own] == [text for _, text in others]
        times = [given_seconds(tick) for tick, _ in own]
        assert [found_seconds(tick) for tick, _ in others] == pytest.approx(times, abs=0.001)


@given(pieces())
@settings(max_examples=25, deadline=None)
def test_symusic_finds_in_what_comes_back_what_it_finds_in_the_input(data):
    """Its notes are by track and program, whichever channel they are on."""
    symusic = pytest.importorskip("symusic")
    piece = read_piece(data)
    before = symusic.Score.from_midi(data)
    answer = symusic.Score.from_midi(write_piece(piece, piece.notes, [], piece.length_ticks, piece.timing))
    factor = answer.ticks_per_quarter // before.ticks_per_quarter

    def found(score, factor):
        return Counter(
            (factor * note.time, note.pitch, note.velocity, track.name, track.is_drum)
            for track in score.tracks
            for note in track.notes
        )

    assert found(answer, 1) == found(before, factor)
    assert Counter(each.text for each in answer.markers) == Counter(each.text for each in before.markers)
    assert len(answer.key_signatures) == len(before.key_signatures)
