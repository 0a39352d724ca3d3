"""Texts that run a script, leave the page or break it wherever they are put in as anything but text."""

from __future__ import annotations

CORPUS = (
    "<script>window.pwned=1;alert(1)</script>",
    '<img src=x onerror="window.pwned=1;alert(1)">',
    '"><svg onload=window.pwned=1>',
    "'-alert(1)-'",
    "javascript:window.pwned=1",
    "[click](javascript:alert(1))",
    "{{7*7}}${7*7}<%= 7*7 %>",
    '<iframe srcdoc="<script>parent.pwned=1</script>"></iframe>',
    "</title></textarea></style></script><script>window.pwned=1</script>",
    '<a href="javascript:window.pwned=1">x</a>',
    '<base href="https://evil.example/">',
    '<meta http-equiv=refresh content="0;url=https://evil.example/">',
    '<form action="https://evil.example/"><input name=x autofocus onfocus=window.pwned=1>',
    "<style>*{background:url(https://evil.example/)}</style>",
    "<math><mtext><table><mglyph><style><img src=x onerror=window.pwned=1>",
    "<b>bold</b><br>__proto__ constructor",
    "\u202eright to left\u202c \u2028 \u2029 zero\u200bwidth",
    "a" * 400,
)
"""`luthier` shows each as it is."""

SHORT = tuple(text[:90] for text in CORPUS)
