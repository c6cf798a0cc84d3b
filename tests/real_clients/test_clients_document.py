"""docs/clients.md shows code that the tests of this folder run, and no other."""

from tests.real_clients.snippets import BLOCK, DOCUMENT, with_tested_code


def test_document_shows_the_tested_code() -> None:
    text = DOCUMENT.read_text()

    assert text == with_tested_code(text), "run: python -m tests.real_clients.snippets"


def test_every_block_of_code_is_tested() -> None:
    text = DOCUMENT.read_text()

    assert text.count("\n```") == 2 * len(BLOCK.findall(text)) > 20
