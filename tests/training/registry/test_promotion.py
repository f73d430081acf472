"""The champion moves in files and registry together, whatever moment a process dies at."""

import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from safelight.bundle import CHALLENGER, CHAMPION, Champion, read_champion, write_challenger, write_champion
from safelight.errors import ManifestInvalid, PromotionError, RegistryUnavailable
from safelight.signing import signing_key
from tests.serving.graphs import colour_graph, manifest
from tests.training.registry.mover import FileRegistry, champion_of
from training.registry.champions import Champions, History, Intent
from training.registry.promotion import STEPS, challenge, promote, reconcile, roll_back

ROOT = Path(__file__).resolve().parents[3]
VERSIONS = ("v1", "v2", "v3")


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    """Three signed bundles, and the key."""
    from safelight.bundle import MODEL, write_bundle

    root = tmp_path_factory.mktemp("bundles")
    public = signing_key(root / "key")
    for version in VERSIONS:
        write_bundle(
            root / "coco" / version, manifest(version=version), {MODEL: colour_graph()}, "# A card", root / "key"
        )
    return root, public


@pytest.fixture
def home(bundles, tmp_path):
    """The three bundles, all entered in a registry, none served."""
    shutil.copytree(bundles[0] / "coco", tmp_path / "coco")
    registry = FileRegistry(tmp_path / "registry.json")
    for version in VERSIONS:
        registry.enter(version)
    (tmp_path / "coco" / "receipts").mkdir()
    for version in VERSIONS:
        (tmp_path / "coco" / "receipts" / f"{version}.json").write_text("{}")
    return Champions(tmp_path / "coco"), registry


def move(home, version, **options):
    champions, registry = home
    promote(champions, registry, champion_of(champions.folder, version), **options)


def served(home):
    """(version in champion.json, version that the alias points at); the two that must never disagree."""
    champions, registry = home
    champion, alias = champions.champion(), registry.champion()
    return champion and champion.version, alias and alias.bundle_version


def test_champion_and_alias_move_together_and_back_again_as_far_as_it_goes(home, bundles):
    champions, registry = home
    for version in VERSIONS:
        move(home, version)
        assert served(home) == (version, version)
    move(home, "v3")  # once more: the same, and no step in the history
    assert [c.version for c in champions.history().previous] == ["v1", "v2"]
    for old, new in (("v3", "v2"), ("v2", "v1")):
        left, came = roll_back(champions, registry, [bundles[1]])
        assert (left.version, came.version) == (old, new) and served(home) == (new, new)
    with pytest.raises(PromotionError, match="no champion before"):
        roll_back(champions, registry, [bundles[1]])
    assert served(home) == ("v1", "v1")
    assert len(champions.history().withdrawn) == 2
    move(home, "v3")
    assert len(champions.history().withdrawn) == 1  # promoted again, v3 is no longer a version that was left
    assert champions.intent() is None


def test_no_champion_cannot_be_rolled_back(home, bundles):
    with pytest.raises(PromotionError, match="no champion before"):
        roll_back(*home, [bundles[1]])


def test_a_damaged_bundle_is_not_returned_to(home, bundles):
    champions, registry = home
    move(home, "v1")
    move(home, "v2")
    model = champions.folder / "v1" / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1] + b"x")
    with pytest.raises(PromotionError, match=r"v1, the champion before, cannot be served again: .*signature.*version="):
        roll_back(champions, registry, [bundles[1]])
    assert served(home) == ("v2", "v2") and champions.intent() is None


@pytest.mark.parametrize("version", ["v1", "v9"])
def test_what_is_not_here_or_not_registered_does_not_move(home, version):
    champions, registry = home
    move(home, "v2")
    registry.path.write_text(registry.path.read_text().replace('"v1"', '"other"'))
    with pytest.raises(PromotionError, match=r"bundle v9|does not know"):
        promote(champions, registry, Champion(name="coco", version=version, digest=champion_digest(champions, version)))
    assert served(home) == ("v2", "v2") and champions.intent() is None


