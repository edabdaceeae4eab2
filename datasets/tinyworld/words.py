"""The vocabulary of tinyworld: ordinary English nouns and adjectives, one word each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

RGB = tuple[int, int, int]

# The shades of each basic colour: images vary one of them, so that a colour is a range of RGB values.
COLOURS: Mapping[str, tuple[RGB, ...]] = MappingProxyType(
    {
        "black": ((24, 24, 28),),
        "blue": ((35, 75, 200), (60, 120, 215)),
        "brown": ((122, 72, 36), (100, 58, 28)),
        "green": ((45, 150, 55), (30, 110, 45)),
        "grey": ((128, 128, 130), (104, 104, 108)),
        "orange": ((244, 132, 24),),
        "pink": ((246, 146, 188),),
        "purple": ((125, 45, 160), (95, 35, 130)),
        "red": ((206, 28, 34), (176, 20, 30)),
        "white": ((244, 244, 240),),
        "yellow": ((246, 220, 44),),
    }
)

ANY = tuple(COLOURS)
METAL = ("grey", "black")
GLASS = ("blue", "white")
WOOD = ("brown", "black")


@dataclass(frozen=True)
class ObjectKind:
    """A class of objects: its parts and the colours they can have.

    Attributes:
        surface: the parts that have the colour and texture of the object.
        part_colours: for each other part, its possible colours.
        shows_texture: whether the surface is large enough to show a texture.
    """

    surface: tuple[str, ...]
    part_colours: Mapping[str, tuple[str, ...]]
    shows_texture: bool = True

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of all parts."""
        return (*self.surface, *self.part_colours)


# The classes, in alphabetical order: class i is output unit i of the trained classifier.
OBJECTS: Mapping[str, ObjectKind] = MappingProxyType(
    {
        "airplane": ObjectKind(("body",), {"wing": ANY, "tail": ANY, "window": GLASS}),
        "bicycle": ObjectKind(
            ("frame",), {"wheel": METAL, "seat": WOOD, "handle": METAL}, shows_texture=False
        ),
        "bird": ObjectKind(
            ("body", "head"),
            {
                "wing": ANY,
                "tail": ANY,
                "beak": ("orange", "yellow"),
                "eye": ("black",),
                "leg": ("orange", "brown"),
            },
        ),
        "boat": ObjectKind(("hull",), {"sail": ANY, "mast": ("brown", "grey"), "flag": ANY}),
        "butterfly": ObjectKind(("wing",), {"body": WOOD, "antenna": ("black",)}),
        "car": ObjectKind(
            ("body",), {"wheel": METAL, "window": GLASS, "headlight": ("yellow",), "bumper": METAL}
        ),
        "castle": ObjectKind(
            ("wall", "tower"), {"gate": WOOD, "window": ("black", "yellow"), "flag": ANY}
        ),
        "chair": ObjectKind(("seat", "backrest"), {"leg": ("brown", "black", "grey", "white")}),
        "clock": ObjectKind(("dial",), {"frame": ANY, "hand": ("black",), "bell": ("yellow", "grey")}),
        "fish": ObjectKind(("body",), {"tail": ANY, "fin": ANY, "eye": ("white",)}),
        "flower": ObjectKind(
            ("petal",), {"stem": ("green",), "leaf": ("green",), "pollen": ("yellow", "brown")}
        ),
        "house": ObjectKind(
            ("wall",),
            {"roof": ANY, "door": ANY, "window": (*GLASS, "yellow"), "chimney": ("red", "grey")},
        ),
        "lamp": ObjectKind(("shade",), {"pole": METAL, "base": (*METAL, "brown"), "bulb": ("yellow",)}),
        "mushroom": ObjectKind(("cap",), {"stem": ("white", "yellow", "brown")}),
        "rocket": ObjectKind(
            ("body",), {"nose": ANY, "fin": ANY, "window": GLASS, "flame": ("orange", "yellow", "red")}
        ),
        "tree": ObjectKind(("crown",), {"trunk": ("brown", "black", "grey")}),
        "truck": ObjectKind(
            ("trailer",), {"cab": ANY, "wheel": METAL, "window": GLASS, "headlight": ("yellow",)}
        ),
        "umbrella": ObjectKind(("canopy",), {"pole": METAL, "handle": WOOD}),
    }
)

TEXTURES = ("checkered", "dotted", "scaly", "striped", "wavy", "zigzag")


@dataclass(frozen=True)
class Scene:
    """A scene, the background of an image.

    Attributes:
        phrase: the words of a caption that say where the object is.
        backdrop: the objects that the scene consists of.
        colour: the colour that covers most of it, or None if it varies.
    """

    phrase: str
    backdrop: tuple[str, ...]
    colour: str | None


SCENES: Mapping[str, Scene] = MappingProxyType(
    {
        "city": Scene("in a city", ("sky", "building", "road"), "grey"),
        "desert": Scene("in the desert", ("sky", "sun", "sand", "cactus"), "yellow"),
        "forest": Scene("in a forest", ("pine", "grass"), "green"),
        "meadow": Scene("in a meadow", ("sky", "sun", "cloud", "hill", "grass"), "green"),
        "mountain": Scene("on a mountain", ("sky", "cloud", "rock", "snow"), "grey"),
        "night": Scene("at night", ("sky", "moon", "star", "hill"), "black"),
        "room": Scene("in a room", ("wallpaper", "floor", "rug"), None),
        "sea": Scene("on the sea", ("sky", "sun", "cloud", "water"), "blue"),
    }
)

PARTS = tuple(sorted({part for kind in OBJECTS.values() for part in kind.parts}))
BACKDROP = tuple(sorted({thing for scene in SCENES.values() for thing in scene.backdrop}))

# Every word belongs to exactly one category; the categories are in Broden's order.
CATEGORIES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "color": tuple(COLOURS),
        "object": (*OBJECTS, *BACKDROP),
        "part": PARTS,
        "scene": tuple(SCENES),
        "texture": TEXTURES,
    }
)
WORDS = tuple(word for words in CATEGORIES.values() for word in words)
# Numbers of the words in rendered label planes; 0 means no word.
NUMBER: Mapping[str, int] = MappingProxyType({word: i + 1 for i, word in enumerate(WORDS)})

# Other words that texts may contain, and the word of the vocabulary that they mean.
SYNONYMS: Mapping[str, str] = MappingProxyType(
    {
        "gray": "grey",
        "violet": "purple",
        "plane": "airplane",
        "bike": "bicycle",
        "ship": "boat",
        "sailboat": "boat",
        "automobile": "car",
        "fortress": "castle",
        "blossom": "flower",
        "toadstool": "mushroom",
        "lorry": "truck",
        "parasol": "umbrella",
        "stripes": "striped",
        "dots": "dotted",
        "spotted": "dotted",
        "checked": "checkered",
        "scales": "scaly",
        "waves": "wavy",
        "ocean": "sea",
        "town": "city",
        "dune": "desert",
        "woods": "forest",
        "field": "meadow",
        "dark": "night",
        "indoors": "room",
        "wheels": "wheel",
        "leaves": "leaf",
        "tyre": "wheel",
        "street": "road",
        "carpet": "rug",
    }
)
