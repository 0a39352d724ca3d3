"""Samples become token ids and weights: one renderer for training and for serving."""

from __future__ import annotations

from luthier.data.templates.chat_template import ChatTemplate
from luthier.data.templates.default_template import DEFAULT_TEMPLATE, default_template
from luthier.data.templates.parity import prefix_parity
from luthier.data.templates.rendered import Rendered, Renderer, TrainedTurn, end_of_turn_share
from luthier.data.templates.renderer import ChatRenderer, Learn, renderer_for
from luthier.data.templates.text_renderer import TextRenderer

__all__ = [
    "DEFAULT_TEMPLATE",
    "ChatRenderer",
    "ChatTemplate",
    "Learn",
    "Rendered",
    "Renderer",
    "TextRenderer",
    "TrainedTurn",
    "default_template",
    "end_of_turn_share",
    "prefix_parity",
    "renderer_for",
]
