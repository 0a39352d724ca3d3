"""General English texts that come with Luthier: what a base should still do after it was tuned to something else.

They were written for this purpose and stand in no training text of luthier-nano; `conversations_replay` shares no
row with `conversations_anchors`.
"""

from luthier.data.general.texts import (
    conversations,
    open_anchors,
    open_replay,
    replay_ships_with,
    topic_sentences,
)

__all__ = ["conversations", "open_anchors", "open_replay", "replay_ships_with", "topic_sentences"]
