"""`python -m toolkit.cli`: the command without its entry point."""

from toolkit.cli import main

main()
