"""How each preset describes: the lists that its phrases come from, in the order they are written."""

from __future__ import annotations

PLACE, LIGHT, SKY, TIME = "what is seen there", "what lights it", "the weather", "when"  # of the place

STYLES: dict[str, tuple[tuple[str, ...] | str, ...]] = {
    "photo": (
        LIGHT,
        ("85mm lens", "35mm lens", "50mm lens", "wide angle lens", "macro lens", "telephoto lens"),
        ("shallow depth of field", "deep focus", "creamy bokeh", "blurred background", "crisp foreground"),
        PLACE,
        PLACE,
        ("fine natural texture", "sharp focus", "true to life colours", "subtle film grain", "rich tones"),
        ("calm mood", "joyful mood", "quiet atmosphere", "intimate mood", "nostalgic mood", "lonely atmosphere"),
    ),
    "anime": (
        ("clean line art", "crisp cel shading", "soft cel shading", "bold outlines", "delicate line work"),
        PLACE,
        ("vibrant colours", "pastel palette", "warm sunset palette", "cool blue palette", "muted tones"),
        LIGHT,
        PLACE,
        ("detailed background", "drifting petals", "towering clouds", "sparkling air", "soft gradients"),
        ("nostalgic mood", "hopeful mood", "dreamy mood", "playful mood", "serene mood", "dramatic mood"),
    ),
    "illustration": (
        ("watercolour wash", "gouache texture", "ink and watercolour", "coloured pencil", "screen print texture"),
        PLACE,
        PLACE,
        ("simple rounded shapes", "delicate brush strokes", "loose expressive lines", "clear silhouette"),
        ("limited palette", "warm earthy palette", "soft pastel colours", "bold contrast", "muted greens"),
        ("gentle light", "soft shadows", "morning haze", "light from one side", "moonlight"),
        ("whimsical mood", "cosy mood", "storybook atmosphere", "mysterious mood", "cheerful mood"),
    ),
    "cinematic": (
        ("anamorphic lens", "wide establishing shot", "low angle shot", "tracking shot", "slow push in"),
        LIGHT,
        SKY,
        PLACE,
        PLACE,
        ("teal and orange grade", "desaturated grade", "warm film grade", "deep shadows", "film grain"),
        ("tense mood", "melancholic mood", "epic mood", "mysterious mood", "quiet mood", "heroic mood"),
    ),
    "plain": (
        PLACE,
        PLACE,
        PLACE,
        PLACE,
        TIME,
        SKY,
        ("mostly green and brown", "pale blue and grey", "warm reds and yellows", "soft beige tones", "deep greens"),
    ),
}
