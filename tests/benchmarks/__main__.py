"""`make bench`: everything; ARGS="operations", "streams" or "claims": that alone; "streams --help": its options."""

import argparse
import asyncio

from tests.benchmarks import claims, operations, streams


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench", description="Speed, side by side: read the ratios.")
    parts = parser.add_subparsers(dest="part", metavar="PART")
    parts.add_parser("operations", help="queries, mutations and the domain beneath them")
    parts.add_parser("claims", help="what robots claim, beside a million closed items")
    streams.add_options(parts.add_parser("streams", help="subscriptions, beside a plain Strawberry server"))
    given = parser.parse_args()
    if given.part in (None, "operations"):
        asyncio.run(operations.main())
    if given.part in (None, "claims"):
        asyncio.run(claims.main())
    if given.part in (None, "streams"):
        asyncio.run(streams.main(streams.Load.of(given)))


if __name__ == "__main__":
    main()
