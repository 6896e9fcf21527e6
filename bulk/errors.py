"""Define what can go wrong with a whole bulk job; what is wrong with one file is a row in its errors."""


class BulkError(ValueError):
    """Report that a bulk job cannot be done as asked, or cannot go on; the message says why."""


class NodeLostError(Exception):
    """Report that a node has died, and that nothing has been finished since."""
