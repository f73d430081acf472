"""The client on the command line: `python -m safelight.client detect photo.jpg --model coco`,
`python -m safelight.client read key.jpg`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import stamina.instrumentation

from safelight.client.calls import ReadOptions
from safelight.client.clients import Client
from safelight.client.readings import Reading, Unread
from safelight.errors import SafelightError

URL = "http://127.0.0.1:3000"
_AT_A_TIME = 8  # `readers.batch`, as it is shipped


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status."""
    given = _parser().parse_args(arguments)
    stamina.instrumentation.set_on_retry_hooks([])  # they would write between the lines of the answer
    try:
        api_key = given.api_key.read_text().strip() if given.api_key else None
        with Client(given.url, seal=None if given.plaintext else "ohttp", pins=given.pin, api_key=api_key) as client:
            if given.command == "models":
                for model in client.models():
                    print(f"{model.name:<16} {model.state:<8} {model.version or model.failure or ''}")
            elif given.command == "read":
                return _read(client, given)
            elif given.render is None:
                answer = client.detect(given.image, model=given.model, threshold=given.threshold)
                print(json.dumps(answer.to_dict(), indent=2 if sys.stdout.isatty() else None))
            else:
                given.render.write_bytes(client.render(given.image, model=given.model, threshold=given.threshold))
    except (SafelightError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _read(client: Client, given: argparse.Namespace) -> int:
    """One line of JSON for each picture, of what was read or why not; status 1 when one was not read."""
    options: ReadOptions = {"model": given.model, "zipcode": given.zipcode}
    indent = 2 if sys.stdout.isatty() else None
    if len(given.images) == 1:
        print(json.dumps(client.read(given.images[0], **options).to_dict(), indent=indent))
        return 0
    found: list[Reading | Unread] = []
    for start in range(0, len(given.images), _AT_A_TIME):
        found += client.read_several(given.images[start : start + _AT_A_TIME], **options)
    for one in found:
        print(json.dumps(one.to_dict(), indent=indent))
    return int(any(isinstance(one, Unread) for one in found))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m safelight.client", description="Ask a gateway, sealed.")
    parser.add_argument("--url", default=URL, help=f"of the gateway (default: {URL})")
    parser.add_argument("--pin", action="append", default=[], help="fingerprint of a key to trust; may be given again")
    parser.add_argument("--api-key", type=Path, metavar="FILE", help="holds the key, which everybody could read here")
    parser.add_argument("--plaintext", action="store_true", help="do not seal; the service must allow it")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("models", help="list what is served")
    read = commands.add_parser("read", help="print what stands on pictures, as JSON, one after the other")
    read.add_argument("images", type=Path, nargs="+", metavar="image")
    read.add_argument("--model", help="a reader that `models` lists; by default the service's own choice")
    read.add_argument("--zipcode", help="of where they were taken; the service keeps its first three digits only")
    detect = commands.add_parser("detect", help="print what is on a picture, as JSON")
    detect.add_argument("image", type=Path)
    detect.add_argument("--model", help="a name that `models` lists; by default the service's own choice")
    detect.add_argument("--threshold", type=float, help="least confidence, above 0 and at most 1")
    detect.add_argument("--render", type=Path, metavar="FILE", help="write the picture with its boxes there, as PNG")
    return parser


if __name__ == "__main__":
    sys.exit(main())
