"""The pipeline: recipe, stages, report."""

from importlib.util import find_spec
from pathlib import Path

__version__ = "0.1.0"


def refuse_strangers() -> None:
    """Raises ImportError if a package of another project shadows one of Pocketreel's, whose names are common
    words."""
    home = Path(__file__).resolve().parent.parent
    for name in ("models", "export", "benchmarks"):
        spec = find_spec(name)
        found = Path(spec.origin).resolve() if spec and spec.origin else None
        if found != home / name / "__init__.py":
            raise ImportError(
                f"Pocketreel needs its own package {name!r} from {home / name}, but Python finds {found}; "
                f"start Python in another folder, or remove that one from PYTHONPATH"
            )


refuse_strangers()
