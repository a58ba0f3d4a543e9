"""The command `python -m cb_keras.fused status|build`."""

import sys

from cb_keras.fused import availability, sources
from cb_keras.fused.errors import FusedOpError


def main(arguments: list[str]) -> int:
    """Does what the command line says; returns the exit status."""
    if arguments == ["status"]:
        print(availability.status(), *availability.parts(), sep="\n")
        return 0
    if arguments == ["build"]:
        try:
            print(sources.printable(f"built: {availability.build()}"))
        except FusedOpError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        print(availability.status(), *availability.parts(), sep="\n")
        return 0
    print("usage: python -m cb_keras.fused status|build", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
