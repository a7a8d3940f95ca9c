"""Optional dependencies: imported on use, and named in the error when they are missing."""

import importlib
from types import ModuleType


def require(module: str, extra: str, purpose: str) -> ModuleType:
    """Import ``module``, or raise ``ImportError`` with the purpose and the command that installs the missing extra."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f"{purpose} needs '{module}', which is not installed; run: pip install 'elegans-pyg[{extra}]'") from error
