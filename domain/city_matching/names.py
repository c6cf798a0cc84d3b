"""Rows of the reference data, the key by which names are compared, and the words people use around a name."""

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

MAX_TYPED_LENGTH: Final = 200
MAX_NAME_WORDS: Final = 8  # the archipelago's full name

_BOGOTA_VARIANTS: Final = tuple(
    f"{name}{suffix}"
    for name in ("Bogotá", "Santafé de Bogotá", "Santa Fe de Bogotá")
    for suffix in ("", " D.C.", " DC", " Distrito Capital")
)
# Names of a city besides DANE's and the portal's, by DANE code.
CITY_VARIANTS: Final[Mapping[str, tuple[str, ...]]] = {
    "11001": (*_BOGOTA_VARIANTS, "Distrito Capital"),
    "88001": ("San Andrés Islas", "Isla de San Andrés"),
}
# What people write for a department besides DANE's name and the portal's abbreviation.
_DEPARTMENT_VARIANTS: Final[Mapping[str, tuple[str, ...]]] = {
    "Archipiélago de San Andrés, Providencia y Santa Catalina": (
        *("San Andrés", "San Andrés Isla", "San Andrés Islas", "San Andrés y Providencia"),
        *("San Andrés, Providencia y Santa Catalina", "Archipiélago de San Andrés"),
    ),
    "Bogotá, D.C.": (*_BOGOTA_VARIANTS, "Distrito Capital", "D.C.", "DC"),
    "La Guajira": ("Guajira",),
    "Norte de Santander": (
        *("N de Santander", "N Santander", "Norte Santander", "Nte de Santander", "Nte Santander"),
        *("Norte de Stder", "Norte Stder", "N de Stder"),
    ),
    "Valle del Cauca": ("Valle", "Valle de Cauca", "Valle Cauca"),
}
COUNTRY: Final = "COLOMBIA"
DEPARTMENT_WORDS: Final = frozenset({"DEPARTAMENTO", "DEPTO", "DPTO"})
# fmt: off
RURAL_WORDS: Final = frozenset((
    "CABILDO", "CASERIO", "CGTO", "CORR", "CORREG", "CORREGIMIENTO", "FINCA", "HACIENDA", "INSP",
    "INSPECCION", "PARCELACION", "RESGUARDO", "VDA", "VEREDA",
))
# Words that open a part of a city or an address: what follows cannot belong to the city's own name.
INNER_WORDS: Final = (RURAL_WORDS - {"HACIENDA"}) | frozenset((
    "AV", "AVENIDA", "B", "BARRIO", "BO", "BRR", "CALLE", "CARRERA", "CENTRO", "CL", "COMUNA", "CONJUNTO",
    "CR", "CRA", "KILOMETRO", "KM", "KR", "LOCALIDAD", "SECTOR", "URB", "URBANIZACION",
))
# After these the name goes on: "San Antonio de Prado" is not San Antonio, "Santa Rosa Alta" not Santa Rosa.
JOINING_WORDS: Final = frozenset(("DE", "DEL", "Y"))
QUALIFYING_WORDS: Final = frozenset((
    "ABAJO", "ALTA", "ALTO", "ARRIBA", "BAJA", "BAJO", "CHICA", "CHICO", "GRANDE", "NUEVA", "NUEVO", "VIEJA", "VIEJO",
))
# fmt: on


# Neighbourhoods that end in a department's name and are no place of DANE's: a locality of Bogotá.
NAMED_LIKE_DEPARTMENTS: Final = frozenset(("ANTONIO NARINO",))


@dataclass(frozen=True, slots=True)
class Municipality:
    """A row of DANE's list; codes are text, with their leading zeros."""

    dane_code: str
    department_code: str
    department_name: str
    municipality_name: str


@dataclass(frozen=True, slots=True)
class CoveredCity:
    """A city of the portal; carrier_city is sent back exactly as written, double blanks included."""

    city_name: str
    department_abbrev: str
    carrier_city: str
    supports_cod: bool
    dane_code: str | None


@dataclass(frozen=True, slots=True)
class Department:
    name: str
    abbreviation: str


class _KeyTable(dict[int, str]):
    """One code point to what it is in a key; idempotent, because the key is."""

    def __missing__(self, code_point: int) -> str:
        # Not stored: hostile text must not make the table grow.
        folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", chr(code_point)).upper())
        return "".join(_key_character(character) for character in folded)


def _key_character(character: str) -> str:
    if unicodedata.category(character) in {"Mn", "Me", "Cf"}:  # accents, zero-width and soft hyphens
        return ""
    return character if character.isalnum() else " "


_KEY_TABLE: Final = _KeyTable()
_KEY_TABLE.update({code: _KEY_TABLE[code] for code in (*range(0x250), *range(0x300, 0x370))})


def city_key(text: str) -> str:
    """The one key for both sides: capitals, no accents, Ñ as N, punctuation as blanks, blanks collapsed."""
    return " ".join(text.translate(_KEY_TABLE).split())


def limited_key(text: str) -> str | None:
    """None for what is too long to be a name, before or after folding."""
    key = city_key(text) if len(text) <= MAX_TYPED_LENGTH else None
    return key if key is None or len(key) <= MAX_TYPED_LENGTH else None


def department_forms(abbreviations: Mapping[str, str], covered: Iterable[CoveredCity]) -> dict[str, Department]:
    forms = {
        city_key(form): Department(name, abbreviation)
        for name, abbreviation in abbreviations.items()
        for form in (name, *_DEPARTMENT_VARIANTS.get(name, ()))
    }
    # Mexico and one stray code have no name but the abbreviation; C/MARCA stands for two departments.
    names = {abbreviation: name for name, abbreviation in abbreviations.items()}
    shared = {a for name, a in abbreviations.items() if names[a] != name}
    for abbreviation in (*names, *(city.department_abbrev for city in covered)):
        name = abbreviation if abbreviation in shared else names.get(abbreviation, abbreviation)
        key = city_key(abbreviation)
        for form in (key, key.replace(" ", "")):
            forms.setdefault(form, Department(name, abbreviation))
    return forms
