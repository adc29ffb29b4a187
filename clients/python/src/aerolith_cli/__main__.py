"""`python -m aerolith`: the same as the command `aerolith`."""

import sys

from aerolith_cli.entry import main

if __name__ == "__main__":
    sys.exit(main())
