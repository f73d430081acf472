"""The settings of models: which stand behind a route, where they run, and what happens when one fails.

Knows nothing of how they are read (`serving/settings.py`) or of what they are used for.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from safelight.bundle import VariantName

Precision = Literal["fp32", "int8"]
Provider = Literal["cpu", "cuda", "openvino"]
Name = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?$")]


class Frozen(BaseModel):
    """Settings that do not change, with no key that nobody knows."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Batching(Frozen):
    """max_batch: network inputs in one run."""

    max_batch: int = Field(ge=1)


class Runtime(Frozen):
    """threads: of ONNX Runtime within one run, 0 for one a core. provider: where it runs. precision, dct: the variants of a
    model to use where its bundle has them: its int8 graph, and JPEGs decoded no larger than it needs."""

    threads: int = Field(ge=0)
    provider: Provider = "cpu"
    precision: Precision
    dct: bool

    @property
    def wanted(self) -> frozenset[VariantName]:
        """The variants to use where a bundle has them."""
        names: dict[VariantName, bool] = {"int8": self.precision == "int8", "dct": self.dct}
        return frozenset(name for name, on in names.items() if on)


class Member(Frozen):
    """One model behind a route. bundle: its folder. version: of the bundle, or whose version is named by champion.json or
    challenger.json. priority: lower ones answer first. threshold: the least score in place of the bundle's own. licence: what
    the bundle's has to be, None for any. weight: in an answer of several. timeout_s: for an answer, None for half of what is
    left to the request. The others are in place of those in `runtime`."""

    bundle: Name
    version: Name = "champion"
    priority: int = 0
    threshold: float | None = Field(default=None, gt=0, le=1)
    licence: str | None = None
    weight: float = Field(default=1.0, gt=0)
    timeout_s: float | None = Field(default=None, gt=0)
    precision: Precision | None = None
    provider: Provider | None = None
    threads: int | None = Field(default=None, ge=0)

    def runtime(self, usual: Runtime) -> Runtime:
        """`usual`, with what this model has of its own."""
        own = {
            key: getattr(self, key) for key in ("precision", "provider", "threads") if getattr(self, key) is not None
        }
        return usual.model_copy(update=own)


class Challenger(Frozen):
    """A model on trial. member: which. share: of the requests that it answers. shadow: of the requests answered by others at
    which it looks too, to see how far it agrees."""

    member: Member
    share: float = Field(default=0.0, ge=0, le=1)
    shadow: float = Field(default=0.0, ge=0, le=1)


class Pool(Frozen):
    """The models behind a route, by names of one's own. answer: `first`, the first by priority that can, or `fused`, the
    boxes of all of them (weighted boxes fusion). fusion_iou: overlap above which boxes are fused."""

    members: dict[Name, Member] = Field(min_length=1)
    answer: Literal["first", "fused"] = "first"
    fusion_iou: float = Field(default=0.55, gt=0, lt=1)
    challenger: Challenger | None = None

    @model_validator(mode="after")
    def _names_are_distinct(self) -> Pool:
        if self.challenger is not None and "challenger" in self.members:
            raise ValueError("no member may be called challenger where there is one")
        return self


class Breaking(Frozen):
    """failures: in a row, after which a model is not asked. reset_s: seconds until one request tries it again."""

    failures: int = Field(ge=1)
    reset_s: float = Field(gt=0)


class Swap(Frozen):
    """check_s: seconds between two looks for other versions. retry_every: at which of these looks what was refused is tried
    again. trial_s: how long a version that took another's place is on trial. least_answers, share: it gives the place back
    when, of at least so many answers, more than this share failed."""

    check_s: float = Field(gt=0)
    retry_every: int = Field(ge=1)
    trial_s: float = Field(gt=0)
    least_answers: int = Field(ge=1)
    share: float = Field(ge=0, lt=1)
