"""Passwords and tokens of URLs, which are neither printed nor written."""

import re

_USER = re.compile(r"(https?://)[^\s/]*@")  # often a token
_PASSWORD = re.compile(r"(://[^\s/:@]*):[^\s/]*@")
_WORDS = "pass|pwd|secret|token|key|sig|credential|auth"  # in the name of a parameter
_PARAMETER = re.compile(rf"([?&][^\s=&]*(?:{_WORDS})[^\s=&]*)=[^\s&'\")]*", re.IGNORECASE)


def hide_secrets(text: str) -> str:
    """Return a text whose URLs have no passwords, and no tokens among their parameters."""
    if "://" not in text:
        return text
    return _PARAMETER.sub(r"\1=...", _PASSWORD.sub(r"\1@", _USER.sub(r"\1", text)))