def champion_digest(champions, version):
    return champion_of(champions.folder, version).digest if (champions.folder / version).exists() else "0" * 64


@pytest.mark.parametrize("verb", ["promote", "roll_back"])
@pytest.mark.parametrize("step", STEPS)
def test_killed_after_any_step_the_next_command_finds_both_in_agreement(home, bundles, step, verb):
    champions, registry = home
    move(home, "v1")
    move(home, "v2")
    before, after = {"promote": ("v2", "v3"), "roll_back": ("v2", "v1")}[verb]
    command = [sys.executable, "-m", "tests.training.registry.mover"]
    arguments = [str(champions.folder), verb, "v3", step, str(bundles[1])]
    killed = subprocess.run([*command, *arguments], cwd=ROOT, check=False, timeout=120)
    assert killed.returncode == -signal.SIGKILL
    assert read_champion(champions.folder).version == (before if step == "intent" else after)
    said = reconcile(champions, registry)
    assert served(home) == (after, after)
    assert said == ([] if step == "finished" else [f"completed an unfinished move to {after}"])
    assert reconcile(champions, registry) == [] and champions.intent() is None
    expected = ["v1", "v2"] if verb == "promote" else []
    assert [c.version for c in champions.history().previous] == expected
    if verb == "promote":
        assert "v3.json" in registry._read()["receipts"]
    assert not list(champions.folder.glob(".*"))


def test_killed_while_completing_it_is_completed_by_the_one_after(home, bundles):
    champions, registry = home
    move(home, "v1")
    champions.begin(Intent(champion=champion_of(champions.folder, "v2"), history=History()))
    for step in ("champion", "alias"):
        arguments = [str(champions.folder), "reconcile", "-", step, str(bundles[1])]
        killed = subprocess.run(
            [sys.executable, "-m", "tests.training.registry.mover", *arguments], cwd=ROOT, check=False
        )
        assert killed.returncode == -signal.SIGKILL
    assert reconcile(champions, registry) == ["completed an unfinished move to v2"]
    assert served(home) == ("v2", "v2")


def test_an_alias_that_somebody_moved_by_hand_is_moved_back(home):
    champions, registry = home
    move(home, "v1")
    registry.set_champion(registry.find("v3"))
    assert reconcile(champions, registry) == [
        "@champion pointed at version 3; it is version 1 again, as v1 is served",
    ]
    assert served(home) == ("v1", "v1")


def test_a_champion_that_somebody_wrote_by_hand_is_the_truth(home):
    champions, registry = home
    move(home, "v1")
    write_champion(champions.folder, champion_of(champions.folder, "v2"))
    assert "as v2 is served" in reconcile(champions, registry)[0]
    assert served(home) == ("v2", "v2")


def test_a_registry_that_does_not_know_the_champion_is_told(home):
    champions, registry = home
    move(home, "v1")
    registry.path.unlink()
    assert "does not know v1" in reconcile(champions, registry)[0]
    assert registry.champion() is None


def test_a_move_whose_bundle_is_gone_is_given_up(home):
    champions, registry = home
    move(home, "v1")
    champions.begin(Intent(champion=champion_of(champions.folder, "v2"), history=History()))
    shutil.rmtree(champions.folder / "v2")
    assert "gave up an unfinished move to v2" in reconcile(champions, registry)[0]
    assert served(home) == ("v1", "v1") and champions.intent() is None


class Silent(FileRegistry):
    """A registry that answers questions and then is gone."""

    def set_champion(self, registered):
        raise RegistryUnavailable("gone")


def test_a_registry_that_goes_away_under_way_is_caught_up_with_later(home):
    champions, registry = home
    move(home, "v1")
    with pytest.raises(RegistryUnavailable):
        promote(champions, Silent(registry.path), champion_of(champions.folder, "v2"))
    with pytest.raises(RegistryUnavailable):
        reconcile(champions, Silent(registry.path))
    assert reconcile(champions, registry) == ["completed an unfinished move to v2"]
    assert served(home) == ("v2", "v2")


