"""Whom does it fail? Every metric by group, and answers that change when who a text is about is swapped."""

from luthier.evaluate.fairness.counterfactual import Answer, Case, predictor_answers
from luthier.evaluate.fairness.report import Model, check_fairness, columns_of, measure_fairness, prove_fairness
from luthier.evaluate.fairness.swap_lists import swap_lists
from luthier.evaluate.fairness.writing import WriterAnswers

__all__ = ["Answer", "Case", "Model", "WriterAnswers", "check_fairness", "columns_of", "measure_fairness",
           "predictor_answers", "prove_fairness", "swap_lists"]
