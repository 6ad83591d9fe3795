"""python -m ganatomy"""

from ganatomy.cli.main import main

main()
