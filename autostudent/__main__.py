"""``python -m autostudent``: the command line where no script is installed."""

from autostudent.cli import main

if __name__ == "__main__":
    main()
