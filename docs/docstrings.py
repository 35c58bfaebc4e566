"""What mkdocstrings must be told of this package's docstrings."""

from typing import Any

import griffe


class Examples(griffe.Extension):
    """Shows `Example:`, which it takes for a note, as the code that it is."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called for each object with a docstring."""
        if obj.docstring:
            obj.docstring.value = obj.docstring.value.replace("\nExample:\n", "\nExamples:\n")
