"""How forms are drawn: Tabler's classes, errors tied to their fields."""

from typing import Any, override

from django.forms import BaseForm, BoundField, CheckboxInput, RadioSelect, Select, Widget
from django.forms.renderers import TemplatesSetting

OK = 200
UNPROCESSABLE = 422


def form_status(form: BaseForm) -> int:
    """Return the status of a page that shows the form: faults in it are the sender's."""
    return UNPROCESSABLE if form.is_bound and form.errors else OK


class TablerBoundField(BoundField):
    """A field that gives its widget the classes Tabler expects."""

    @override
    def build_widget_attrs(
        self, attrs: dict[str, Any], widget: Widget | None = None
    ) -> dict[str, Any]:
        widget = widget or self.field.widget
        attrs = super().build_widget_attrs(attrs, widget)
        match widget:
            case CheckboxInput() | RadioSelect():
                name = "form-check-input"
            case Select():
                name = "form-select"
            case _:
                name = "form-control"
        given = widget.attrs.get("class", "")
        attrs["class"] = " ".join(
            part for part in (name, given, "is-invalid" if self.errors else "") if part
        )
        return attrs


class TablerRenderer(TemplatesSetting):
    """Draws forms with our templates, wherever they are defined."""

    form_template_name = "components/form.html"
    field_template_name = "components/field.html"
    bound_field_class = TablerBoundField
