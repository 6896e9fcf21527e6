"""Start the service; `uv run python server.py --help` lists the settings."""

import signal
import sys

if __name__ == "__main__":  # before the imports that take their time; uvicorn has handlers of its own later
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, lambda signum, frame: sys.exit(0))

import logging
import os
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from api import AnticipatoryAPI
from serving.limits import Limits
from serving.process import LOG_FORMAT
from serving.server import Server
from tasks.documentation import DOCUMENTATION
from tasks.rendering import rendering

MODEL_NAME_PATTERN: Final = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"

SIZES: Final = ("tiny", "small", "medium", "large")
"""Models with a setting of their own."""


class Settings(BaseSettings):
    """Hold what the operator may set, by flags or by environment (`ANTICIPATORY_*`); flags win."""

    model_config = SettingsConfigDict(
        env_prefix="ANTICIPATORY_",
        cli_prog_name="server.py",
        cli_kebab_case=True,
        cli_implicit_flags=True,
        cli_shortcuts={"models": "model"},
        protected_namespaces=(),
        frozen=True,
    )

    host: Literal["127.0.0.1", "0.0.0.0", "::"] = Field("127.0.0.1", description="address to listen on")
    port: int = Field(2011, ge=1024, le=65535, description="port to listen on")
    device: str = Field(
        "auto", description="one device: cpu, cuda, cuda:N or mps; ROCm presents as cuda; auto leaves it to devices"
    )
    devices: str = Field(
        "auto",
        description="several devices, when device is auto: a number of CUDA devices, names such as cuda:0,cuda:2, or "
        "auto for all CUDA devices there are, else mps, else cpu",
    )
    workers_per_device: int = Field(1, ge=1, description="worker processes on each device, each with its own models")
    dtype: Literal["auto", "float32", "bfloat16", "float16", "int8", "int4"] = Field(
        "auto",
        description="precision of the weights; auto is bfloat16 on CUDA devices that support it, int8 on CPUs",
    )
    model_tiny: str = Field("weights/tiny", description="folder or hub repository (repo@revision) of size tiny")
    model_small: str = Field("stanford-crfm/music-small-800k", description="likewise for size small")
    model_medium: str = Field("stanford-crfm/music-medium-800k", description="likewise for size medium")
    model_large: str = Field("stanford-crfm/music-large-800k", description="likewise for size large")
    models: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="more models, NAME=SOURCE each: folders or hub repositories of models or LoRA adapters; repeat "
        "--model, or separate by commas",
    )
    default_model: str = Field(
        "auto",
        description="model for requests that name none; auto is small if it can be had at start, else tiny",
    )
    max_loaded: int | None = Field(
        None, ge=1, description="models that a worker keeps loaded; the least recently used goes for another"
    )
    timeout: float = Field(300, gt=0, description="seconds that a request may take, waiting included")
    max_payload_bytes: int = Field(8 * 2**20, gt=0, description="largest request body")
    max_batch: int = Field(32, ge=5, description="sequences that a worker decodes together; each variation is one")
    max_waiting: int = Field(64, ge=0, description="requests that may wait for a place; more are refused with 429")
    encoders: int = Field(
        0, ge=0, le=16, description="processes that make answers besides the service's own, for fast devices"
    )
    step_timeout: float = Field(
        120, gt=0, description="seconds without a sign of life after which a worker is replaced"
    )
    drain_timeout: float = Field(30, ge=0, description="seconds that running requests get when the service is stopped")
    public_metrics: bool = Field(False, description="whether /metrics needs no key")
    cors_origins: str = Field(
        "", description="web pages that may call the service: origins such as https://example.org, by commas, or *"
    )
    soundfont: str = Field(
        "", description="SoundFont (.sf2) that the page and /render play with; if none is named, the one of pretty-midi"
    )

    @field_validator("models", mode="before")
    @classmethod
    def _read_models(cls, value: Any) -> Any:
        """Take models one by one, or as a text in which commas separate them."""
        if not isinstance(value, str):
            return value
        return tuple(each.strip() for each in value.split(",")) if value.strip() else ()

    @field_validator("models")
    @classmethod
    def _check_models(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        names: list[str] = []
        for each in value:
            name, _, source = each.partition("=")
            if not source.strip():
                raise ValueError(f"{each!r} is not NAME=SOURCE, such as jazz=./jazz-model")
            if not re.fullmatch(MODEL_NAME_PATTERN, name):
                raise ValueError(
                    f"{name!r} is no name for a model: 1 to 64 letters, digits or any of . _ - , of which the first is "
                    "a letter or a digit"
                )
            if name in SIZES:
                raise ValueError(f"{name} has a setting of its own, --model-{name}: use that, or another name")
            if name in (*names, "auto"):
                raise ValueError(f"{name} is named twice" if name in names else "auto stands for the default model")
            names.append(name)
        return value

    @field_validator("default_model")
    @classmethod
    def _check_default(cls, value: str, info: ValidationInfo) -> str:
        names = [*SIZES, *(each.partition("=")[0] for each in info.data.get("models", ()))]
        if "models" in info.data and value not in ("auto", *names):
            raise ValueError(f"{value} is not on offer: name one of auto, {', '.join(names)}, or add it by --model")
        return value

    @field_validator("soundfont")
    @classmethod
    def _check_sound_font(cls, value: str) -> str:
        if value and not (value.endswith(".sf2") and Path(value).is_file()):
            raise ValueError(f"{value} is no file whose name ends in .sf2")
        return value

    @field_validator("devices")
    @classmethod
    def _check_devices(cls, value: str, info: ValidationInfo) -> str:
        if "auto" not in (value, info.data.get("device", "auto")):
            raise ValueError(
                f"device is {info.data['device']} already: set device for one device, or devices for several"
            )
        return value

    @field_validator("cors_origins")
    @classmethod
    def _check_origins(cls, value: str) -> str:
        for origin in _split(value):
            if origin != "*" and not re.fullmatch(r"[a-z][a-z0-9+.-]*://[^/\s*]+", origin):
                raise ValueError(
                    f"{origin} is no origin: give scheme://host or scheme://host:port without a path, or *"
                )
        return value

    @property
    def checkpoints(self) -> dict[str, str]:
        """Return where each model comes from, by name."""
        sizes = {name: getattr(self, f"model_{name}") for name in SIZES}
        return sizes | {name: source.strip() for name, _, source in (each.partition("=") for each in self.models)}

    @property
    def sound_font(self) -> Path | None:
        """Return where the SoundFont is: the one named, else that of pretty-midi, if that is installed."""
        if self.soundfont:
            return Path(self.soundfont).resolve()
        package = find_spec("pretty_midi")  # imports nothing: the package itself takes a second
        folders = package.submodule_search_locations if package else None
        found = [file for folder in folders or () for file in Path(folder).glob("*.sf2")]
        return found[0] if found else None

    @property
    def limits(self) -> Limits:
        """Return what bounds the service."""
        return Limits(
            host=self.host,
            port=self.port,
            timeout_seconds=self.timeout,
            max_payload_bytes=self.max_payload_bytes,
            max_batch=self.max_batch,
            max_waiting=self.max_waiting,
            max_loaded=self.max_loaded,
            encoders=self.encoders,
            step_timeout_seconds=self.step_timeout,
            drain_seconds=self.drain_timeout,
            public_metrics=self.public_metrics,
            cors_origins=_split(self.cors_origins),
        )


def _split(origins: str) -> tuple[str, ...]:
    """Return comma-separated origins as browsers write them, in lower case."""
    return tuple(origin.strip().lower() for origin in origins.split(",") if origin.strip())


def main() -> None:
    """Read the settings, then serve until stopped."""
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT)
    try:
        settings = Settings(_cli_parse_args=True)  # type: ignore[call-arg]
    except ValidationError as error:
        problems = "; ".join(f"{problem['loc'][0]}: {problem['msg']}" for problem in error.errors())
        sys.exit(f"invalid settings: {problems}. See python server.py --help")
    devices = settings.devices if settings.device == "auto" else settings.device
    api = AnticipatoryAPI(
        settings.checkpoints, settings.default_model, devices, settings.workers_per_device, settings.dtype
    )
    key = os.environ.get("LIT_SERVER_API_KEY")
    font = settings.sound_font
    Server(api, settings.limits, DOCUMENTATION, rendering(font), key, font).run()


if __name__ == "__main__":
    main()
