"""Print what a pyproject.toml says the project is built with and depends on, one requirement a line."""

import sys
import tomllib
from pathlib import Path

project = tomllib.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
print(*project["build-system"]["requires"], *project["project"]["dependencies"], sep="\n")
