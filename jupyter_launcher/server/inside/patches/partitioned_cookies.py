"""Cookies with the attribute Partitioned, which browsers want in frames of another site.

Upstream: python/cpython#112713.
Leans on: ``http.cookies.Morsel._reserved``, ``Morsel._flags``.
Seen with: Python 3.11 and 3.13.
Without it: the server answers 500 where it sets a cookie for such a frame.
Goes when: Python 3.14 is the oldest in use, whose standard library knows the attribute.
"""

from http.cookies import Morsel

Morsel._reserved.setdefault("partitioned", "Partitioned")
Morsel._flags.add("partitioned")
