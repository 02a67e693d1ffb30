"""Places, and what is seen there."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Place:
    """`phrase` names it in a prompt; `seen` are details, `lights` light it; outdoors it has `skies` and `times`."""

    phrase: str
    seen: tuple[str, ...]
    lights: tuple[str, ...]
    skies: tuple[str, ...] = ()
    times: tuple[str, ...] = ()


_DAY = ("golden hour light", "soft overcast light", "cool morning light", "warm evening light", "bright midday sun")
_ROOM = ("diffused window light", "warm lamp light", "soft side light", "late afternoon sun through the window")
_NIGHT = ("cool moonlight", "glowing street lamps", "neon glow", "light from the windows")
_FAIR = ("clear sky", "scattered clouds", "a light wind", "thin mist", "light rain")
_HOURS = ("at dawn", "in the morning", "at noon", "in the afternoon", "at dusk")
_COLD = ("falling snow", "pale winter sky", "drifting fog", "frost in the air")

PLACES = {
    "beach": Place(
        phrase="on a beach",
        seen=("wet sand", "gentle waves", "sea foam", "driftwood", "footprints in the sand", "a distant horizon"),
        lights=_DAY,
        skies=_FAIR,
        times=_HOURS,
    ),
    "forest": Place(
        phrase="in a forest",
        seen=("mossy trunks", "ferns", "fallen leaves", "tall birches", "a narrow path", "roots and mushrooms"),
        lights=("light through the leaves", "soft overcast light", "cool morning light", "golden hour light"),
        skies=("thin mist", "light rain", "still air", "drifting fog"),
        times=_HOURS,
    ),
    "meadow": Place(
        phrase="in a meadow",
        seen=("tall grass", "wild flowers", "dew on the grass", "a wooden fence", "bees and pollen", "rolling hills"),
        lights=_DAY,
        skies=_FAIR,
        times=_HOURS,
    ),
    "mountains": Place(
        phrase="in the mountains",
        seen=("jagged peaks", "loose stones", "a clear stream", "snow on the ridges", "pines below", "a deep valley"),
        lights=_DAY,
        skies=("low clouds", "clear sky", "drifting fog", "strong wind"),
        times=_HOURS,
    ),
    "snow": Place(
        phrase="in the snow",
        seen=("deep snow", "bare branches", "tracks in the snow", "icicles", "frozen ground", "snow on the fir trees"),
        lights=("pale winter sun", "blue hour light", "soft overcast light", "low evening sun"),
        skies=_COLD,
        times=_HOURS,
    ),
    "city": Place(
        phrase="in a city street",
        seen=(
            "wet asphalt",
            "shop windows",
            "parked bicycles",
            "brick walls",
            "signs above the doors",
            "a zebra crossing",
        ),
        lights=(
            "soft overcast light",
            "warm evening light",
            "reflected light from the windows",
            "low sun between houses",
        ),
        skies=("light rain", "scattered clouds", "clear sky", "thin mist"),
        times=_HOURS,
    ),
    "night": Place(
        phrase="at night",
        seen=(
            "deep shadows",
            "a starry sky",
            "reflections in puddles",
            "long shadows",
            "a few lit windows",
            "a full moon",
        ),
        lights=_NIGHT,
        skies=("clear sky", "drifting fog", "light rain", "still air"),
        times=("late at night", "after midnight", "on a warm night"),
    ),
    "harbour": Place(
        phrase="in a harbour",
        seen=(
            "coiled ropes",
            "small boats",
            "gulls on the posts",
            "stacked crates",
            "ripples on the water",
            "a stone pier",
        ),
        lights=_DAY,
        skies=("thin mist", "scattered clouds", "a light wind", "clear sky"),
        times=_HOURS,
    ),
    "sea": Place(
        phrase="on the open sea",
        seen=("rolling waves", "white spray", "a far horizon", "gulls in the wind", "dark water", "a trail of foam"),
        lights=("low evening sun", "soft overcast light", "silver light on the water", "golden hour light"),
        skies=("storm clouds", "clear sky", "strong wind", "scattered clouds"),
        times=_HOURS,
    ),
    "kitchen": Place(
        phrase="in a kitchen",
        seen=("a wooden table", "copper pans", "flour on the board", "herbs in a jar", "a tiled wall", "rising steam"),
        lights=_ROOM,
    ),
    "living room": Place(
        phrase="by the window",
        seen=(
            "a window sill",
            "linen curtains",
            "a stack of books",
            "a plant in a pot",
            "a worn armchair",
            "a wooden floor",
        ),
        lights=_ROOM,
    ),
    "workshop": Place(
        phrase="in a workshop",
        seen=(
            "wood shavings",
            "tools on the wall",
            "a scratched workbench",
            "dust in the air",
            "old tins",
            "an open drawer",
        ),
        lights=("diffused window light", "a single hanging lamp", "soft side light", "warm lamp light"),
    ),
    "garden": Place(
        phrase="in a garden",
        seen=(
            "climbing roses",
            "a stone path",
            "a watering can",
            "ripe tomatoes",
            "an old brick wall",
            "petals on the ground",
        ),
        lights=_DAY,
        skies=_FAIR,
        times=_HOURS,
    ),
    "desert": Place(
        phrase="in the desert",
        seen=("rippled dunes", "dry shrubs", "red rocks", "cracked ground", "long shadows", "a far line of hills"),
        lights=("harsh midday sun", "low evening sun", "warm evening light", "first light of dawn"),
        skies=("clear sky", "heat haze", "dust in the air", "strong wind"),
        times=_HOURS,
    ),
    "river": Place(
        phrase="by a river",
        seen=("smooth pebbles", "reeds", "a wooden bridge", "reflections on the water", "willows", "a small waterfall"),
        lights=_DAY,
        skies=_FAIR,
        times=_HOURS,
    ),
    "space": Place(
        phrase="in space",
        seen=(
            "a distant planet",
            "rings of ice",
            "a field of stars",
            "drifting debris",
            "a faint nebula",
            "a cratered moon",
        ),
        lights=("hard side light", "light of a far sun", "a cold rim of light", "glow from the planet"),
    ),
}
