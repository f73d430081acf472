"""Where a graph runs: ONNX Runtime's execution providers by the names of the settings.

Knows nothing of what a graph computes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import onnxruntime as ort

from safelight.errors import ConfigError, ManifestInvalid

ProviderName = Literal["cpu", "cuda", "openvino"]
ELEMENT_TYPES: Mapping[str, str] = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(uint8)": "uint8",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
}
"""ONNX Runtime's names of the element types that manifests know, and numpy's."""
_CPU = "CPUExecutionProvider"


@dataclass(frozen=True)
class _Provider:
    name: str
    package: str


_PROVIDERS: Mapping[ProviderName, _Provider] = {
    "cpu": _Provider(_CPU, "onnxruntime"),
    "cuda": _Provider("CUDAExecutionProvider", "onnxruntime-gpu"),
    "openvino": _Provider("OpenVINOExecutionProvider", "onnxruntime-openvino"),
}


def open_session(graph: bytes, *, threads: int, provider: ProviderName) -> ort.InferenceSession:
    """A graph's bytes, opened. threads: within one run, 0 for one a core.

    Raises ConfigError when the provider is not installed or does not start here, ManifestInvalid when the graph does not
    load.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # threads that wait leave their core alone
    wanted = _installed(provider)
    try:
        session = ort.InferenceSession(graph, options, providers=_listed(provider, threads))
    except Exception:  # ONNX Runtime raises a class of its own for each kind of failure
        raise ManifestInvalid(f"The graph cannot be opened by ONNX Runtime ({provider}).") from None
    if session.get_providers()[0] != wanted:  # ONNX Runtime goes on with the CPU when, say, a CUDA library is missing
        raise ConfigError(f"The provider {provider} is installed but does not start on this machine.")
    return session


def available() -> tuple[ProviderName, ...]:
    """The providers that the installed ONNX Runtime has."""
    present = ort.get_available_providers()
    return tuple(name for name, provider in _PROVIDERS.items() if provider.name in present)


def _installed(provider: ProviderName) -> str:
    if provider not in available():
        raise ConfigError(
            f"The provider {provider} is not installed: put {_PROVIDERS[provider].package} in the place of onnxruntime. "
            f"Available: {', '.join(available())}."
        )
    return _PROVIDERS[provider].name


def _listed(provider: ProviderName, threads: int) -> list[str | tuple[str, dict[str, Any]]]:
    """The provider before the CPU, which takes the operators that the provider does not have."""
    if provider == "cpu":
        return [_CPU]
    if provider == "openvino":
        own = {"device_type": "CPU"} | ({"num_of_threads": str(threads)} if threads else {})
        return [(_PROVIDERS[provider].name, own), _CPU]
    return [_PROVIDERS[provider].name, _CPU]
