"""The page at /: what a browser is handed. tests/browser has what it does."""

import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urljoin

import httpx
import pytest

from tests.conftest import PROJECT, Service

FILES = sorted(path.name for path in (PROJECT / "playground").iterdir())
TYPES = {".css": "text/css", ".html": "text/html", ".js": "text/javascript", ".svg": "image/svg+xml"}


@pytest.mark.parametrize("name", FILES)
def test_every_file_of_the_page_is_handed_out_with_its_type(name: str, service: Service) -> None:
    response = httpx.get(f"{service.url}/playground/{name}")
    assert response.content == (PROJECT / "playground" / name).read_bytes()
    assert response.headers["content-type"].startswith(TYPES[Path(name).suffix])


@pytest.mark.parametrize("path", ["/", "/playground/app.js", "/soundfont"])
def test_browsers_load_nothing_from_elsewhere_and_keep_what_has_not_changed(path: str, service: Service) -> None:
    response = httpx.get(f"{service.url}{path}")
    assert response.headers["content-security-policy"].startswith("default-src 'self'")
    again = httpx.get(f"{service.url}{path}", headers={"If-None-Match": response.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_nothing_beside_the_page_is_handed_out(service: Service) -> None:
    for path in ("/playground/", "/playground/../server.py", "/playground/%2e%2e/server.py", "/server.py"):
        assert httpx.get(f"{service.url}{path}").status_code == 404


def test_the_page_works_behind_a_proxy_that_adds_a_prefix(service: Service) -> None:
    html = httpx.get(f"{service.url}/").text
    outside = {urljoin("http://proxy/music/", each) for each in re.findall(r'(?:src|href)="([^"#]+)"', html)}
    assert {f"http://proxy/music/playground/{name}" for name in ("app.js", "style.css", "icon.svg")} == outside


def test_the_page_is_no_part_of_the_api(service: Service) -> None:
    paths = httpx.get(f"{service.url}/openapi.json").json()["paths"]
    assert not [path for path in paths if path == "/" or "playground" in path or "soundfont" in path]


@pytest.mark.slow
def test_another_sound_font_is_handed_out(start: Callable[..., Service], tmp_path: Path) -> None:
    (tmp_path / "own.sf2").write_bytes(b"RIFF")
    own = start("--default-model", "tiny", "--soundfont", str(tmp_path / "own.sf2"))
    own.wait_until_listening()
    assert httpx.get(f"{own.url}/soundfont").content == b"RIFF"
    assert own.stop() == 0
