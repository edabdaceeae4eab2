from .comparison import draw_units
from .score_charts import KINDS, draw_scores
from .unit_choice import UnitChoice, choose_units, chosen_by_hand
from .writing import Drawn, write_figure

__all__ = [
    "KINDS",
    "Drawn",
    "UnitChoice",
    "choose_units",
    "chosen_by_hand",
    "draw_scores",
    "draw_units",
    "write_figure",
]
