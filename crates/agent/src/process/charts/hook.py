"""Runs a program that draws with matplotlib, and describes to the agent what it shows.

Descriptor 5 holds the program. Each chart goes to the file at descriptor 3: four bytes of length, the highest first,
and JSON. Nothing that goes wrong in here may be seen by the program: a chart that cannot be described is left out.
"""

import importlib.util
import linecache
import os
import sys
import warnings

CHARTS = 3
PROGRAM = 5
FILE_NAME = "<target_code>"

# Of one chart's elements and of all charts, as JSON. What is longer stays a picture, or is left out.
MAX_ELEMENTS = 2 << 20
MAX_TOTAL = 8 << 20

DPI = 100


# --- Values ------------------------------------------------------------------------------------------------------


def number(value):
    """A number that JSON has, or None."""
    try:
        value = float(value)
    except (TypeError, ValueError):
        return None
    if value != value or value in (float("inf"), float("-inf")):
        return None
    return int(value) if value.is_integer() and abs(value) < 1 << 53 else value


def numbers(values):
    return [value for value in map(number, values) if value is not None]


def pairs(xs, ys):
    """Points of which both coordinates are numbers. Dates and categories are numbers of the axis by now."""
    both = ((number(x), number(y)) for x, y in zip(xs, ys))
    return [[x, y] for x, y in both if x is not None and y is not None]


def own_label(artist):
    """Names that begin with an underscore are matplotlib's, not the program's."""
    label = str(artist.get_label() or "")
    return "" if label.startswith("_") else label


# --- Axes --------------------------------------------------------------------------------------------------------


class Axis:
    """One axis of a plot."""

    def __init__(self, axis):
        converter = getattr(axis, "get_converter", lambda: getattr(axis, "converter", None))()
        kinds = [kind.__name__ for kind in type(converter).__mro__]
        self.is_date = any("Date" in kind for kind in kinds)
        self.is_categorical = any("Category" in kind for kind in kinds)
        self.label = axis.get_label().get_text()
        self.scale = "datetime" if self.is_date else "categorical" if self.is_categorical else axis.get_scale()
        self.ticks = []
        self.tick_labels = []
        texts = [text.get_text() for text in axis.get_ticklabels()]
        for at, tick in enumerate(axis.get_ticklocs()):
            tick = number(tick)
            if tick is not None:
                text = texts[at] if at < len(texts) else ""
                self.ticks.append(tick)
                self.tick_labels.append(self.date(tick) if self.is_date else text)
        has_own_texts = type(axis.get_major_formatter()).__name__ in ("FixedFormatter", "FuncFormatter")
        self.is_named = self.is_categorical or has_own_texts

    @staticmethod
    def date(value):
        from matplotlib.dates import num2date

        return num2date(value).replace(tzinfo=None).isoformat()

    def name(self, position):
        """What stands at a position: the text of its tick, a date, or the number."""
        if self.is_date:
            return self.date(position)
        if self.is_named and self.ticks:
            at = min(range(len(self.ticks)), key=lambda each: abs(self.ticks[each] - position))
            if self.tick_labels[at]:
                return self.tick_labels[at]
        return str(number(position))


# --- Elements ----------------------------------------------------------------------------------------------------


def point_elements(axes):
    elements = [
        {"label": own_label(line), "points": pairs(line.get_xdata(orig=False), line.get_ydata(orig=False))}
        for line in axes.get_lines()
    ]
    for collection in scatters(axes):
        offsets = collection.get_offsets()
        if hasattr(offsets, "filled"):  # Points without a place are masked.
            offsets = offsets.filled(float("nan"))
        elements.append({"label": own_label(collection), "points": pairs(offsets[:, 0], offsets[:, 1])})
    return elements


def is_horizontal(container):
    return getattr(container, "orientation", None) == "horizontal"


def bar_elements(axes):
    elements = []
    for container in bars(axes):
        across = is_horizontal(container)
        axis = Axis(axes.yaxis if across else axes.xaxis)
        for bar in container.patches:
            middle = bar.get_y() + bar.get_height() / 2 if across else bar.get_x() + bar.get_width() / 2
            value = number(bar.get_width() if across else bar.get_height())
            # As text: so the clients have it.
            element = {"label": axis.name(middle), "group": own_label(container)}
            elements.append(dict(element, value=str(value)) if value is not None else element)
    return elements


