"""`python -m gradengine` is the command `gradengine`."""

from gradengine.cli import main

raise SystemExit(main())
