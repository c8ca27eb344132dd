"""Makes what in docs/ can be made from the code: AsyncAPI, OpenRPC, and the tables in marked regions of the pages.

``make docs`` writes, ``make docs-check`` (part of CI) fails where the committed files differ from what the code says.
"""
