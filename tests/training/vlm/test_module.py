import pytest
import torch

from safelight.errors import ConfigError, TrainingDiverged
from tests.training.vlm import toys
from tests.training.vlm.families.checkpoints import KINDS
from tests.training.vlm.families.checkpoints import write as write_checkpoint
from training.fitting.debugging import LearnsByHeart
from training.fitting.keeping import RESUME
from training.vlm.families import Adaptation, adapt, load_adapter, open_reader
from training.vlm.module import Rates, ReaderModule
from training.vlm.quick import Quick

WHOLE = Adaptation(rank=8, alpha=16, connector="full")


def weights(reader):
    return {name: value.detach().clone() for name, value in reader.base.named_parameters()}


def changed(before, reader):
    after = weights(reader)
    return {name for name, value in before.items() if not torch.equal(value, after[name])}


def test_a_toy_task_is_learnt_by_heart(train, made, base, tmp_path):
    reader = made(WHOLE)
    _, done = train(reader, steps=80, val_every=40)
    assert done.score == 1.0
    assert done.history[-1]["train_loss"] < 0.1 < done.history[0]["train_loss"]
    reader.save_adapter(tmp_path / "adapter")
    again = load_adapter(open_reader(str(base), "smolvlm", image_side=32), tmp_path / "adapter")
    read = again.generate([toys.picture("blue", 2)], toys.TASK.prompt, 30)
    assert toys.TASK.parse(read[0].text) == {"colour": "blue", "count": 200}


@pytest.mark.parametrize("kind", ["lora", "dora", "rslora"])
@pytest.mark.parametrize(("vision", "connector"), [("frozen", "frozen"), ("lora", "lora"), ("full", "full")])
def test_what_is_frozen_stays_and_what_is_trained_moves(train, made, kind, vision, connector):
    reader = made(Adaptation(kind=kind, rank=2, alpha=4, vision=vision, connector=connector))
    before = weights(reader)
    module, _ = train(reader, steps=2, module={"warmup_steps": 0})
    moved = changed(before, reader)
    trained = {name for name, value in reader.base.named_parameters() if value.requires_grad}
    assert moved <= trained
    whole = [name for name in trained if reader.part(name) in ("vision", "connector") and "lora_" not in name]
    assert bool(whole) == (vision == "full")
    assert any("lora_" in name and reader.part(name) == "text" for name in moved)
    assert any(reader.part(name) == "vision" for name in moved) == (vision != "frozen")
    assert any(reader.part(name) == "connector" for name in moved) == (connector != "frozen")
    assert set(module.state_dict()) == module._trained and len(module.state_dict()) == len(trained)


def test_only_what_is_trained_is_in_files(train, made, tmp_path):
    reader = made()
    train(reader, resumable=True)
    stored = torch.load(tmp_path / "fit" / RESUME)["state_dict"]
    assert stored and all("lora_" in name for name in stored)
    learnt = sum(value.numel() for value in reader.model.parameters() if value.requires_grad)
    assert sum(value.numel() for value in stored.values()) == learnt
    (best,) = (tmp_path / "fit").glob("best-*.safetensors")
    assert best.stat().st_size < 4 * learnt + 256 * len(stored)


def test_each_part_has_its_own_rate(made):
    reader = made(Adaptation(rank=2, alpha=4, vision="full", connector="full"))
    module = ReaderModule(reader, "?", Rates(3e-3, 2e-3, 1e-3), 0.1, 2, 10, 5)
    groups = module.parameter_groups()
    assert (groups[0]["lr"], groups[0]["weight_decay"]) == (3e-3, 0.1)
    of = {id(value): group for group in groups for value in group["params"]}
    names = {"vision": 1e-3, "connector": 2e-3, "text": 3e-3}
    for name, value in reader.base.named_parameters():
        assert (id(value) in of) == value.requires_grad
        if value.requires_grad:
            group = of[id(value)]
            assert group["lr"] == names[reader.part(name)]
            assert group["weight_decay"] == (0.1 if value.ndim > 1 else 0.0)


def test_the_rate_warms_up_and_falls_to_a_fiftieth(made):
    module = ReaderModule(made(), "?", Rates(1, 1, 1), 0.0, 10, 100, 5)
    factors = [module.learning_rate_factor(step) for step in range(100)]
    assert factors[0] == pytest.approx(0.1, rel=0.01) and factors[9] == max(factors)
    assert factors[10:] == sorted(factors[10:], reverse=True)
    assert module.learning_rate_factor(100) == pytest.approx(0.02)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_half_precision_and_checkpointing_learn_as_the_plain_way_does(train, made, checkpointing):
    losses = {}
    for precision in ("32-true", "bf16-mixed"):
        reader = made(Adaptation(rank=4, alpha=8, connector="full", gradient_checkpointing=checkpointing))
        _, done = train(reader, steps=6, val_every=6, trainer={"precision": precision}, folder=precision)
        losses[precision] = [row["train_loss"] for row in done.history]
        assert all(value.dtype == torch.float32 for value in reader.model.parameters())
    assert losses["bf16-mixed"] == pytest.approx(losses["32-true"], rel=0.03)
    assert losses["bf16-mixed"] != losses["32-true"]
    assert losses["32-true"][-1] < 0.5 * losses["32-true"][0]


