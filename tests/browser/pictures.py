"""The picture of a crystal as pixels, and how many of them have a colour, for the tests of the viewer."""

import base64
import io

import numpy as np
from PIL import Image


def pixels(page, stage):
    data = page.evaluate("e => e.getImage(1, true)", stage.element_handle())
    return np.array(Image.open(io.BytesIO(base64.b64decode(data.split(",")[1]))).convert("RGBA"))


def near(image, colour):
    """Pixels of about this colour, lit or shaded."""
    wanted = np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)])
    lit = image[..., :3].astype(float)
    share = lit @ wanted / (np.linalg.norm(lit, axis=-1) * np.linalg.norm(wanted) + 1e-9)
    return int(((share > 0.998) & (np.linalg.norm(lit, axis=-1) > 120) & (image[..., 3] > 200)).sum())
