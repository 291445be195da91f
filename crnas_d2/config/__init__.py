"""Our config keys, how a config is loaded, and the backbone that it describes."""

from .defaults import add_crnas_config
from .installation import shipped_root, spell
from .loading import changed_settings, default_config, import_plugins, load_config
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
