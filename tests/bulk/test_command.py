import shlex
from pathlib import Path

import pytest

pytest.importorskip("pyarrow")
pytest.importorskip("tqdm")

from bulk.command import main
from bulk.results import midi_name

pytestmark = pytest.mark.bulk


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("generate --count 0", "should be a whole number, 1 or more"),
        ("generate --count 1 --length-seconds 500", "length_seconds must be in range 1.0..120.0, got 500.0"),
        ("generate --count 1 --request '{\"lenght\": 5}'", "lenght: Extra inputs are not permitted"),
        ("generate --count 1 --request [1]", "--request is no JSON"),
        ("generate --count 1 --seed -1", "seed must be in range"),
        ("embed {}/*.mid --pooling none", "pooling must be mean, last or max"),
        ("embed {}/*.mid --request '{{\"notes\": []}}'", "notes cannot be sent for many files"),
        ("embed {}/*.none", "no file matches"),
        ("infill {}/*.mid --start-seconds 1", "end_seconds is required for task 'infill'"),
        ("continue {}/*", "a and a.mid would both become a.mid"),
        ('generate --count 1 --request \'{"model_size": "huge"}\'', "model_size must be one of tiny, small"),
    ],
)
def test_a_call_that_is_wrong_says_what_is_allowed(
    arguments: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "a.mid"):
        (tmp_path / name).write_bytes(b"MThd")
    out = ["--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit) as exit:
        main([*shlex.split(arguments.format(tmp_path) if "{}" in arguments else arguments), *out])
    assert exit.value.code == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("127.0.0.1:9", "no cluster of Ray answers at 127.0.0.1:9: "),
        ("ray://127.0.0.1:9", "the address of a cluster is auto or host:port, got 'ray://127.0.0.1:9'"),
    ],
)
def test_a_cluster_that_is_not_there_is_said_at_once(
    address: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["generate", "--count", "1", "--out", str(tmp_path / "out"), "--address", address]) == 1
    assert f"error: {message}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "n_variations", "file"),
    [
        ("a/b.mid", 1, "a/b.mid"),
        ("a/b.MIDI", 2, "a/b-1.MIDI"),
        ("a.b/c", 1, "a.b/c.mid"),
        ("a.tar", 1, "a.tar.mid"),
    ],
)
def test_a_piece_has_the_name_of_its_input(name: str, n_variations: int, file: str) -> None:
    assert midi_name(name, 1, n_variations) == file
