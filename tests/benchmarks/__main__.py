"""`make bench`: everything; ARGS="operations" or ARGS="streams" one part alone, `ARGS="streams --help"` its options."""

import argparse
import asyncio

from tests.benchmarks import operations, streams


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench", description="Speed, side by side: read the ratios.")
    parts = parser.add_subparsers(dest="part", metavar="PART")
    parts.add_parser("operations", help="queries, mutations and the domain beneath them")
    streams.add_options(parts.add_parser("streams", help="subscriptions, beside a plain Strawberry server"))
    given = parser.parse_args()
    if given.part != "streams":
        asyncio.run(operations.main())
    if given.part != "operations":
        asyncio.run(streams.main(streams.Load.of(given)))


if __name__ == "__main__":
    main()
