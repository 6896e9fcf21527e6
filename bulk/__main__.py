"""Be the command `python -m bulk`."""

import sys

from bulk.command import main

if __name__ == "__main__":
    sys.exit(main())
