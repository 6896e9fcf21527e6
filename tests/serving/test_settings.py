import subprocess
import sys

import pytest
from pydantic import ValidationError

from server import Settings
from tests.conftest import PROJECT


def test_the_environment_sets_what_flags_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTICIPATORY_PORT", "3000")
    monkeypatch.setenv("ANTICIPATORY_MODEL_SMALL", "folder")
    settings = Settings(_cli_parse_args=["--port", "4000"])  # type: ignore[call-arg]
    assert (settings.port, settings.model_small) == (4000, "folder")


def test_defaults_are_those_of_the_contract() -> None:
    settings = Settings()
    assert (settings.host, settings.port, settings.timeout) == ("127.0.0.1", 2011, 300)
    assert settings.checkpoints["large"] == "stanford-crfm/music-large-800k"


@pytest.mark.parametrize("wrong", [{"port": 80}, {"timeout": 0}, {"dtype": "int3"}, {"host": "example.org"},
                                   {"cors_origins": "example.org"}, {"cors_origins": "https://example.org/"},
                                   {"cors_origins": "https://*.example.org"},
                                   {"soundfont": "missing.sf2"}, {"soundfont": "server.py"}])  # fmt: skip
def test_values_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Settings(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(("device", "devices"), [("cuda:1", "2"), ("cpu", "cpu"), ("cuda", "cuda:0,cuda:1")])
def test_one_device_and_several_are_a_contradiction(device: str, devices: str) -> None:
    with pytest.raises(ValidationError, match=f"device is {device} already"):
        Settings(device=device, devices=devices)


def test_origins_are_told_apart_by_commas_and_none_is_the_default() -> None:
    assert Settings().limits.cors_origins == ()
    origins = Settings(cors_origins=" https://Example.org , http://localhost:3000,").limits.cors_origins
    assert origins == ("https://example.org", "http://localhost:3000")


def test_a_wrong_setting_stops_the_command_with_one_line() -> None:
    done = subprocess.run(
        [sys.executable, "server.py", "--port", "80"], cwd=PROJECT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert done.stderr.strip().splitlines() == [
        "invalid settings: port: Input should be greater than or equal to 1024. See python server.py --help"
    ]


def test_models_are_named_one_by_one_or_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    def offered(*flags: str) -> dict[str, str]:
        checkpoints = Settings(_cli_parse_args=list(flags)).checkpoints  # type: ignore[call-arg]
        assert list(checkpoints)[:4] == ["tiny", "small", "medium", "large"]
        return dict(list(checkpoints.items())[4:])

    expected = {"jazz": "./jazz-model", "small100": "stanford-crfm/music-small-100k@main"}
    assert offered() == {}
    assert offered("--model", "jazz=./jazz-model", "--model", f"small100={expected['small100']}") == expected
    monkeypatch.setenv("ANTICIPATORY_MODELS", f"jazz=./jazz-model, small100={expected['small100']}")
    assert offered() == expected
    assert offered("--model=blues=b") == {"blues": "b"}
    monkeypatch.setenv("ANTICIPATORY_MODELS", "")
    assert offered() == {}


@pytest.mark.parametrize(
    ("named", "complaint"),
    [
        ("jazz", "'jazz' is not NAME=SOURCE, such as jazz=./jazz-model"),
        ("jazz=", "'jazz=' is not NAME=SOURCE"),
        ("jazz=x,", "'' is not NAME=SOURCE"),
        ("=x", "'' is no name for a model: 1 to 64 letters, digits or any of"),
        ("my jazz=x", "'my jazz' is no name for a model"),
        ("-x=x", "'-x' is no name for a model"),
        ("tiny=x", "tiny has a setting of its own, --model-tiny: use that, or another name"),
        ("jazz=x,jazz=y", "jazz is named twice"),
        ("auto=x", "auto stands for the default model"),
    ],
)
def test_a_model_that_is_named_wrongly_is_refused_with_the_reason(named: str, complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        Settings(models=named)  # type: ignore[arg-type]


def test_the_default_model_is_one_on_offer() -> None:
    assert Settings(default_model="jazz", models="jazz=x").default_model == "jazz"  # type: ignore[arg-type]
    with pytest.raises(
        ValidationError, match="blues is not on offer: name one of auto, tiny, small, medium, large, jazz"
    ):
        Settings(default_model="blues", models="jazz=x")  # type: ignore[arg-type]


def test_at_least_one_model_stays_loaded() -> None:
    assert Settings().limits.max_loaded is None
    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        Settings(max_loaded=0)