def pie_elements(axes):
    return [
        {"label": own_label(wedge), "angle": number(wedge.theta2 - wedge.theta1), "radius": number(wedge.r)}
        for wedge in wedges(axes)
    ]


# By axes: whether it lies on its side, and of each box its position and statistics.
boxes = {}


def box_elements(axes):
    elements = []
    across, drawn = boxes[axes]
    axis = Axis(axes.yaxis if across else axes.xaxis)
    for position, stats in drawn:
        element = {"label": str(stats.get("label") or axis.name(position))}
        names = {"min": "whislo", "first_quartile": "q1", "median": "med", "third_quartile": "q3", "max": "whishi"}
        for name, of_matplotlib in names.items():
            value = number(stats.get(of_matplotlib))
            if value is not None:
                element[name] = value
        fliers = stats.get("fliers")
        element["outliers"] = numbers(fliers) if fliers is not None else []
        elements.append(element)
    return elements


def instances(artists, kind):
    return [artist for artist in artists if type(artist).__name__ == kind]


def scatters(axes):
    return instances(axes.collections, "PathCollection")


def bars(axes):
    return [container for container in instances(axes.containers, "BarContainer") if container.patches]


def wedges(axes):
    return instances(axes.patches, "Wedge")


def kind_of(axes):
    if axes in boxes:
        return "box_and_whisker"
    if wedges(axes):
        return "pie"
    if bars(axes):
        return "bar"
    if scatters(axes):
        return "scatter"
    return "line" if axes.get_lines() else "unknown"


ELEMENTS = {
    "line": point_elements,
    "scatter": point_elements,
    "bar": bar_elements,
    "pie": pie_elements,
    "box_and_whisker": box_elements,
    "unknown": lambda axes: [],
}


# --- Charts ------------------------------------------------------------------------------------------------------


def picture(figure, box="tight"):
    """The figure, or a part of it, as PNG."""
    import io

    def saved(**options):
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", bbox_inches=box, dpi=DPI, **options)
        return buffer.getvalue()

    for attempt in (lambda: saved(pil_kwargs={"optimize": True}), saved):
        try:
            return attempt()
        except Exception:
            pass
    return plain_picture(figure)


def plain_picture(figure):
    """Without Pillow: all of the canvas, as matplotlib's own renderer has it."""
    import struct
    import zlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    width, height = canvas.get_width_height()
    pixels = bytes(canvas.buffer_rgba())
    # Each line begins with the number of its filter, which is none.
    lines = b"".join(b"\0" + pixels[at : at + 4 * width] for at in range(0, len(pixels), 4 * width))

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    ends = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(lines)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(ends)


def base64_of(data):
    import base64

    return base64.b64encode(data).decode()


def labels_of(axes, kind):
    labels = axes.get_xlabel(), axes.get_ylabel()
    lies_on_side = kind == "bar" and is_horizontal(bars(axes)[0]) or kind == "box_and_whisker" and boxes[axes][0]
    return labels[::-1] if lies_on_side else labels


def plot(axes):
    """A chart of one plot, without its picture."""
    kind = kind_of(axes)
    x_label, y_label = labels_of(axes, kind)
    chart = {"type": kind, "title": axes.get_title(), "x_label": x_label, "y_label": y_label}
    if kind != "pie":
        x, y = Axis(axes.xaxis), Axis(axes.yaxis)
        chart.update(x_ticks=x.ticks, x_tick_labels=x.tick_labels, x_scale=x.scale)
        chart.update(y_ticks=y.ticks, y_tick_labels=y.tick_labels, y_scale=y.scale)
    chart["elements"] = ELEMENTS[kind](axes)
    return chart


def part(figure, axes):
    """An element of a composite chart."""
    kind = kind_of(axes)
    x_label, y_label = labels_of(axes, kind)
    element = {"type": kind, "title": axes.get_title(), "x_label": x_label, "y_label": y_label}
    try:
        box = axes.get_tightbbox(figure.canvas.get_renderer())
        box = box.transformed(figure.dpi_scale_trans.inverted())
        element["png"] = base64_of(picture(figure, box))
    except Exception:
        pass
    return element


