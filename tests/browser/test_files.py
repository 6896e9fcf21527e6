"""Files in and out."""

import base64
import io
import struct
import wave
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
import pytest
from mido import MidiFile
from playwright.sync_api import expect

from agents.link import page_opener
from amt.midi.codec import read_notes
from tests.browser.conftest import BEAT, Playground
from tests.conftest import GOLDEN


def downloaded(playground: Playground, button: str) -> bytes:
    with playground.page.expect_download(timeout=60_000) as download:
        playground.button(button).click()
    return Path(download.value.path()).read_bytes()


def frames_of(content: bytes) -> np.ndarray:
    """Both channels from -1 to 1."""
    with wave.open(io.BytesIO(content)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (2, 2, 44100)
        return np.frombuffer(file.readframes(file.getnframes()), np.int16).reshape(-1, 2) / 32768


@pytest.mark.parametrize("name", ["chorale_001.mid", "scale_type0.mid"])
def test_a_file_is_read_as_the_service_reads_it(name: str, playground: Playground) -> None:
    playground.open(GOLDEN / "midi" / name)
    wanted = read_notes((GOLDEN / "midi" / name).read_bytes())
    shown = sorted((onset, pitch, instrument) for onset, _, pitch, instrument in playground.notes())
    expected = sorted((note.onset / 100, note.pitch, note.instrument) for note in wanted)
    assert [note[1:] for note in shown] == [note[1:] for note in expected]
    assert [note[0] for note in shown] == pytest.approx([note[0] for note in expected], abs=0.006)


def test_a_riff_file_that_is_dropped_is_opened(playground: Playground, song: Path) -> None:
    content = song.read_bytes()
    riff = b"RIFF" + struct.pack("<I", len(content) + 12) + b"RMIDdata" + struct.pack("<I", len(content)) + content
    playground.page.evaluate(
        """(text) => {
            const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)), data = new DataTransfer();
            data.items.add(new File([bytes], "song.rmi"));
            dispatchEvent(new DragEvent("drop", { dataTransfer: data, cancelable: true }));
        }""",
        base64.b64encode(riff).decode(),
    )
    expect(playground.status).to_have_text("song.rmi: 40 notes, 0:19.2.")


def test_what_is_no_midi_file_is_told_so(playground: Playground, tmp_path: Path) -> None:
    (tmp_path / "notes.mid").write_text("do re mi")
    playground.open(tmp_path / "notes.mid")
    expect(playground.status).to_contain_text("notes.mid cannot be opened: this is no MIDI file")


def test_a_file_that_ends_early_is_told_so(playground: Playground, song: Path, tmp_path: Path) -> None:
    (tmp_path / "song.mid").write_bytes(song.read_bytes()[:-40])
    playground.open(tmp_path / "song.mid")
    expect(playground.status).to_contain_text("It ends in the middle of a track: this is what could be read.")


def test_midi_that_is_downloaded_holds_what_is_shown(playground: Playground, song: Path) -> None:
    playground.open(song)
    notes = playground.notes()
    content = downloaded(playground, "Download MIDI")
    tempos = [message.tempo for message in MidiFile(file=io.BytesIO(content)) if message.type == "set_tempo"]
    assert tempos == [600_000]
    decoded = [(note.onset, note.duration, note.pitch, note.instrument) for note in read_notes(content)]
    assert sorted(decoded) == sorted((round(a * 100), round(b * 100), c, d) for a, b, c, d in notes)


def test_wav_sounds_where_notes_are(playground: Playground, song: Path) -> None:
    playground.open(song)
    playground.page.get_by_role("listitem", name="Flute").get_by_role("button", name="Mute").click()
    frames = frames_of(downloaded(playground, "Download WAV"))
    assert 0.1 < np.abs(frames).max() <= 0.8913  # -1 dB
    # The drum of each bar is heard, and dies away before the next: flutes would sound all the time.
    for bar in range(8):
        at = round(bar * 4 * BEAT * 44100)
        struck, rest = frames[at : at + 4410], frames[at + round(2.5 * BEAT * 44100) : at + round(3.5 * BEAT * 44100)]
        assert np.abs(struck).max() > 20 * np.abs(rest).max()


def test_wav_has_the_pitches_of_the_notes(playground: Playground, song: Path) -> None:
    playground.open(song)
    playground.page.get_by_role("listitem", name="Drums").get_by_role("button", name="Mute").click()
    frames = frames_of(downloaded(playground, "Download WAV"))[:, 0]
    for beat in (0, 4, 9, 20):
        part = frames[round((beat + 0.3) * BEAT * 44100) :][:16384] * np.hanning(16384)
        spectrum = np.abs(np.fft.rfft(part))
        wanted = 440 * 2 ** ((60 + beat % 12 - 69) / 12)
        found = np.argmax(spectrum[round(100 * 16384 / 44100) :]) + round(100 * 16384 / 44100)
        ratio = found * 44100 / 16384 / wanted
        assert ratio / round(ratio) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize(
    ("midi", "said"),
    [("", "song.mid: 40 notes, 0:19.2."), ("do re mi!", "song.mid cannot be opened: this is no MIDI file")],
)
def test_a_file_in_the_address_is_opened_and_leaves_the_address(
    midi: str, said: str, playground: Playground, song: Path
) -> None:
    midi = midi or base64.urlsafe_b64encode(song.read_bytes()).decode().rstrip("=")
    playground.page.goto("about:blank")
    playground.load("#" + urlencode({"name": "song.mid", "midi": midi}))
    expect(playground.status).to_contain_text(said)
    assert playground.page.url == f"{playground.url}/"


def test_the_file_that_an_agent_hands_on_opens_the_page_with_a_piece(
    playground: Playground, song: Path, tmp_path: Path
) -> None:
    opener = page_opener(playground.url, "vary & <2>.mid", song.read_bytes())
    assert opener is not None
    (tmp_path / "vary-2.html").write_bytes(opener)
    playground.page.goto((tmp_path / "vary-2.html").as_uri())
    playground.page.wait_for_url(f"{playground.url}/")
    expect(playground.status).to_contain_text("vary & <2>.mid: 40 notes, 0:19.2.")
