"""The chat template for bases that come without one, and for Luthier's own small model.

ChatML: ``<|im_start|>role``, a new line, the content, ``<|im_end|>``. Tools are listed in the system turn,
calls are ``<tool_call>`` with a line of JSON.
"""

from __future__ import annotations

from luthier.core.text import ChatTokenizer

_END = "<|im_end|>"
_MARKS = ("<|im_start|>", _END)

DEFAULT_TEMPLATE = r"""
{%- if tools %}
    {{- '<|im_start|>system\n' }}
    {%- if messages and messages[0]['role'] in ['system', 'developer'] %}
        {{- messages[0]['content'] + '\n\n' }}
    {%- endif %}
    {{- 'You may call these tools:\n<tools>' }}
    {%- for tool in tools %}
        {{- '\n' + (tool | tojson) }}
    {%- endfor %}
    {{- '\n</tools>\nTo call one, write:\n<tool_call>\n{"name": name, "arguments": object}\n</tool_call><|im_end|>\n' }}
{%- endif %}
{%- for message in messages %}
    {%- set role = 'system' if message['role'] == 'developer' else message['role'] %}
    {%- set content = message['content'] or '' %}
    {%- if role == 'assistant' %}
        {{- '<|im_start|>assistant\n' + content }}
        {%- for call in message['tool_calls'] or [] %}
            {%- set function = call['function'] or call %}
            {%- set arguments = function['arguments'] %}
            {{- '\n' if content or not loop.first else '' }}
            {{- '<tool_call>\n{"name": ' + (function['name'] | tojson) + ', "arguments": ' }}
            {{- arguments if arguments is string else arguments | tojson }}
            {{- '}\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>' + '\n' }}
    {%- elif not (tools and loop.first and role == 'system') %}
        {{- '<|im_start|>' + role + '\n' + content + '<|im_end|>\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
{%- endif %}
""".removeprefix("\n")


def default_template(tokenizer: ChatTokenizer) -> str:
    """`DEFAULT_TEMPLATE` as this base can learn it.

    A vocabulary without ChatML's two tokens gets no new ones (they would need new rows in the embedding and
    output matrices): the marks are then ordinary text of several tokens, and the assistant's turn ends
    with the base's own end-of-text token, since generation can only stop at a single token. A
    beginning-of-text token is written where the base's own tokenizer puts one before plain text.
    """
    source = DEFAULT_TEMPLATE
    if any(tokenizer.token_id(mark) is None for mark in _MARKS):
        source = source.replace(f"'{_END}' + '\\n'", "eos_token + '\\n'")
    return source if tokenizer.bos_id is None else "{{- bos_token }}\n" + source
