"""The gateway: one process, one port, every public route. Starts without torch, and knows nothing of training."""

import os

# Libraries do not report their use to their makers. ONNX Runtime would also keep a database of it below the home folder,
# and looks at its variable once, when it is first imported: hence here, before anything of the gateway is.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
os.environ.setdefault("BENTOML_DO_NOT_TRACK", "true")
