"""Tags of the pages: icons, roles, initials."""

from collections.abc import Mapping

from django import template
from django.templatetags.static import static
from django.utils.html import format_html
from django.utils.safestring import SafeString

register = template.Library()


@register.simple_tag
def icon(name: str, css: str = "") -> SafeString:
    """Draw an icon of the sprite; decorative, so hidden from screen readers."""
    return format_html(
        '<svg class="icon {}" width="24" height="24" aria-hidden="true" focusable="false">'
        '<use href="{}#{}"></use></svg>',
        css,
        static("vendor/tabler-icons/sprite.svg"),
        name,
    )


@register.filter
def initials(label: str) -> str:
    """Return one or two letters for an avatar."""
    words = label.split("@", maxsplit=1)[0].replace(".", " ").split()
    return "".join(word[0] for word in words[:2]).upper() or "?"


@register.filter
def facts(found: Mapping[str, object] | None) -> str:
    """Write an audit event's facts in words instead of in Python."""
    return ", ".join(f"{name}: {_words(value)}" for name, value in (found or {}).items())


def _words(value: object) -> str:
    match value:
        case None | "" | []:
            return "none"
        case list():
            return ", ".join(str(item) for item in value)
        case _:
            return str(value)
