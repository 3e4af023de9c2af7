"""Skip the import of rfc3987_syntax, which builds a grammar: longer than the rest of a start.

Upstream: jupyter_server#1559.
Leans on: ``jsonschema``, which asks for it, does without it and loses only the ``iri`` formats, which Jupyter
does not use.
Seen with: jsonschema 4.26, jupyter_server 2.21.1.
Without it: a start takes about 0.85 s longer.
Goes when: jupyter_server or jsonschema imports it only when a schema needs it.
"""

import sys

sys.modules.setdefault("rfc3987_syntax", None)
