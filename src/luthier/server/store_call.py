"""The store is synchronous; a request waits for it in a thread, and the event loop goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import ParamSpec, TypeVar

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


async def run(function: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
    """Call `function` in one of the loop's threads. A caller that is cancelled leaves the call to finish."""
    return await asyncio.get_running_loop().run_in_executor(None, partial(function, *args, **kwargs))
