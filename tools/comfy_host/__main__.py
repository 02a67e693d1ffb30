"""The command line: see `python -m comfy_host --help`, run in `tools/`."""

from __future__ import annotations

import argparse
import sys

from .errors import HostError
from .folder import FOLDER_VARIABLE, host_folder
from .install import install_host
from .pins import NEWEST, VERSIONS
from .suite import EVERYTHING, run_tests
from .trying import serve

PORT = 8188  # ComfyUI's own


def main() -> int:
    arguments = _parser().parse_args()
    try:
        return int(arguments.run(arguments))
    except HostError as error:
        print(f"comfy_host: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    about = f"A real ComfyUI on the CPU, in .comfy of the repository or in the folder that {FOLDER_VARIABLE} names."
    parser = argparse.ArgumentParser(prog="python -m comfy_host", description=about)
    commands = parser.add_subparsers(required=True)

    install = commands.add_parser("install", help="install what is missing")
    install.set_defaults(run=_install)

    start = commands.add_parser("start", help="start a server with the pack, to try it")
    start.add_argument("--version", choices=VERSIONS, default=NEWEST)
    start.add_argument("--port", type=int, default=PORT)
    start.set_defaults(run=_start)

    test = commands.add_parser("test", help="install, then run tests/comfy with every version")
    test.add_argument("--version", choices=VERSIONS, action="append", help="only this one")
    test.add_argument("--quick", action="store_true", help="some parameters of each test only")
    test.add_argument("pytest", nargs="*", help="instead of tests/comfy; options after --")
    test.set_defaults(run=_test)
    return parser


def _install(_: argparse.Namespace) -> int:
    host = host_folder()
    install_host(host)
    print(f"the host in {host.root} is complete")
    return 0


def _start(arguments: argparse.Namespace) -> int:
    return serve(host_folder(), version=arguments.version, port=arguments.port)


def _test(arguments: argparse.Namespace) -> int:
    options = [*(arguments.pytest or EVERYTHING), *(["--quick"] if arguments.quick else [])]
    return run_tests(host_folder(), versions=arguments.version or VERSIONS, options=options)


if __name__ == "__main__":
    sys.exit(main())
