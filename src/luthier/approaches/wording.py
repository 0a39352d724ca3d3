"""What can be asked for is called by its option in a terminal, and in plain words on a page."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Wording:
    """The words of one place, as parts of the sentences of a decision.

    Attributes:
        more_time: after "perhaps, with".
        larger_model: after "or a larger model", with a space before it where it says something.
        held_out: after "40 of the rows were held out to judge on", with what joins it.
        growth: the beginning of "tells what more training rows would bring".
    """

    more_time: str
    larger_model: str
    held_out: str
    growth: str


TERMINAL = Wording(
    "a larger --budget", " (--model, --endpoint)", "; --test FILE names rows of your own", "`luthier curve`"
)
PAGE = Wording("more time", "", "", "a learning curve")
