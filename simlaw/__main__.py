"""`python -m simlaw` is the command line."""

from simlaw.cli import main

main()