def test_nothing_begins_while_the_registry_does_not_answer(home):
    class Gone(FileRegistry):
        def find(self, bundle_version):
            raise RegistryUnavailable("gone")

    champions, registry = home
    move(home, "v1")
    with pytest.raises(RegistryUnavailable):
        promote(champions, Gone(registry.path), champion_of(champions.folder, "v2"))
    assert served(home) == ("v1", "v1") and champions.intent() is None


def test_one_promoter_at_a_time(home):
    champions, _ = home
    held, release = threading.Event(), threading.Event()

    def hold():
        with champions.locked(0):
            held.set()
            release.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(30)
    with pytest.raises(PromotionError, match="Another promotion of coco is under way"), champions.locked(0):
        pass
    threading.Timer(0.1, release.set).start()
    with champions.locked(30):  # waits its turn
        assert release.is_set()
    holder.join()


def test_a_broken_champion_is_never_taken_for_none(home, bundles):
    champions, registry = home
    (champions.folder / "champion.json").write_text("{")
    with pytest.raises(ManifestInvalid):
        move(home, "v1")
    with pytest.raises(ManifestInvalid):
        roll_back(champions, registry, [bundles[1]])


def on_trial(home):
    """(version in challenger.json, version that the alias points at)."""
    champions, registry = home
    challenger, alias = champions.challenger(), registry.challenger()
    return challenger and challenger.version, alias and alias.bundle_version


def test_a_challenger_comes_is_replaced_and_goes_while_the_champion_stays(home):
    champions, registry = home
    move(home, "v1")
    before = (champions.folder / CHAMPION).stat()
    for version in ("v2", "v3"):
        challenge(champions, registry, champion_of(champions.folder, version))
        assert on_trial(home) == (version, version) and served(home) == ("v1", "v1")
    for _ in range(2):
        challenge(champions, registry, None)
        assert on_trial(home) == (None, None) and served(home) == ("v1", "v1")
    after = (champions.folder / CHAMPION).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)  # serving need not load it again
    assert champions.intent() is None and champions.history() == History()


def test_a_promotion_of_the_challenger_ends_the_trial_and_of_another_does_not(home, bundles):
    champions, registry = home
    move(home, "v1")
    challenge(champions, registry, champion_of(champions.folder, "v3"))
    move(home, "v2")
    assert on_trial(home) == ("v3", "v3")
    move(home, "v3")
    assert on_trial(home) == (None, None) and served(home) == ("v3", "v3")
    challenge(champions, registry, champion_of(champions.folder, "v2"))
    roll_back(champions, registry, [bundles[1]])
    assert on_trial(home) == (None, None) and served(home) == ("v2", "v2")


def test_what_cannot_be_on_trial_is_refused(home):
    champions, registry = home
    with pytest.raises(PromotionError, match="has no champion"):
        challenge(champions, registry, champion_of(champions.folder, "v1"))
    challenge(champions, registry, None)  # nothing, to begin with
    move(home, "v1")
    with pytest.raises(PromotionError, match="v1 is the champion"):
        challenge(champions, registry, champion_of(champions.folder, "v1"))
    with pytest.raises(PromotionError, match="Expected the bundle v9"):
        challenge(champions, registry, Champion(name="coco", version="v9", digest="0" * 64))
    registry.path.write_text(registry.path.read_text().replace('"v2"', '"other"'))
    with pytest.raises(PromotionError, match="does not know coco v2"):
        challenge(champions, registry, champion_of(champions.folder, "v2"))
    assert on_trial(home) == (None, None) and champions.intent() is None


