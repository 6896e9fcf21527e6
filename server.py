"""Start the service: `uv run python server.py --help` lists the settings."""

import logging
import sys

from litserve import LitServer
from pydantic import ValidationError

from api import AnticipatoryAPI
from schemas import EXAMPLES, ErrorResponse
from serving.http import document, explain_invalid_requests
from serving.settings import Settings
from serving.shutdown import end_workers, stop_gracefully_on_signals

DESCRIPTION = """Make music from nothing, go on from a MIDI file, or describe one by a vector: `task` says which.
The fields of all tasks are below; choose an example to try each."""

ERRORS = {
    400: "The body is not JSON that can be read.",
    413: "The body is larger than the service accepts.",
    422: "A field is missing, unknown or out of range, or the MIDI cannot be used; the detail says what is allowed.",
    503: "The model cannot be loaded now; the detail says what to do.",
    504: "The request took longer than the service's time limit.",
}


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
    explain_invalid_requests(server.app)
    document(server.app, "/predict", "Generate, continue or embed", DESCRIPTION, ERRORS, ErrorResponse, EXAMPLES)
    stop_gracefully_on_signals()
    try:
        server.run(
            host=settings.host,
            port=settings.port,
            num_api_servers=1,
            api_server_worker_type="process",
            generate_client_file=False,
        )
    except KeyboardInterrupt:  # while the model was still loading: LitServe does not expect it there
        end_workers(server.inference_workers)
    except RuntimeError as error:
        sys.exit(f"the service could not start ({error}): see above")


if __name__ == "__main__":
    main()
