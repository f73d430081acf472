"""Pascal VOC: one XML file a picture, beside it or in `Annotations/` next to `JPEGImages/`.

The only place that knows the VOC format. Corners are taken as they are written: VOC counts pixels from 1 and includes the
last, most tools that write it today count from 0, and the difference is below a pixel. Objects marked difficult stay.
Source: Everingham et al., "The Pascal Visual Object Classes (VOC) Challenge", IJCV 2010.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from safelight.errors import DataError
from training.data import files
from training.data.records import SPLITS, Box, Candidate, Listing, Marked, PictureFile, Quarantined

NAME = "voc"
LOOKED_FOR = "Pascal VOC: XML files with the root <annotation>, beside the pictures or in Annotations/"
_PICTURE_FOLDERS = ("JPEGImages", "images", "Images", "imgs")


def evidence(root: Path) -> str | None:
    """What in the folder speaks for this format; None when nothing does."""
    found = list(_annotations(root))
    layout = "in Annotations/" if found and found[0].parent.name == "Annotations" else "beside the pictures"
    return f"{len(found)} XML files with the root <annotation>, {layout}" if found else None


def read(root: Path) -> Listing:
    """All pictures below a folder and what their XML files say. Raises DataError when there is no picture at all."""
    pictures = files.pictures_in(root)
    if not pictures:
        raise DataError(f"Expected pictures for the Pascal VOC files in {root}, found none.")
    candidates: list[Candidate] = []
    quarantined: list[Quarantined] = []
    used: set[Path] = set()
    for path in pictures:
        annotation = _annotation_of(path)
        image_id = files.image_id(_place(root, path))
        if annotation is None:
            quarantined.append(Quarantined(image_id, None, "no annotation file"))
            continue
        used.add(annotation)
        try:
            found = candidate(path, annotation)
        except DataError:
            quarantined.append(Quarantined(image_id, None, "malformed annotation file"))
            continue
        split = files.folder_split(root, path)
        candidates.append(Candidate(image_id, found.picture, found.objects, _place(root, path), split, found.size))
    orphans = sorted(files.place(root, path) for path in _annotations(root) if path not in used)
    quarantined += [Quarantined(files.image_id(name), None, "no such picture") for name in orphans]
    candidates, left_out = _image_sets(root, candidates)
    return Listing(NAME, evidence(root) or LOOKED_FOR, (), candidates, quarantined + left_out)


def candidate(picture: Path, annotation: Path) -> Candidate:
    """One picture and its VOC file.

    Raises DataError when the annotation file is missing or no VOC XML: then nothing is known about the picture, and to go
    on would count its objects as background.
    """
    try:
        tree = fromstring(annotation.read_bytes())
    except (OSError, ParseError, DefusedXmlException, ValueError, LookupError):  # LookupError: an unknown encoding
        tree = None
    if tree is None or tree.tag != "annotation":
        raise DataError(f"{picture.stem}: expected a Pascal VOC XML file beside the picture, got none that parses.")
    objects = [Marked((o.findtext("name") or "").strip() or None, _box(o)) for o in tree.iter("object")]
    return Candidate(picture.stem, PictureFile(picture), objects, picture.stem, size=_size(tree))


def _annotations(root: Path) -> Iterator[Path]:
    """XML files whose root is <annotation>, told by their first bytes alone."""
    for path in files.walk(root, {".xml"}):
        with path.open("rb") as file:
            if b"<annotation" in file.read(2048):
                yield path


def _annotation_of(picture: Path) -> Path | None:
    name = picture.with_suffix(".xml").name
    below = picture.parent.relative_to(picture.parent.parent)
    places = [picture.with_suffix(".xml")]
    if below.name in _PICTURE_FOLDERS:
        places.append(picture.parent.parent / "Annotations" / name)
        places.append(picture.parent.parent / "annotations" / name)
    return next((path for path in places if path.is_file()), None)


def _place(root: Path, picture: Path) -> str:
    """The picture's place; the folder that only says that pictures are in it is left out."""
    parts = Path(files.place(root, picture)).parts
    return "/".join(part for part in parts if part not in _PICTURE_FOLDERS) or parts[-1]


def _image_sets(root: Path, candidates: list[Candidate]) -> tuple[list[Candidate], list[Quarantined]]:
    """The splits that ImageSets/Main gives, where there is one; pictures in none of them are left out on purpose."""
    given: dict[tuple[str, str], str] = {}
    for main in sorted(p for p in root.rglob("ImageSets/Main") if p.is_dir()):
        base = main.parent.parent.relative_to(root).as_posix()
        names = SPLITS if (main / "train.txt").is_file() else ("trainval", "val", "test")
        for name in names:
            path = main / f"{name}.txt"
            for line in files.text_of(path).splitlines() if path.is_file() else ():
                given.setdefault((base, (line.split() or [""])[0]), "train" if name == "trainval" else name)
    if not given:
        return candidates, []
    kept, left_out = [], []
    for c in candidates:
        base, _, stem = c.place.rpartition("/")
        split = given.get((base or ".", stem))
        if split is None:
            left_out.append(Quarantined(c.image_id, None, "in no split of ImageSets/Main", bad=False))
        else:
            kept.append(Candidate(c.image_id, c.picture, c.objects, c.place, split, c.size))
    return kept, left_out


def _box(element: Element) -> Box | None:
    try:
        x_min, y_min, x_max, y_max = (
            float(element.findtext(f"bndbox/{k}", "")) for k in ("xmin", "ymin", "xmax", "ymax")
        )
    except ValueError:
        return None
    return (x_min, y_min, x_max, y_max)


def _size(tree: Element) -> tuple[int, int] | None:
    """The size that the file claims; None when it claims none, or nought as some tools do."""
    try:
        width, height = (int(float(tree.findtext(f"size/{k}", ""))) for k in ("width", "height"))
    except (ValueError, OverflowError):
        return None
    return (width, height) if width > 0 and height > 0 else None
