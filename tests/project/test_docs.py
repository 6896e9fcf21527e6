"""Hold the README and docs/ to the code: every example runs as it stands there, every table says what the code says."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from server import Settings
from tests.conftest import GOLDEN, PROJECT, Service

MAX_README_BYTES = 8_000

PAGES = [
    PROJECT / "README.md",
    *sorted(PROJECT.glob("docs/*.md")),
    PROJECT / "weights/tiny/README.md",
    PROJECT / "skills/compose/SKILL.md",
]
LINKED = [*PAGES, PROJECT / "CHANGELOG.md", PROJECT / "training/LOG.md", PROJECT / "tests/data/README.md"]

BLOCKS = [
    (language, text)
    for page in PAGES
    for language, text in re.findall(r"^```(\w+)\n(.*?)^```", page.read_text(), flags=re.MULTILINE | re.DOTALL)
]
SHELL = [text for language, text in BLOCKS if language == "bash"]
CALLS = sorted({text for text in SHELL if "curl" in text or "client.py" in text})
SERVERS = sorted({line for text in SHELL for line in text.replace("\\\n", "").splitlines() if "server.py" in line})
TESTS = "pip install uv && uv run pytest\n"
BULK = [
    text for language, text in BLOCKS if language in ("bash", "python") and ("-m bulk" in text or "pyarrow" in text)
]
"""Run by tests/bulk: what starts bulk jobs, and what reads their results."""
PYTHON = [text for language, text in BLOCKS if language == "python" and text not in BULK]
JSON = [text for language, text in BLOCKS if language == "json" and "mcp_server.py" not in text]  # that is no answer


def fill(folder: Path) -> None:
    """Copy the files that the examples assume into an empty folder."""
    shutil.copy(GOLDEN / "midi/chorale_001.mid", folder / "input.mid")
    shutil.copy(GOLDEN / "midi/scale_type0.mid", folder / "melody.mid")
    for collection, pieces in (("chorales", "chorale_*.mid"), ("quartets", "*_m*.mid")):
        (folder / collection).mkdir()
        for piece in (GOLDEN / "midi").glob(pieces):
            shutil.copy(piece, folder / collection)
    shutil.copy(PROJECT / "client.py", folder)
    shutil.copy(PROJECT / "commands.py", folder)


def run(script: str, language: str, service: Service, folder: Path) -> str:
    """Run an example against the service, in a folder of its own; return what it printed."""
    fill(folder)
    script = script.replace("http://localhost:2011", service.url)
    if language == "python":
        command = [sys.executable, "-c", script.replace("Client()", f"Client({service.url!r})")]
    else:
        command = ["bash", "-euo", "pipefail", "-c", script.replace("uv run python", "python")]
    # `uv run python` is this interpreter: uv itself need not be there to run the tests.
    environment = os.environ | {
        "ANTICIPATORY_URL": service.url,
        "PYTHONPATH": str(PROJECT),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def printed(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[str]]]:
    """Example -> what it prints. Several run at a time: Python starts while the service works."""
    with ThreadPoolExecutor(3) as pool:
        yield {
            script: pool.submit(run, script, language, service, tmp_path_factory.mktemp("example"))
            for language, scripts in (("bash", CALLS), ("python", PYTHON))
            for script in scripts
        }


@pytest.mark.parametrize("script", CALLS)
def test_commands_that_call_the_service_work(script: str, printed: dict[str, Future[str]]) -> None:
    assert '"detail"' not in printed[script].result()


@pytest.mark.parametrize("script", PYTHON)
def test_python_examples_work(script: str, printed: dict[str, Future[str]]) -> None:
    printed[script].result()


@pytest.mark.parametrize("line", SERVERS)
def test_commands_that_start_the_service_have_valid_settings(line: str) -> None:
    words = shlex.split(line.split("#")[0].rpartition("&&")[2])
    variables = dict(word.split("=", 1) for word in words[: words.index("uv")])
    variables.pop("LIT_SERVER_API_KEY", None)
    values: dict[str, Any] = {
        name.removeprefix("ANTICIPATORY_").lower(): value for name, value in variables.items()
    }  # as if the environment held them
    Settings(_cli_parse_args=words[words.index("server.py") + 1 :], **values)


def test_every_shell_example_is_run() -> None:
    assert not [text for text in SHELL if text not in CALLS and "server.py" not in text and text not in (TESTS, *BULK)]
    assert {language for language, _ in BLOCKS} <= {"bash", "python", "json", "text", "sh"}


def test_commands_that_are_not_run_name_modules_that_exist() -> None:
    pages = "".join(page.read_text() for page in [*PAGES, PROJECT / "training/LOG.md"])
    named = set(re.findall(r"python -m ((?:benchmarks|training)[.\w]*)", pages))
    assert named
    assert not [name for name in named if not (PROJECT / f"{name.replace('.', '/')}.py").exists()]


def fits(value: Any, schema: Any, components: Any) -> bool:
    """Tell whether JSON has the fields that the schema has, no others, and all that it requires."""
    if "$ref" in schema:
        return fits(value, components[schema["$ref"].rpartition("/")[2]], components)
    if "anyOf" in schema or "oneOf" in schema:
        return any(fits(value, each, components) for each in [*schema.get("anyOf", []), *schema.get("oneOf", [])])
    if isinstance(value, dict):
        known = schema.get("properties", {})
        return set(schema.get("required", [])) <= value.keys() <= known.keys() and all(
            fits(each, known[name], components) for name, each in value.items()
        )
    if isinstance(value, list):
        return schema.get("type") == "array" and all(fits(each, schema["items"], components) for each in value)
    return value == schema.get("const", value) and schema.get("type") not in ("object", "array")


@pytest.mark.parametrize("text", JSON)
def test_answers_shown_fit_the_schema(text: str, service: Service) -> None:
    schema = httpx.get(f"{service.url}/openapi.json").json()
    answers = schema["paths"]["/predict"]["post"]["responses"].values()
    shapes = [answer["content"]["application/json"]["schema"] for answer in answers]
    assert fits(json.loads(text), {"anyOf": shapes}, schema["components"]["schemas"])


def request_fields(schema: Any) -> dict[str, list[Any]]:
    """Name -> its schemas in all kinds of request that OpenAPI knows."""
    body = schema["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    found: dict[str, list[Any]] = {}
    pending = [body]
    while pending:
        each = pending.pop()
        if "$ref" in each:
            pending.append(schema["components"]["schemas"][each["$ref"].rpartition("/")[2]])
        pending += [*each.get("oneOf", []), *each.get("anyOf", [])]
        for name, field in each.get("properties", {}).items():
            found.setdefault(name, []).append(field)
    return found


def bounds(schema: Any) -> Iterator[str]:
    """What the schema of a field says is allowed: bounds as numbers, choices as they are."""
    if isinstance(schema, dict):
        for key, value in schema.items():
            if key in ("minimum", "maximum", "minItems", "maxItems"):
                yield f"{value:g}"
            elif key in ("enum", "const"):
                yield from map(str, value if isinstance(value, list) else [value])
            else:
                yield from bounds(value)
    elif isinstance(schema, list):
        for each in schema:
            yield from bounds(each)


def table(page: str, n_columns: int) -> list[list[str]]:
    """Return the rows with so many columns of all tables of a page, cell by cell."""
    lines = (PROJECT / page).read_text().splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines if line.startswith("|")]
    return [row for row in rows if len(row) == n_columns and not row[0].startswith("---")]


def test_the_table_of_fields_is_the_schema(service: Service) -> None:
    schemas = request_fields(httpx.get(f"{service.url}/openapi.json").json())
    rows = {row[0].strip("`"): row for row in table("docs/api.md", 5)[1:]}
    assert rows.keys() == schemas.keys()
    for name, (_, _, default, allowed, _) in rows.items():
        defaults = {json.dumps(schema["default"]) for schema in schemas[name] if schema.get("default") is not None}
        assert all(f"`{value}`" in default for value in defaults), name
        assert defaults or default.startswith("none"), name
        words = re.findall(r"\d+/\d+T?|\d[\d.]*|\w+", allowed.replace("2^63-1", str(2**63 - 1)))
        known = {f"{float(word):g}" if re.fullmatch(r"[\d.]+", word) else word for word in words}
        limits = {limit for schema in schemas[name] for limit in bounds(schema)}
        if name not in ("pitch_range", "seed"):  # a pair; and a bound that a float rounds
            assert limits <= known, name


def test_the_table_of_settings_is_that_of_the_command() -> None:
    rows = {row[0]: row for row in table("docs/settings.md", 4)[1:]}
    others = Settings.model_config["cli_shortcuts"] or {}
    flags = {name: f"`--{others.get(name, name.replace('_', '-'))}`" for name in Settings.model_fields}
    assert rows.keys() == set(flags.values())
    for name, field in Settings.model_fields.items():
        _, variable, default, _ = rows[flags[name]]
        assert variable == f"`ANTICIPATORY_{name.upper()}`"
        assert default == (f"`{field.default}`" if field.default not in (None, "", ()) else "none")


def test_every_status_is_explained(service: Service) -> None:
    schema = httpx.get(f"{service.url}/openapi.json").json()
    explained = {row[0] for row in table("docs/errors.md", 3)}
    for path in ("/predict", "/predict/stream", "/render"):
        assert schema["paths"][path]["post"]["responses"].keys() - {"200"} <= explained


def test_every_metric_is_explained(service: Service) -> None:
    page = (PROJECT / "docs/deployment.md").read_text()
    counted = {name.partition("{")[0] for name in service.metrics() if name.startswith("anticipatory_")}
    families = {re.sub(r"_(bucket|sum|count|created)$", "", name) for name in counted}
    assert not [name for name in families if f"`{name}`" not in page]


def test_the_architecture_names_every_package_and_only_files_that_exist() -> None:
    page = (PROJECT / "docs/architecture.md").read_text()
    packages = {path.parent for path in [*PROJECT.glob("*/__init__.py"), *PROJECT.glob("amt/*/__init__.py")]}
    names = [*(f"{path.name}/" for path in packages), *(path.name for path in PROJECT.glob("*.py"))]
    assert not [name for name in names if not re.search(rf"^ *{re.escape(name)} ", page, flags=re.MULTILINE)]
    named = re.findall(r"`([\w/]+/[\w/.]*\.\w+)`", page)
    assert named
    assert not [name for name in named if not (PROJECT / name).exists()]


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and the site make them."""
    headings = re.findall(r"^#+ (.*)", page.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", LINKED, ids=lambda page: str(page.relative_to(PROJECT)))
def test_links_lead_to_files_and_headings_that_exist(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        name, _, anchor = link.partition("#")
        if not re.match(r"https?:", name):
            target = (page.parent / name).resolve() if name else page
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), link


def test_every_page_is_on_the_site_and_names_its_reader() -> None:
    pages = {page.name: page.read_text() for page in PROJECT.glob("docs/*.md")}
    site = json.dumps(tomllib.loads((PROJECT / "zensical.toml").read_text())["project"]["nav"])
    assert set(re.findall(r'"([\w-]+\.md)"', site)) == pages.keys()
    assert not [name for name, text in pages.items() if not re.match(r"# .+\n\n\*For ", text)]


def test_the_readme_is_short_and_of_the_present() -> None:
    readme = (PROJECT / "README.md").read_bytes()
    assert len(readme) <= MAX_README_BYTES
    assert b"earlier" not in readme
