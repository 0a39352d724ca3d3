"""Judges models that write: loss, answers against references, graders, code in a sandbox."""

from __future__ import annotations

from luthier.evaluate.generation.columns import RowColumns
from luthier.evaluate.generation.comparison import compare_generation
from luthier.evaluate.generation.evaluation import GenerationEvaluation, Writer, evaluate_generation
from luthier.evaluate.generation.graders import grade, parse_grader, parse_graders

__all__ = [
    "GenerationEvaluation",
    "RowColumns",
    "Writer",
    "compare_generation",
    "evaluate_generation",
    "grade",
    "parse_grader",
    "parse_graders",
]
