"""The key ring that portal passwords are kept with: from the settings, or made and kept in the home folder."""

from api.kept_secrets import kept_secret
from api.settings import Settings, SettingsError
from domain.envelopes import InvalidKeyRing, KeyRing

FILE = "credential-keys"


def load_key_ring(settings: Settings, *, may_make: bool) -> KeyRing | None:
    """The ring of the settings, or else one that is made and kept in the home; None where that may not be.

    Without a ring everything works but passwords: a shop may well use none.  Raises SettingsError.
    """
    if settings.credential_keys is not None:
        return KeyRing.parse(settings.credential_keys.get_secret_value())  # checked when it was read
    if not may_make:
        return None
    path = settings.home / FILE
    try:
        return KeyRing.parse(kept_secret(path, lambda: KeyRing.with_new_key().as_text()))
    except InvalidKeyRing as error:
        # Never replaced by a fresh one: what the lost keys have sealed could not be opened any more.
        raise SettingsError(f"ROBOT_JOBS_HOME: {path} holds no key ring: {error}") from None


def require_key_ring(settings: Settings, *, may_make: bool) -> KeyRing:
    """As load_key_ring, for what cannot do without.  Raises SettingsError."""
    key_ring = load_key_ring(settings, may_make=may_make)
    if key_ring is None:
        raise SettingsError("ROBOT_JOBS_CREDENTIAL_KEYS: is required here; robot-jobs credentials new-key makes one")
    return key_ring
