"""A meter on a wall as a camera sees it. Knows nothing of what readings or units there may be."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from training.drawings import optics
from training.drawings.interface import Drawn, covered
from training.drawings.meters.difficulty import Difficulty
from training.drawings.meters.face import SIZE, face

SIDE = 336
_WALLS = (
    (176, 172, 164),
    (120, 116, 110),
    (206, 204, 198),
    (92, 84, 78),
    (140, 150, 156),
    (74, 80, 88),
    (168, 148, 122),
)


def picture(rng: np.random.Generator, reading: str, unit: str, difficulty: Difficulty) -> Drawn:
    """The meter, with a place for each digit and for the unit."""
    wall = _wall(rng)
    front, flat = face(rng, reading, unit, float(rng.uniform(*difficulty.contrast)))
    width = float(rng.uniform(*difficulty.width)) * SIDE
    seen = optics.corners_seen(rng, SIZE, SIDE, width, difficulty.rotation, difficulty.perspective, difficulty.shift)
    # Reduced first, so that the perspective skips no pixels of the drawing.
    front = front.resize((round(width * 1.25), round(width * 1.25 * SIZE[1] / SIZE[0])), Image.Resampling.BOX)
    numbers = optics.homography(seen, front.size)
    front = front.transform((SIDE, SIDE), Image.Transform.PERSPECTIVE, numbers, Image.Resampling.BILINEAR)
    wall.paste((20, 20, 20), (5, 7), front.getchannel("A").point(lambda a: a // 3))  # its shadow
    wall.paste(front, (0, 0), front)
    canvas = np.asarray(wall, np.float32).copy()
    optics.lit(canvas, rng, difficulty.light, difficulty.gradient)
    if rng.random() < difficulty.glare:
        middle = seen.mean(0) + rng.uniform(-0.4, 0.4, 2) * width * np.array([1, 0.5])
        optics.highlight(
            canvas, rng, (float(middle[0]), float(middle[1])), float(rng.uniform(*difficulty.glare_strength))
        )
    blur, noise = float(rng.uniform(*difficulty.blur)), float(rng.uniform(*difficulty.noise))
    flattened = optics.homography(seen, SIZE)
    units = np.array([[2 / SIZE[0], 0, -1], [0, 2 / SIZE[1], -1], [0, 0, 1]])
    frame = units @ np.append(np.array(flattened), 1.0).reshape(3, 3)
    pixels = optics.photographed(canvas, rng, blur, noise)
    return Drawn(pixels, optics.seen_at(flattened, flat), covered(np.asarray(front.getchannel("A"))), frame)


def _wall(rng: np.random.Generator) -> Image.Image:
    """Plaster, or tiles or panels with their joints, and now and then a pipe."""
    base = np.array(_WALLS[rng.integers(len(_WALLS))]) + rng.integers(-14, 15, 3)
    rough = rng.integers(0, 256, (int(rng.integers(8, 70)), int(rng.integers(8, 70))), np.uint8)
    texture = np.asarray(Image.fromarray(rough).resize((SIDE, SIDE), Image.Resampling.BILINEAR), np.float32) - 127
    values = base.astype(np.float32) + texture[..., None] * np.float32(rng.uniform(0.02, 0.15))
    wall = Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))
    pen = ImageDraw.Draw(wall)
    joint = tuple(int(c) for c in np.clip(base - 36, 0, 255))
    if rng.random() < 0.4:
        step, start = int(rng.integers(40, 130)), int(rng.integers(0, 40))
        for place in range(start, SIDE, step):
            pen.line((place, 0, place, SIDE), fill=joint, width=2)
            pen.line((0, place, SIDE, place), fill=joint, width=2)
    if rng.random() < 0.5:
        x, thick = int(rng.integers(0, SIDE)), int(rng.integers(10, 34))
        grey = int(rng.integers(70, 200))
        pen.line((x, 0, x, SIDE), fill=(grey, grey, grey), width=thick)
        pen.line((x - thick // 4, 0, x - thick // 4, SIDE), fill=(min(255, grey + 40),) * 3, width=max(1, thick // 5))
    return wall
