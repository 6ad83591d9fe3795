"""python -m ganatomy"""

from ganatomy.cli import main

main()
