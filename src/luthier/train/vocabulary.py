"""Train only the word vectors that the training data uses, exactly.

AdamW (Loshchilov and Hutter 2019) moves a row whose gradient is always zero by weight decay alone:
after steps 1..t it is its first value times the product of (1 - rate_t x decay). So rows of words
that never occur need no gradient, no moments and no update; a small data set uses a few thousand of
30,000 rows, and the embedding is half of a small model's parameters.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from luthier.data.tokens import TokenTable


class UsedVocabulary:
    """The trained rows of a word embedding, as a parameter of their own.

    Create it before saved weights are loaded (it keeps the first values), then call `reload`.
    """

    def __init__(self, embedding: nn.Embedding, table: TokenTable) -> None:
        self.embedding = embedding
        self.first = embedding.weight.detach().clone()
        self.used = torch.from_numpy(np.unique(table.ids).astype(np.int64))
        self.place = torch.zeros(len(self.first), dtype=torch.long)
        self.place[self.used] = torch.arange(len(self.used))
        self.parameter = nn.Parameter(self.first[self.used].clone())
        self.decayed = 1.0

    def words(self, ids_T: Tensor) -> Tensor:
        """Word vectors [T, D]."""
        return nn.functional.embedding(self.place[ids_T], self.parameter)

    def decay(self, learning_rate: float, weight_decay: float) -> None:
        """Note the weight decay of one step, for the rows that are not used."""
        self.decayed *= 1.0 - learning_rate * weight_decay

    @torch.no_grad()
    def publish(self) -> None:
        """Write all rows into the model's own embedding, as plain AdamW would have left them."""
        self.embedding.weight.copy_(self.first * self.decayed)
        self.embedding.weight[self.used] = self.parameter

    @torch.no_grad()
    def reload(self, decayed: float) -> None:
        """Take the used rows from the model's own embedding, into which saved weights were loaded."""
        self.parameter.copy_(self.embedding.weight[self.used])
        self.decayed = decayed
