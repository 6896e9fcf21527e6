"""What the operator may set: by environment (`ANTICIPATORY_*`) or by flags of the same names."""

from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

Size = Literal["tiny", "small", "medium", "large"]


class Settings(BaseSettings):
    """The service's settings; flags win over the environment."""

    model_config = SettingsConfigDict(
        env_prefix="ANTICIPATORY_",
        cli_prog_name="server.py",
        cli_kebab_case=True,
        cli_implicit_flags=True,
        protected_namespaces=(),
        frozen=True,
    )

    host: Literal["127.0.0.1", "0.0.0.0", "::"] = Field("127.0.0.1", description="address to listen on")
    port: int = Field(2011, ge=1024, le=65535, description="port to listen on")
    device: str = Field("auto", description="auto, cpu, cuda, cuda:N or mps; ROCm presents as cuda")
    dtype: Literal["auto", "float32", "bfloat16", "float16", "int8"] = Field(
        "auto",
        description="precision of the weights; auto is bfloat16 on CUDA devices that support it, int8 on x86 CPUs",
    )
    default_model: Literal["auto"] | Size = Field(
        "auto", description="size for requests that name none; auto is small if it can be had at start, else tiny"
    )
    model_tiny: str = Field("weights/tiny", description="folder or hub repository (repo@revision) of size tiny")
    model_small: str = Field("stanford-crfm/music-small-800k", description="likewise for size small")
    model_medium: str = Field("stanford-crfm/music-medium-800k", description="likewise for size medium")
    model_large: str = Field("stanford-crfm/music-large-800k", description="likewise for size large")
    timeout: float = Field(300, gt=0, description="seconds that a request may take, waiting included")
    max_payload_bytes: int = Field(8 * 2**20, gt=0, description="largest request body")
    max_batch: int = Field(32, ge=5, description="sequences decoded together; each variation is one")
    max_waiting: int = Field(64, ge=0, description="requests that may wait for a place; more are refused with 429")
    step_timeout: float = Field(
        120, gt=0, description="seconds without a sign of life after which a worker is replaced"
    )
    drain_timeout: float = Field(30, ge=0, description="seconds that running requests get when the service is stopped")
    public_metrics: bool = Field(False, description="whether /metrics needs no key")

    @property
    def checkpoints(self) -> dict[Size, str]:
        """Where each size comes from."""
        return {
            "tiny": self.model_tiny,
            "small": self.model_small,
            "medium": self.model_medium,
            "large": self.model_large,
        }
