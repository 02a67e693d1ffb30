"""Exit with an error unless a PNG is a picture: not constant, not noise and, if named, of the given subject.

Usage: check_picture.py FILE [SUBJECT]
"""

from __future__ import annotations

import sys

import numpy as np
from PIL import Image


def neighbour_correlation(image: Image.Image) -> float:
    """Correlation of each pixel with the next in its row: near 0 for noise, near 1 for a picture."""
    grey = np.asarray(image.convert("L"), np.float64)
    return float(np.corrcoef(grey[:, :-1].ravel(), grey[:, 1:].ravel())[0, 1])


def problem(image: Image.Image, subject: str | None) -> str | None:
    """Why it is not the picture asked for; None if it is."""
    spread = float(np.asarray(image.convert("RGB"), np.float64).std(axis=(0, 1)).max())
    if spread < 10:
        return f"it is nearly constant (standard deviation {spread:.1f} of 255)"
    correlation = neighbour_correlation(image)
    if correlation < 0.8:
        return f"it looks like noise (neighbouring pixels correlate {correlation:.2f})"
    if subject is not None:
        from demo_model.evaluate import NearestRender

        named = NearestRender().name([image])[0]
        if named.name != subject:
            return f"it looks like a {named.name}, not like a {subject}"
    return None


def main() -> None:
    """Check the file named on the command line."""
    path = sys.argv[1]
    found = problem(Image.open(path), sys.argv[2] if len(sys.argv) > 2 else None)
    if found:
        raise SystemExit(f"{path}: {found}")
    print(f"{path}: a picture")


if __name__ == "__main__":
    main()
