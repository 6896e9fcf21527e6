"""Keep a page in sections, so that one of them can be written again."""

import re
from collections.abc import Mapping

MARK = re.compile(r"^<!-- section (\w+) -->\n", re.MULTILINE)


def read(page: str) -> dict[str, str]:
    """Return the sections of a page by name; what is before the first one is left out."""
    _, *parts = MARK.split(page)
    return {name: text.strip() for name, text in zip(parts[::2], parts[1::2], strict=True)}


def join(opening: str, sections: Mapping[str, str]) -> str:
    """Return the page of an opening and sections by name, in their order."""
    marked = (f"<!-- section {name} -->\n\n{text}" for name, text in sections.items())
    return "\n\n".join([opening, *marked]) + "\n"