def test_what_makes_it_quicker_changes_nothing(train, made, monkeypatch):
    """Frozen matrices in 16 bits are what autocast makes of them: with and without, the weights are the same to the bit."""
    half = {"precision": "bf16-mixed"}
    one = made(WHOLE)
    before = weights(one)
    attention = one.config._attn_implementation
    _, done = train(one, trainer=half, folder="one")
    seen = []
    other = made(WHOLE)
    frozen = other.base.model.text_model.layers[0].self_attn.q_proj.base_layer.weight

    class Without(Quick):
        def __init__(self, reader, *, eager, short):
            seen.append((eager, short))
            super().__init__(reader, eager=eager, short=False)

    monkeypatch.setattr("training.vlm.module.Quick", Without)
    _, again = train(other, trainer=half, folder="other")
    assert seen == [(True, True)] and frozen.dtype == torch.float32
    assert again.history == done.history
    assert not changed(weights(one), other)
    moved = changed(before, one)
    assert all("lora_" in name or one.part(name) == "connector" for name in moved)  # the base is the very base again
    assert one.config._attn_implementation == attention


def test_a_base_in_half_precision_learns_too(train, made):
    reader = made(Adaptation(rank=4, alpha=8), dtype="bfloat16")
    _, done = train(reader, steps=6, val_every=6, trainer={"precision": "bf16-mixed"})
    assert done.history[-1]["train_loss"] < 0.6 * done.history[0]["train_loss"]


def test_several_backward_passes_make_the_step_of_one(train, made):
    whole, parts = (
        train(made(), steps=1, val_every=1, data={"accumulate": accumulate, "window": 1}, folder=str(accumulate))
        for accumulate in (1, 2)
    )
    assert [row["step"] for row in parts[1].history] == [1]
    assert parts[1].history[0]["train_loss"] == pytest.approx(whole[1].history[0]["train_loss"], rel=0.05)


def test_features_that_are_kept_change_nothing(train, made):
    """More than 24 samples, so that the second look at a picture is from what is kept."""
    plain, kept = (
        train(made(), steps=6, val_every=6, module={"cache_features": size}, folder=str(size)) for size in (0, 10**6)
    )
    losses = [[row["train_loss"] for row in done.history] for _, done in (plain, kept)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    few = train(made(), steps=6, val_every=6, module={"cache_features": 5000}, folder="few")[1]  # some go again
    assert [row["train_loss"] for row in few.history] == losses[1]


def test_averaged_weights_are_validated_and_kept(train, made):
    """With decay 1 the average stays at the weights after the first step, in which one matrix of each pair can move."""
    reader = made()
    before = weights(reader)
    _, done = train(reader, ema_decay=1.0, trainer={"precision": "bf16-mixed"})
    assert done.best_step == 2
    assert all("lora_B" in name for name in changed(before, reader))


def test_one_batch_is_learnt_by_heart(train, made):
    heart = LearnsByHeart(0.3)
    options = {"trainer": {"limit_val_batches": 0}, "data": {"one_batch": True}}
    _, done = train(made(WHOLE), steps=60, val_every=60, callbacks=[heart], **options)
    assert heart.last <= 0.3 * heart.first and done.steps < 60 and done.best_step == 0


def test_numbers_that_are_none_end_it(train, made):
    reader = made()
    with torch.no_grad():
        next(value for value in reader.model.parameters() if value.requires_grad).fill_(torch.nan)
    with pytest.raises(TrainingDiverged, match=r"The loss of step 1 is not finite.*longest answers"):
        train(reader)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"module": {"weight_decay": -1.0}}, "module.weight_decay: expected at least 0"),
        ({"module": {"max_new_tokens": 0}}, "module.max_new_tokens: expected at least 1"),
        ({"module": {"cache_features": -1}}, "module.cache_features"),
        ({"trainer": {"accelerator": "none"}}, "trainer: "),
        ({"trainer": {"precision": "3"}}, "trainer: "),
    ],
)
def test_settings_that_make_no_sense_are_a_sentence(train, options, match):
    with pytest.raises(ConfigError, match=match):
        train(**options)


def test_rates_below_nothing_are_a_sentence():
    with pytest.raises(ConfigError, match=r"rates.vision: expected 0 or more, got -1"):
        Rates(1e-3, 1e-3, -1)


def test_features_that_would_change_are_not_kept(made, train):
    for part in ("vision", "connector"):
        with pytest.raises(ConfigError, match="cache_features: expected vision and connector frozen"):
            train(made(Adaptation(rank=2, alpha=4, **{part: "lora"})), module={"cache_features": 1000})
    with pytest.raises(ConfigError, match="cache_features: expected pictures as they are"):
        from training.vlm.photometry import Photometry

        train(made(), module={"cache_features": 1000}, data={"augment": Photometry()})


def test_a_family_without_features_says_so(tmp_path, bars, train):
    write_checkpoint("qwen3_vl", tmp_path / "qwen")
    reader = open_reader(str(tmp_path / "qwen"), "qwen3_vl", image_side=KINDS["qwen3_vl"].side)
    with pytest.raises(ConfigError, match="expected the family smolvlm, got qwen3_vl"):
        train(adapt(reader, Adaptation(rank=2, alpha=4)), module={"cache_features": 1000})


def test_a_reader_of_which_nothing_is_trained_is_refused(made):
    with pytest.raises(ConfigError, match="adapt it first"):
        ReaderModule(made(None), "?", Rates(1, 1, 1), 0.0, 0, 1, 1)


def test_weights_of_another_reader_are_refused(made):
    one = ReaderModule(made(), "?", Rates(1, 1, 1), 0.0, 0, 1, 1)
    other = ReaderModule(made(Adaptation(rank=4, alpha=8, modules=["q_proj"])), "?", Rates(1, 1, 1), 0.0, 0, 1, 1)
    with pytest.raises(ConfigError, match="got those of another"):
        one.load_state_dict(other.state_dict())
