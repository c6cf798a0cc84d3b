"""The code in docs/clients.md is the code that the tests run: `python -m tests.real_clients.snippets` puts it in.

A block follows a comment such as `<!-- programs/urql.mjs: client -->`: the lines of that file between
`region: client` and `endregion`, as often as they occur; without a region the whole file.
"""

import re
import textwrap

from tests.real_clients.node import FOLDER, ROOT

DOCUMENT = ROOT / "docs" / "clients.md"
BLOCK = re.compile(r"(<!-- (?P<file>[^\s:]+)(?:: (?P<region>.+?))? -->\n```\w+\n)(?P<code>.*?)(?=```\n)", re.DOTALL)
_REGION = r"^ *(?://|#) region: {name}\n(.*?)^ *(?://|#) endregion$"


def region(file: str, name: str | None) -> str:
    """The lines of that region; KeyError if there are none."""
    text = (FOLDER / file).read_text()
    if name is None:
        return text
    parts = re.findall(_REGION.format(name=re.escape(name)), text, re.DOTALL | re.MULTILINE)
    if not parts:
        raise KeyError(f"{file} has no region {name}")
    return re.sub(r"\n{4,}", "\n\n\n", textwrap.dedent("".join(parts)).strip()) + "\n"


def with_tested_code(text: str) -> str:
    """The document with the regions as they are now."""
    return BLOCK.sub(lambda block: block[1] + region(block["file"], block["region"]), text)


if __name__ == "__main__":
    DOCUMENT.write_text(with_tested_code(DOCUMENT.read_text()))
