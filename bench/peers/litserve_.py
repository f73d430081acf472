"""LitServe: a LitAPI in one worker, with the quicker of its two queues (https://lightning.ai/docs/litserve/api-reference/litapi
and /speed-up-serving-by-200x).

    python -m peers.litserve_ PORT

Its documentation sends pictures as base64 in JSON; it takes forms, too. Its methods have no annotations: it would read the
form of requests off them.
"""

import base64
import sys

import litserve as ls

from peers.detector import Detector


class Boxes(ls.LitAPI):
    def setup(self, device):
        self.detector = Detector.of_environment()

    def decode_request(self, request):
        image = request["image"]
        return base64.b64decode(image) if isinstance(image, str) else image.file.read()

    def predict(self, data):
        return self.detector(data)

    def encode_response(self, output):
        return output


def main(port: int) -> None:
    server = ls.LitServer(Boxes(), accelerator="cpu", workers_per_device=1, fast_queue=True)
    server.run(
        host="127.0.0.1",
        port=port,
        num_api_servers=1,
        generate_client_file=False,
        access_log=False,
        log_level="warning",
    )


if __name__ == "__main__":
    main(int(sys.argv[1]))
