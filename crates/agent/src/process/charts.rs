//! Charts that a Python program shows with matplotlib.
//!
//! Such a program runs below a script of ours, which describes what is drawn and writes it to a file in memory. The
//! output stays the program's own; nothing in it is taken for a chart.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;

use alcove_agent_api::{Chart, ChartElement};
use rustix::fs::MemfdFlags;
use serde_json::Value;

use crate::process::execute::memory_file;

/// The script, run by [`START`] from descriptor 4.
const HOOK: &str = include_str!("charts/hook.py");

/// What Python is given with `-c`. The program then has the module search path that it would have from standard
/// input.
pub const START: &str =
    r#"exec(compile(open(4,"rb").read(),"<hook>","exec"),{"__name__":"alcove_hook"})"#;

/// Of all charts of one run; the script keeps to it.
const MAX_BYTES: u64 = 8 << 20;

/// Whether a program seems to import matplotlib: on some line, outside of a comment. Finds more than real imports; a
/// program that draws nothing runs below the script just as well.
pub fn may_draw(code: &str) -> bool {
    const LIBRARIES: [&str; 2] = ["matplotlib", "pylab"];
    const IMPORTS: [&str; 3] = ["import", "load_module", "sys.modules"];
    let has = |text: &str, words: &[&str]| words.iter().any(|word| text.contains(word));
    // Most programs end here.
    has(code, &LIBRARIES)
        && code.lines().any(|line| {
            let statement = line.split('#').next().unwrap_or_default();
            has(statement, &LIBRARIES) && has(statement, &IMPORTS)
        })
}

/// The file that takes the charts of one run.
#[derive(Debug)]
pub struct ChartFile(File);

impl ChartFile {
    /// The file, and the descriptors that the program gets as 3 and up.
    ///
    /// # Errors
    /// The system's reason; no memory, most likely.
    pub fn make(code: &str) -> io::Result<(Self, Vec<OwnedFd>)> {
        let file = rustix::fs::memfd_create("charts", MemfdFlags::CLOEXEC)?;
        let for_program = rustix::io::fcntl_dupfd_cloexec(file.as_fd(), 0)?;
        let hook = memory_file(HOOK.as_bytes())?;
        let program = memory_file(code.as_bytes())?;
        Ok((Self(file.into()), vec![for_program, hook, program]))
    }

    /// What was drawn. Takes processor time in proportion to it.
    pub fn read(&self) -> Vec<Chart> {
        let Ok(length) = self.0.metadata().map(|metadata| metadata.len()) else {
            return Vec::new();
        };
        let mut frames = vec![0; usize::try_from(length.min(MAX_BYTES)).unwrap_or(0)];
        if self.0.read_exact_at(&mut frames, 0).is_err() {
            return Vec::new();
        }
        parse(&frames)
    }
}

/// Charts as far as they can be understood: the program can write to the file too.
fn parse(mut frames: &[u8]) -> Vec<Chart> {
    let mut charts = Vec::new();
    while let Some((length, rest)) = frames.split_first_chunk::<4>() {
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        let Some(text) = rest.get(..length) else {
            break;
        };
        if let Ok(value @ Value::Object(_)) = serde_json::from_slice(text) {
            charts.push(chart(&value));
        }
        frames = &rest[length..];
    }
    charts
}

fn chart(value: &Value) -> Chart {
    let required = |key: &str| text(&value[key]).unwrap_or_default();
    Chart {
        r#type: required("type"),
        title: required("title"),
        png: required("png"),
        x_label: required("x_label"),
        y_label: required("y_label"),
        x_ticks: numbers(&value["x_ticks"]).unwrap_or_default(),
        y_ticks: numbers(&value["y_ticks"]).unwrap_or_default(),
        x_tick_labels: texts(&value["x_tick_labels"]),
        y_tick_labels: texts(&value["y_tick_labels"]),
        x_scale: required("x_scale"),
        y_scale: required("y_scale"),
        elements: items(&value["elements"]).iter().map(element).collect(),
    }
}

fn element(value: &Value) -> ChartElement {
    let text = |key: &str| text(&value[key]);
    let number = |key: &str| number(&value[key]);
    ChartElement {
        label: text("label"),
        points: value["points"].as_array().map(|points| {
            let points = points.iter().filter_map(numbers);
            points.filter(|point| point.len() == 2).collect()
        }),
        group: text("group"),
        value: text("value"),
        angle: number("angle"),
        radius: number("radius"),
        min: number("min"),
        first_quartile: number("first_quartile"),
        median: number("median"),
        third_quartile: number("third_quartile"),
        max: number("max"),
        outliers: numbers(&value["outliers"]),
        r#type: text("type"),
        title: text("title"),
        png: text("png"),
        x_label: text("x_label"),
        y_label: text("y_label"),
    }
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Typed clients read text here; a number is text too.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn texts(value: &Value) -> Vec<String> {
    items(value)
        .iter()
        .map(|item| text(item).unwrap_or_default())
        .collect()
}

fn number(value: &Value) -> Option<f64> {
    let number = value.as_f64();
    number
        .or_else(|| value.as_str()?.trim().parse().ok())
        .filter(|number: &f64| number.is_finite())
}

fn numbers(value: &Value) -> Option<Vec<f64>> {
    Some(value.as_array()?.iter().filter_map(number).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn imports_are_found_wherever_they_stand_but_in_comments() {
        for code in [
            "import matplotlib.pyplot as plt",
            "x = 1\n    from matplotlib import pyplot",
            "import numpy, matplotlib",
            "p = __import__('matplotlib')",
            "importlib.import_module(\"matplotlib\")",
            "loader.load_module('matplotlib')",
            "sys.modules['matplotlib']",
            "from pylab import *",
        ] {
            assert!(may_draw(code), "{code}");
        }
        for code in [
            "",
            "import json\nprint('matplotlib')",
            "# import matplotlib",
            "x = 1  # matplotlib is imported elsewhere",
        ] {
            assert!(!may_draw(code), "{code}");
        }
    }

    fn framed(value: &Value) -> Vec<u8> {
        let text = value.to_string();
        let length = u32::try_from(text.len()).unwrap_or(0);
        [&length.to_be_bytes(), text.as_bytes()].concat()
    }

    #[test]
    fn values_of_another_kind_are_turned_into_what_clients_read() {
        let drawn = json!({
            "type": "bar",
            "x_ticks": [0, "1.5", null],
            "x_tick_labels": ["a", 2, null],
            "elements": [{ "label": 7, "value": 3.5, "points": [[1, "2"], [1], "x", [1, null]] }],
            "unknown": true,
        });
        let charts = parse(&[framed(&drawn), b"\0\0\0\x05{}".to_vec()].concat());
        let [chart] = charts.as_slice() else {
            panic!("{charts:?}");
        };
        assert_eq!(chart.x_ticks, [0.0, 1.5]);
        assert_eq!(chart.x_tick_labels, ["a", "2", ""]);
        let element = &chart.elements[0];
        assert_eq!(element.label.as_deref(), Some("7"));
        assert_eq!(element.value.as_deref(), Some("3.5"));
        assert_eq!(element.points, Some(vec![vec![1.0, 2.0]]));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            parse(&bytes);
        }
    }
}