@pytest.mark.parametrize("verb", ["challenge", "clear"])
@pytest.mark.parametrize("step", STEPS)
def test_killed_after_any_step_of_a_trial_the_next_command_finds_all_in_agreement(home, bundles, step, verb):
    champions, registry = home
    move(home, "v1")
    challenge(champions, registry, champion_of(champions.folder, "v2"))
    after = "v3" if verb == "challenge" else None
    command = [sys.executable, "-m", "tests.training.registry.mover"]
    arguments = [str(champions.folder), verb, "v3", step, str(bundles[1])]
    killed = subprocess.run([*command, *arguments], cwd=ROOT, check=False, timeout=120)
    assert killed.returncode == -signal.SIGKILL
    said = reconcile(champions, registry)
    told = "completed an unfinished move to v1" + (", with v3 on trial" if after else "")
    assert said == ([] if step == "finished" else [told])
    assert on_trial(home) == (after, after) and served(home) == ("v1", "v1")
    assert reconcile(champions, registry) == [] and not list(champions.folder.glob(".*"))


def test_promoting_the_challenger_is_completed_after_a_kill(home, bundles):
    champions, registry = home
    move(home, "v1")
    challenge(champions, registry, champion_of(champions.folder, "v3"))
    arguments = [str(champions.folder), "promote", "v3", "champion", str(bundles[1])]
    subprocess.run([sys.executable, "-m", "tests.training.registry.mover", *arguments], cwd=ROOT, check=False)
    assert (champions.champion(), champions.challenger()) == (champion_of(champions.folder, "v3"),) * 2
    assert reconcile(champions, registry) == ["completed an unfinished move to v3"]
    assert on_trial(home) == (None, None) and served(home) == ("v3", "v3")


def test_a_trial_that_was_changed_by_hand_is_set_right(home):
    champions, registry = home
    move(home, "v1")
    challenge(champions, registry, champion_of(champions.folder, "v2"))
    registry.set_challenger(registry.find("v3"))
    assert "as v2 is on trial" in reconcile(champions, registry)[0] and on_trial(home) == ("v2", "v2")
    registry.set_challenger(None)
    assert "@challenger pointed at nothing" in reconcile(champions, registry)[0] and on_trial(home) == ("v2", "v2")
    write_challenger(champions.folder, champion_of(champions.folder, "v1"))
    assert reconcile(champions, registry) == ["nothing is on trial any more: v1 is the champion"]
    assert on_trial(home) == (None, None)
    (champions.folder / CHALLENGER).write_text("{")
    assert "nothing is on trial any more: Expected a well-formed" in reconcile(champions, registry)[0]
    assert reconcile(champions, registry) == []


def test_a_clone_without_the_file_leaves_the_alias_of_others_alone_and_says_so(home):
    champions, registry = home
    move(home, "v1")
    registry.set_challenger(registry.find("v2"))
    assert "but nothing is on trial here" in reconcile(champions, registry)[0]
    assert on_trial(home) == (None, "v2")
    challenge(champions, registry, None)
    assert on_trial(home) == (None, None)


def test_a_registry_that_does_not_know_the_challenger_is_told(home):
    champions, registry = home
    move(home, "v1")
    challenge(champions, registry, champion_of(champions.folder, "v2"))
    registry.path.write_text(registry.path.read_text().replace('"v2"', '"other"'))
    assert "does not know v2, which is on trial" in reconcile(champions, registry)[0]
    move(home, "v3")  # and keeps nobody from promoting
    assert champions.challenger().version == "v2" and served(home) == ("v3", "v3")


def test_a_challenger_whose_bundle_is_gone_holds_nothing_up(home):
    champions, registry = home
    move(home, "v1")
    challenge(champions, registry, champion_of(champions.folder, "v2"))
    shutil.rmtree(champions.folder / "v2")
    move(home, "v3")
    assert on_trial(home) == (None, None) and served(home) == ("v3", "v3")


def test_an_intent_of_before_there_were_challengers_is_completed(home):
    champions, registry = home
    move(home, "v1")
    intent = Intent(champion=champion_of(champions.folder, "v2"), history=History())
    (champions.folder / "intent.json").write_text(intent.model_dump_json(exclude={"challenger"}))
    assert reconcile(champions, registry) == ["completed an unfinished move to v2"]
    assert served(home) == ("v2", "v2")
