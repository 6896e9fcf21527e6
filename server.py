"""Start the service: `uv run python server.py --help` lists the settings."""

import logging
import sys

from litserve import LitServer
from pydantic import ValidationError

from api import AnticipatoryAPI
from serving.http import explain_invalid_requests
from serving.settings import Settings
from serving.shutdown import stop_gracefully_on_signals

logger = logging.getLogger("anticipatory")


def main() -> None:
    """Read the settings, then serve until stopped."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        settings = Settings(_cli_parse_args=True)  # type: ignore[call-arg]
    except ValidationError as error:
        problems = "; ".join(f"{problem['loc'][0]}: {problem['msg']}" for problem in error.errors())
        sys.exit(f"invalid settings: {problems}. See python server.py --help")
    server = LitServer(
        AnticipatoryAPI(settings),
        accelerator="cpu",  # only says how many workers: the worker finds its device by our own setting
        devices=1,
        workers_per_device=1,
        timeout=settings.timeout,
        max_payload_size=settings.max_payload_bytes,
        restart_workers=True,
    )
    server.app.title = "Anticipatory Music Transformer"
    server.app.description = AnticipatoryAPI.__doc__
    explain_invalid_requests(server.app)
    stop_gracefully_on_signals()
    server.run(
        host=settings.host,
        port=settings.port,
        num_api_servers=1,
        api_server_worker_type="process",
        generate_client_file=False,
    )


if __name__ == "__main__":
    main()
