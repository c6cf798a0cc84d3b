"""A picture of what the demo printed: one SVG that loads nothing from anywhere."""

from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme

# rich's own form without its fonts from the network: each run of text has its width, so any monospaced font fits.
_FORM = """<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{
  font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace;
  font-size: {char_height}px; line-height: {line_height}px; font-variant-east-asian: full-width;
}}
.{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: system-ui, sans-serif; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""
_THEME = TerminalTheme(
    (24, 26, 31),
    (214, 219, 228),
    [
        (24, 26, 31),
        (240, 113, 120),
        (126, 199, 126),
        (229, 192, 110),
        (110, 168, 240),
        (198, 140, 226),
        (94, 196, 204),
        (214, 219, 228),
    ],
)


def save_picture(console: Console, path: Path) -> None:
    svg = console.export_svg(title="make demo", theme=_THEME, code_format=_FORM, unique_id="demo")
    path.write_text("\n".join(line.rstrip() for line in svg.splitlines()) + "\n", encoding="utf-8")
