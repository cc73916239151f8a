"""Charts of code that draws with matplotlib, typed by the client as its documentation says."""

import base64

import pytest
from daytona import (
    BarChart,
    BoxAndWhiskerChart,
    Chart,
    ChartType,
    CodeRunParams,
    CompositeChart,
    LineChart,
    PieChart,
    ScatterChart,
)

IMPORT = "import matplotlib.pyplot as plt\n"


@pytest.fixture(scope="module")
def drawing(daytona):
    """One sandbox for all of these: a first import of matplotlib takes longer than a sandbox."""
    sandbox = daytona.create()

    def draw(code, **params):
        result = sandbox.process.code_run(IMPORT + code + "\nplt.show()\nprint('shown')", params=CodeRunParams(**params))
        assert (result.exit_code, result.result) == (0, "shown\n")
        charts = result.artifacts.charts
        assert all(base64.b64decode(chart.png).startswith(b"\x89PNG") for chart in charts)
        return charts

    yield draw
    daytona.delete(sandbox)


def elements(chart):
    return [element.model_dump(exclude_none=True, exclude={"additional_properties"}) for element in chart.elements]


def test_a_line(drawing):
    [chart] = drawing("plt.plot([1, 2], [3, 4.5], label='a')\nplt.title('T')\nplt.xlabel('x')\nplt.yscale('log')")
    assert isinstance(chart, LineChart) and chart.type == ChartType.LINE
    assert (chart.title, chart.x_label, chart.x_scale, chart.y_scale) == ("T", "x", "linear", "log")
    assert elements(chart) == [{"label": "a", "points": [[1, 3], [2, 4.5]]}]
    assert len(chart.x_ticks) == len(chart.x_tick_labels) > 0


def test_points(drawing):
    [chart] = drawing("plt.scatter([1, 2], [3, float('nan')], label='s')\nplt.title('\\u4f60')")
    assert isinstance(chart, ScatterChart) and chart.type == ChartType.SCATTER
    assert elements(chart) == [{"label": "s", "points": [[1, 3]]}]


def test_bars(drawing):
    [chart] = drawing("plt.bar(['a', 'b'], [3, 4.5], label='g')")
    assert isinstance(chart, BarChart) and chart.type == ChartType.BAR
    assert elements(chart) == [{"label": "a", "value": "3", "group": "g"}, {"label": "b", "value": "4.5", "group": "g"}]


def test_bars_that_lie_on_their_side(drawing):
    [chart] = drawing("plt.barh(['a'], [3])\nplt.xlabel('amount')\nplt.ylabel('what')")
    assert (chart.x_label, chart.y_label) == ("what", "amount")
    assert [(element["label"], element["value"]) for element in elements(chart)] == [("a", "3")]


def test_a_pie(drawing):
    [chart] = drawing("plt.pie([1, 3], labels=['a', 'b'])")
    assert isinstance(chart, PieChart) and chart.type == ChartType.PIE
    assert elements(chart) == [{"label": "a", "angle": 90, "radius": 1}, {"label": "b", "angle": 270, "radius": 1}]


def test_boxes(drawing):
    [chart] = drawing("plt.boxplot([[1, 2, 3, 30]], tick_labels=['a'])")
    assert isinstance(chart, BoxAndWhiskerChart) and chart.type == ChartType.BOX_AND_WHISKER
    wanted = {"label": "a", "min": 1, "first_quartile": 1.75, "median": 2.5, "third_quartile": 9.75, "max": 9.75, "outliers": [30]}
    assert elements(chart) == [wanted]


def test_several_plots_in_one(drawing):
    [chart] = drawing("f, (a, b) = plt.subplots(1, 2)\na.plot([1, 2])\nb.bar(['x'], [1])\na.set_title('L')\nf.suptitle('S')")
    assert isinstance(chart, CompositeChart) and chart.type == ChartType.COMPOSITE_CHART
    assert chart.title == "S"
    assert [(element.type, element.title) for element in chart.elements] == [("line", "L"), ("bar", "")]
    assert all(base64.b64decode(element.png).startswith(b"\x89PNG") for element in chart.elements)


def test_what_is_none_of_these(drawing):
    [chart] = drawing("plt.imshow([[1, 2], [3, 4]])\nplt.colorbar()\nplt.title('I')")
    assert type(chart) is Chart and chart.type == ChartType.UNKNOWN
    assert chart.title == "I"


def test_dates_and_names_on_axes(drawing):
    code = "import datetime as d\nplt.plot([d.date(2024, 1, 1), d.date(2024, 1, 3)], [1, 2])\nplt.show()\nplt.plot(['u', 'v'], [1, 2])"
    dates, names = drawing(code)
    # Typed clients read numbers as points; these are days since 1970, as matplotlib counts. The labels say which.
    assert (dates.x_scale, elements(dates)[0]["points"]) == ("datetime", [[19723, 1], [19725, 2]])
    assert dict(zip(dates.x_ticks, dates.x_tick_labels))[19724] == "2024-01-02T00:00:00"
    assert (names.x_scale, names.x_tick_labels, elements(names)[0]["points"]) == ("categorical", ["u", "v"], [[0, 1], [1, 2]])


def test_a_figure_is_reported_once_and_arguments_arrive(drawing):
    charts = drawing("import sys\nassert sys.argv[1:] == ['a b']\nplt.plot([1])\nplt.show()\nplt.show()", argv=["a b"])
    assert len(charts) == 1


def test_code_that_fails_shows_where(sandbox):
    result = sandbox.process.code_run("import matplotlib\n\n1/0")
    assert result.exit_code == 1 and 'File "<target_code>", line 3' in result.result
    assert not result.artifacts.charts
