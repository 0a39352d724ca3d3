"""Arithmetic over named scores, as OpenAI's multi grader writes it: ``0.5 * a + min(b, c) ^ 2``."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping

FUNCTIONS: dict[str, Callable[..., float]] = {
    "min": min,
    "max": max,
    "abs": abs,
    "floor": math.floor,
    "ceil": math.ceil,
    "exp": math.exp,
    "sqrt": math.sqrt,
    "log": math.log,
}
_BINARY: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: math.pow,
}
_UNARY: dict[type[ast.unaryop], Callable[[float], float]] = {ast.UAdd: operator.pos, ast.USub: operator.neg}
_LONGEST = 1000


class Formula:
    """A checked expression: numbers, names, ``+ - * / ^`` and `FUNCTIONS`, nothing else.

    Raises `ValueError` with a sentence when the text is no such expression. `names` are those it asks for.
    """

    def __init__(self, text: str) -> None:
        if len(text) > _LONGEST:
            raise ValueError(f"it is longer than {_LONGEST:,} characters")
        try:
            self._tree = ast.parse(text.replace("^", "**").strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            raise ValueError(f"{text!r} is no arithmetic expression") from None
        self.names: set[str] = set()
        self._check(self._tree)

    def _check(self, node: ast.expr) -> None:
        if isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
            parts = [node.left, node.right]
        elif isinstance(node, ast.UnaryOp) and type(node.op) in _UNARY:
            parts = [node.operand]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
            if node.func.id not in FUNCTIONS:
                raise ValueError(f"there is no function {node.func.id!r} (known: {', '.join(FUNCTIONS)})")
            parts = list(node.args)
        elif isinstance(node, ast.Name):
            self.names.add(node.id)
            return
        elif isinstance(node, ast.Constant) and type(node.value) in (int, float):
            return
        else:
            raise ValueError(f"{ast.unparse(node)!r} is neither a number, a name nor arithmetic")
        for part in parts:
            self._check(part)

    def __call__(self, values: Mapping[str, float]) -> float:
        """The result with these values; `ValueError` where it is undefined (division by zero, log of 0)."""
        try:
            found = float(self._value(self._tree, values))
        except (ArithmeticError, ValueError, TypeError) as error:
            raise ValueError(f"the formula is undefined: {error}") from None
        if not math.isfinite(found):
            raise ValueError("the formula gives no finite number")
        return found

    def _value(self, node: ast.expr, values: Mapping[str, float]) -> float:
        if isinstance(node, ast.BinOp):
            return _BINARY[type(node.op)](self._value(node.left, values), self._value(node.right, values))
        if isinstance(node, ast.UnaryOp):
            return _UNARY[type(node.op)](self._value(node.operand, values))
        if isinstance(node, ast.Call):
            assert isinstance(node.func, ast.Name)
            return FUNCTIONS[node.func.id](*(self._value(part, values) for part in node.args))
        if isinstance(node, ast.Name):
            return float(values[node.id])
        assert isinstance(node, ast.Constant) and isinstance(node.value, int | float)
        return float(node.value)
