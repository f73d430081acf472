"""Pictures of a study: how the best value came about, what mattered, and where the good values lie.

Knows nothing of what the parameters do. In the history, a trial that was pruned is drawn hollow, at the last
value it reported.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from training.tuning.space import Choice, Parameter, Space, Value
from training.tuning.table import best_of

ENOUGH = 10
"""Complete trials under which importances would be guesses."""

_BLUE, _ORANGE, _GREY, _RED = "#2b6cb0", "#dd6b20", "#a0aec0", "#c53030"
_DPI = 130


def draw_history(trials: Sequence[FrozenTrial], monitor: str, path: Path) -> None:
    """Every trial's value by its number, and the best so far as a line."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    pruned = [trial for trial in trials if trial.state == TrialState.PRUNED and trial.intermediate_values]
    failed = [trial.number for trial in trials if trial.state == TrialState.FAIL]
    numbers, values = [trial.number for trial in complete], [trial.value or 0.0 for trial in complete]
    bests = [max(values[: count + 1]) for count in range(len(values))]
    if bests:
        last = max(trial.number for trial in trials)
        axes.step([*numbers, last], [*bests, bests[-1]], where="post", color=_ORANGE, label="best so far")
    axes.scatter(numbers, values, color=_BLUE, s=28, zorder=3, label="complete")
    if pruned:
        lasts = [_last_value(trial) for trial in pruned]
        axes.scatter([t.number for t in pruned], lasts, facecolors="none", edgecolors=_GREY, s=28, label="pruned")
    if failed:
        bottom = axes.get_xaxis_transform()
        axes.plot(failed, [0.03] * len(failed), "x", color=_RED, label="failed or killed", transform=bottom)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _finish(axes, "trial", monitor)
    axes.legend(frameon=False, fontsize=9, ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    figure.savefig(path, dpi=_DPI)


def importances(study: Study) -> dict[str, float] | None:
    """Share of the variance over the space that each parameter explains, greatest first; None with too few trials.

    fANOVA (Hutter et al., "An Efficient Approach for Assessing Hyperparameter Importance", 2014), fixed seed.
    """
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(complete) < ENOUGH or len({trial.value for trial in complete}) == 1:
        return None
    found = get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0))
    return {name: float(value) for name, value in found.items()}


def draw_importances(shares: dict[str, float], trials: int, path: Path) -> None:
    """A bar a parameter. trials: how many complete ones this comes from."""
    figure = Figure(figsize=(7, 1.2 + 0.4 * len(shares)), layout="constrained")
    axes = figure.add_subplot()
    names = list(reversed(shares))
    bars = axes.barh(names, [shares[name] for name in names], color=_BLUE, height=0.6)
    axes.bar_label(bars, fmt="%.2f", padding=3, fontsize=9)
    axes.set_xlim(0, (max(shares.values()) or 1.0) * 1.12)
    _finish(axes, f"share of the variance explained (fANOVA, {trials} complete trials)", "")
    axes.grid(axis="y", visible=False)
    figure.savefig(path, dpi=_DPI)


def draw_slices(trials: Sequence[FrozenTrial], space: Space, monitor: str, path: Path) -> None:
    """The value of complete trials against each parameter in turn, later ones darker, the best one circled."""
    names = list(space)
    columns = min(3, len(names))
    rows = math.ceil(len(names) / columns)
    figure = Figure(figsize=(1 + 3 * columns, 0.6 + 2.7 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, sharey=True, squeeze=False)
    best = best_of(trials)
    for index, axes in enumerate(grid.flat):
        if index >= len(names):
            axes.set_axis_off()
            continue
        name = names[index]
        shown = [t for t in trials if name in t.params and t.state == TrialState.COMPLETE]
        place = _scale(axes, space[name])
        axes.scatter(
            [place(t.params[name]) for t in shown],
            [t.value or 0.0 for t in shown],
            c=[t.number for t in shown],
            cmap="Blues",
            vmin=-0.5 * len(trials),
            s=28,
            zorder=3,
        )
        if best is not None and name in best.params:
            axes.plot(place(best.params[name]), best.value, "o", ms=11, mfc="none", mec=_ORANGE, mew=1.8, zorder=4)
        _finish(axes, name, monitor if index % columns == 0 else "")
    figure.savefig(path, dpi=_DPI)


def _scale(axes: Axes, parameter: Parameter) -> Callable[[Value], float]:
    """Set up the horizontal axis of a parameter; returns where a value lies on it."""
    if isinstance(parameter, Choice):
        values = parameter.values
        axes.set_xticks(range(len(values)), [str(value) for value in values])
        axes.set_xlim(-0.5, len(values) - 0.5)
        return lambda value: float(values.index(value))
    if parameter.log:
        axes.set_xscale("log")
    return lambda value: float(value or 0)


def _last_value(trial: FrozenTrial) -> float:
    return trial.intermediate_values[max(trial.intermediate_values)]


def _finish(axes: Axes, x: str, y: str) -> None:
    axes.set_xlabel(x, fontsize=9)
    axes.set_ylabel(y, fontsize=9)
    axes.tick_params(labelsize=8)
    axes.grid(color="#e2e8f0", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
