"""Our config keys, how a config is loaded, and the backbone that it describes."""

from .command_line import spell
from .defaults import add_crnas_config
from .differences import changed_settings
from .loading import default_config, load_config
from .plugins import import_plugins
from .shipped import shipped_root
from .spec import NetworkSpec

__all__ = [
    "NetworkSpec",
    "add_crnas_config",
    "changed_settings",
    "default_config",
    "import_plugins",
    "load_config",
    "shipped_root",
    "spell",
]
