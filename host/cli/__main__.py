"""`python -m host.cli`: the command line, whatever the PATH."""

from host.cli import main

main()
