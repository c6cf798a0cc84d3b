"""The portal's pages, as HTML.  Everything that comes from outside is escaped here."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from clients.robot.sandbox_portal.order_form import CITY, FIELDS, NO, RADIOS, YES
from clients.robot.sandbox_portal.store import Parcel

LOGIN_PATH = "/login"
LOGOUT_PATH = "/logout"
PANEL_PATH = "/panel"
ORDERS_PATH = "/panel/pedidos"
FORM_PATH = "/panel/agregar_pedidos/coordinadora"
DRAFT_PATH = f"{FORM_PATH}/borrador"
CITIES_PATH = "/panel/ciudades"
STATIC_PATH = "/recursos"


@dataclass(frozen=True, slots=True)
class Dialog:
    """What SweetAlert2 would show; `icon` is "success" or "error"."""

    icon: str
    title: str
    text: str


def login_page(problem: str | None = None, *, account: str = "") -> str:
    alert = f'<p class="alerta" role="alert">{escape(problem)}</p>' if problem else ""
    return _page(
        "Ingreso",
        f"""<main class="ingreso">
<h1>Ingreso de clientes</h1>{alert}
<form method="post" action="{LOGIN_PATH}">
<label for="usuario">Usuario</label>
<input id="usuario" name="usuario" autocomplete="username" value="{escape(account)}">
<label for="clave">Clave</label>
<input id="clave" name="clave" type="password" autocomplete="current-password">
<button type="submit">Ingresar</button>
</form>
</main>""",
    )


def panel_page(account: str) -> str:
    return _panel("Panel", account, "<h1>Panel</h1><p>Seleccione una opción.</p>")


def form_page(account: str, dialog: Dialog | None = None) -> str:
    """A new order; `dialog` is shown over it at once."""
    texts = "".join(
        f'<div class="campo"><label for="{name}">{escape(field.label)}</label>'
        f'<input id="{name}" name="{name}"{_VALUES.get(name, "")}></div>\n'
        for name, field in FIELDS.items()
        if name != CITY
    )
    radios = "".join(_radio(name, label) for name, label in RADIOS.items())
    body = f"""<h1>Nuevo pedido Coordinadora</h1>
<form id="pedido" method="post" action="{FORM_PATH}" autocomplete="off" data-borrador="{DRAFT_PATH}"
 data-ciudades="{CITIES_PATH}" data-ingreso="{LOGIN_PATH}">
{texts}<div class="campo autocompletar"><label for="ciudad_destino">{FIELDS[CITY].label}</label>
<input id="ciudad_destino" role="combobox" aria-autocomplete="list" aria-expanded="false"
 aria-controls="ciudad_destino_lista" placeholder="Escriba la ciudad">
<input type="hidden" name="{CITY}">
<ul id="ciudad_destino_lista" role="listbox" hidden></ul></div>
{radios}<button id="enviar" type="submit">Enviar</button>
</form>"""
    return _panel("Nuevo pedido", account, body, dialog)


def orders_page(
    account: str, parcels: Sequence[Parcel], *, page: int, first: int, total: int, guide_after_s: float
) -> str:
    """`first` is the place of the first row shown, counted from 1."""
    rows = "".join(
        "<tr>"
        + "".join(
            f"<td>{escape(cell)}</td>"
            for cell in (
                str(parcel.number),
                parcel.guide(after_s=guide_after_s),
                parcel.reference,
                f"{parcel.form.get('nombres_', '')} {parcel.form.get('apellidos_', '')}".strip(),
                parcel.form.get(CITY, ""),
            )
        )
        + "</tr>\n"
        for parcel in parcels
    )
    last = first + len(parcels) - 1
    is_first, is_last = _disabled(page == 1), _disabled(last >= total)
    body = f"""<h1>Pedidos</h1>
<table><thead><tr><th>Pedido</th><th>Guía</th><th>Referencia</th><th>Destinatario</th><th>Ciudad</th></tr></thead>
<tbody>
{rows}</tbody></table>
<form class="paginas" method="get" action="{ORDERS_PATH}">
<span class="rango">{first if parcels else 0}-{last if parcels else 0} de {total}</span>
<button type="submit" name="pagina" value="{page - 1}" aria-label="Página anterior"{is_first}>‹</button>
<button type="submit" name="pagina" value="{page + 1}" aria-label="Página siguiente"{is_last}>›</button>
</form>"""
    return _panel("Pedidos", account, body)


def dialog_page(account: str, dialog: Dialog) -> str:
    """For a browser that runs no script."""
    return _panel("Nuevo pedido", account, f'<p><a href="{FORM_PATH}">Nuevo pedido</a></p>', dialog)


def message_page(title: str, text: str) -> str:
    return _page(title, f'<main class="ingreso"><h1>{escape(title)}</h1><p>{escape(text)}</p></main>')


_VALUES = {
    "total_iva": ' value="0" inputmode="numeric"',
    "total_coniva": ' inputmode="numeric"',
}


def _radio(name: str, label: str) -> str:
    choices = "".join(
        f'<label><input type="radio" name="{name}" value="{value}"{" checked" if value == NO else ""}> {value}</label>'
        for value in (YES, NO)
    )
    return f'<fieldset class="campo"><legend>{escape(label)}</legend>{choices}</fieldset>\n'


def _disabled(is_so: bool) -> str:
    return " disabled" if is_so else ""


def _dialog(dialog: Dialog) -> str:
    """SweetAlert2's own markup, as far as anybody could look for it."""
    return f"""<div class="swal2-container"><div class="swal2-popup swal2-modal swal2-icon-{dialog.icon} swal2-show"
 role="dialog" aria-modal="true" aria-labelledby="swal2-title" aria-describedby="swal2-html-container">
<div class="swal2-icon swal2-{dialog.icon}"></div><h2 class="swal2-title" id="swal2-title">{escape(dialog.title)}</h2>
<div class="swal2-html-container" id="swal2-html-container">{escape(dialog.text)}</div>
<div class="swal2-actions"><button type="button" class="swal2-confirm swal2-styled">OK</button></div></div></div>"""


def _panel(title: str, account: str, body: str, dialog: Dialog | None = None) -> str:
    return _page(
        title,
        f"""<header><nav><a href="{PANEL_PATH}">Panel</a> <a href="{FORM_PATH}">Nuevo pedido</a>
<a href="{ORDERS_PATH}">Pedidos</a></nav><span class="cuenta">{escape(account)}</span>
<form method="post" action="{LOGOUT_PATH}"><button type="submit">Salir</button></form></header>
<main>{body}</main>{_dialog(dialog) if dialog else ""}""",
    )


def _page(title: str, body: str) -> str:
    return f"""<!doctype html>
<html lang="es"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{escape(title)} · Portal de prueba</title>
<link rel="icon" href="data:,"><link rel="stylesheet" href="{STATIC_PATH}/portal.css">
<script src="{STATIC_PATH}/portal.js" defer></script></head>
<body>{body}
<footer>Portal de prueba: no es de ninguna transportadora y no envía nada.</footer></body></html>
"""
