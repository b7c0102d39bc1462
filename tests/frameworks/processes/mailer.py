"""A queue, here a file: the letter carries the context, and whoever takes it up links to where it came from."""

import json
import sys
from pathlib import Path

from maslens.instrumentation import agent, llm

with agent("mailer", handoff=json.loads(Path(sys.argv[1]).read_text())), llm("gpt-4.1-mini", provider="openai") as call:
    call.usage(611, 61)