def describe(figure, png):
    drawn = [axes for axes in figure.axes if axes.has_data() and not hasattr(axes, "_colorbar")]
    if len(drawn) > 1:
        title = figure.texts[0].get_text() if figure.texts else ""
        suptitle = getattr(figure, "_suptitle", None)
        if not title and suptitle is not None:
            title = suptitle.get_text()
        chart = {"type": "composite_chart", "title": title, "elements": [part(figure, axes) for axes in drawn]}
    elif drawn:
        try:
            chart = plot(drawn[0])
        except Exception:
            chart = {"type": "unknown", "title": drawn[0].get_title(), "elements": []}
    else:
        chart = {"type": "unknown", "title": "", "elements": []}
    return dict(chart, png=base64_of(png))


def encoded(chart):
    import json

    text = json.dumps(chart["elements"], allow_nan=False)
    if len(text) > MAX_ELEMENTS:
        chart = dict(chart, elements=[])
    # Text of the program may hold halves of characters, which no other language takes.
    text = json.dumps(chart, allow_nan=False, ensure_ascii=False)
    return text.encode("utf-8", "replace")


total = 0
reported = set()


def report_quietly(pyplot, figure_number):
    """Without what drawing has to say: the program asked for no picture."""
    import logging

    logger = logging.getLogger("matplotlib")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            report(pyplot.figure(figure_number))
    except Exception:
        pass
    finally:
        logger.setLevel(level)


def report(figure):
    global total
    if not figure.axes:
        return
    png = picture(figure)
    if hash(png) in reported:
        return
    reported.add(hash(png))
    text = encoded(describe(figure, png))
    if total + len(text) > MAX_TOTAL:
        return
    total += len(text)
    frame = len(text).to_bytes(4, "big") + text
    while frame:
        frame = frame[os.write(CHARTS, frame) :]


# --- Hooks -------------------------------------------------------------------------------------------------------


def hook(pyplot):
    from matplotlib.axes import Axes

    original_show, original_bxp = pyplot.show, Axes.bxp

    def show(*args, **kwargs):
        for figure_number in pyplot.get_fignums():
            report_quietly(pyplot, figure_number)
        try:
            return original_show(*args, **kwargs)
        finally:
            pyplot.close("all")

    def bxp(self, bxpstats, positions=None, *args, **kwargs):
        bxpstats = list(bxpstats)
        drawn = original_bxp(self, bxpstats, positions, *args, **kwargs)
        try:
            across = kwargs.get("orientation") == "horizontal" or kwargs.get("vert") is False
            places = range(1, len(bxpstats) + 1) if positions is None else positions
            boxes.setdefault(self, (across, []))[1].extend(zip(places, bxpstats))
        except Exception:
            pass
        return drawn

    show.__doc__, bxp.__doc__ = original_show.__doc__, original_bxp.__doc__
    pyplot.show, Axes.bxp = show, bxp


class Finder:
    """Hooks pyplot when the program imports it; what it sets up before that counts."""

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name != "matplotlib.pyplot":
            return None
        sys.meta_path.remove(cls)
        spec = importlib.util.find_spec(name)
        loader = getattr(spec, "loader", None)
        if loader is not None:
            original = loader.exec_module

            def exec_module(module):
                original(module)
                try:
                    hook(module)
                except Exception:
                    pass

            loader.exec_module = exec_module
        return spec


# --- The program -------------------------------------------------------------------------------------------------


def innermost_user_frame(trace):
    found = None
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == FILE_NAME:
            found = trace
        trace = trace.tb_next
    return found


def main():
    os.set_inheritable(CHARTS, False)
    with open(PROGRAM, "rb") as file:
        source = file.read()
    lines = source.decode("utf-8", "replace").splitlines(True)
    linecache.cache[FILE_NAME] = len(source), None, lines, FILE_NAME
    sys.argv[0] = "-"
    sys.meta_path.insert(0, Finder)
    try:
        exec(compile(source, FILE_NAME, "exec", dont_inherit=True), sys.modules["__main__"].__dict__)
        return
    except SystemExit:
        raise
    except BaseException as error:
        failure = error
    trace = innermost_user_frame(failure.__traceback__)
    if sys.excepthook is sys.__excepthook__:
        import traceback

        traceback.print_exception(type(failure), failure, trace)
    else:
        sys.excepthook(type(failure), failure, trace)
    sys.exit(1)


main()
