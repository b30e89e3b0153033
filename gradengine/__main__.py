"""`python -m gradengine` is the command `gradengine`."""

from gradengine.program.cli import main

raise SystemExit(main())
