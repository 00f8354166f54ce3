//! The growth as a picture: four log-log panels in one SVG, written by hand.

use std::fmt::Write as _;

use crate::row::Row;
use crate::suite::{Curve, curves};

/// Size of a panel's frame and the room around it, pixels.
const FRAME: (f64, f64) = (380.0, 240.0);
const MARGIN: (f64, f64) = (64.0, 68.0);
/// Colours that stay apart for the colour-blind (Okabe and Ito, 2008); ours is the first.
const COLOURS: [&str; 4] = ["#d55e00", "#0072b2", "#009e73", "#cc79a7"];
const PANELS: [(&str, &str, &str, &str); 4] = [
    ("subscribers", "publish", "publish, ns per packet", "subscribers"),
    ("subscribers", "delivery", "delivery, ns per packet and subscriber", "subscribers"),
    ("topics", "publish", "publish, ns per packet", "topics"),
    ("topics", "delivery", "delivery, ns per packet", "topics, one reader of all"),
];

/// A logarithmic axis of whole powers of `base`.
struct Axis {
    low: i32,
    high: i32,
    base: f64,
    length: f64,
}

impl Axis {
    fn over(values: impl Iterator<Item = f64>, base: f64, length: f64) -> Self {
        let (low, high) = values.map(|v| v.log(base)).fold((f64::MAX, f64::MIN), |(l, h), v| (l.min(v), h.max(v)));
        // A power of the base comes out of `log` a hair off.
        let (low, high) = ((low + 1e-9).floor() as i32, (high - 1e-9).ceil() as i32);
        Self { low, high: high.max(low + 1), base, length }
    }

    fn at(&self, value: f64) -> f64 {
        (value.log(self.base) - f64::from(self.low)) / f64::from(self.high - self.low) * self.length
    }

    fn marks(&self) -> impl Iterator<Item = f64> {
        (self.low..=self.high).map(|power| self.base.powi(power))
    }
}

/// The whole picture. `subtitle` says where the figures come from.
pub fn svg(rows: &[Row], subtitle: &str) -> String {
    let (width, height) = (2.0 * (FRAME.0 + MARGIN.0) + 24.0, 2.0 * (FRAME.1 + MARGIN.1) + 72.0);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <title>Cost of publishing and delivering over subscribers and topics</title>\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n\
         <text x=\"{x}\" y=\"{y}\" fill=\"#555\" font-size=\"10\">{subtitle}</text>\n",
        x = MARGIN.0,
        y = height - 8.0,
    );
    let mut legend: Vec<String> = Vec::new();
    for (index, (axis, figure, title, across)) in PANELS.into_iter().enumerate() {
        let left = MARGIN.0 + (index % 2) as f64 * (FRAME.0 + MARGIN.0);
        let top = 48.0 + (index / 2) as f64 * (FRAME.1 + MARGIN.1);
        let curves = curves(rows, axis, figure);
        if curves.is_empty() {
            continue;
        }
        for curve in &curves {
            if !legend.contains(&curve.label) {
                legend.push(curve.label.clone());
            }
        }
        let _ =
            writeln!(svg, "<g transform=\"translate({left} {top})\">\n{}</g>", panel(&curves, &legend, title, across));
    }
    for (index, label) in legend.iter().enumerate() {
        let (x, colour) = (MARGIN.0 + index as f64 * 200.0, COLOURS[index % COLOURS.len()]);
        let _ = writeln!(
            svg,
            "<circle cx=\"{x}\" cy=\"16\" r=\"4\" fill=\"{colour}\"/><text x=\"{}\" y=\"20\">{label}</text>",
            x + 10.0
        );
    }
    svg + "</svg>\n"
}

fn panel(curves: &[Curve], legend: &[String], title: &str, across: &str) -> String {
    let points = || curves.iter().flat_map(|curve| &curve.points);
    let x = Axis::over(points().map(|p| p.0), 2.0, FRAME.0);
    let y = Axis::over(points().map(|p| p.1), 10.0, FRAME.1);
    let up = |value: f64| FRAME.1 - y.at(value);
    let mut text = format!(
        "<text y=\"-8\" font-weight=\"bold\">{title}</text>\n\
         <text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{across}</text>\n",
        FRAME.0 / 2.0,
        FRAME.1 + 32.0
    );
    for mark in y.marks() {
        let at = up(mark);
        let _ = writeln!(
            text,
            "<path d=\"M0 {at:.1}H{}\" stroke=\"#ddd\"/><text x=\"-6\" y=\"{:.1}\" text-anchor=\"end\">{mark}</text>",
            FRAME.0,
            at + 4.0
        );
    }
    for mark in x.marks().step_by(2) {
        let at = x.at(mark);
        let _ = writeln!(
            text,
            "<path d=\"M{at:.1} 0V{}\" stroke=\"#eee\"/><text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{mark}</text>",
            FRAME.1,
            FRAME.1 + 16.0
        );
    }
    let _ = writeln!(text, "<path d=\"M0 0V{}H{}\" fill=\"none\" stroke=\"#333\"/>", FRAME.1, FRAME.0);
    for curve in curves {
        let index = legend.iter().position(|label| *label == curve.label).unwrap_or(0);
        let colour = COLOURS[index % COLOURS.len()];
        let path: Vec<String> = curve.points.iter().map(|p| format!("{:.1},{:.1}", x.at(p.0), up(p.1))).collect();
        let _ = writeln!(
            text,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            path.join(" ")
        );
        for (number, ns) in &curve.points {
            let (at, height) = (x.at(*number), up(*ns));
            let _ = writeln!(
                text,
                "<circle cx=\"{at:.1}\" cy=\"{height:.1}\" r=\"3\" fill=\"{colour}\"><title>{}: {ns:.1} ns at {number}</title></circle>",
                curve.label
            );
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_ends_at_whole_powers() {
        let axis = Axis::over([3.0, 420.0].into_iter(), 10.0, 300.0);
        assert_eq!(axis.marks().collect::<Vec<_>>(), [1.0, 10.0, 100.0, 1000.0]);
        assert_eq!((axis.at(1.0), axis.at(1000.0).round()), (0.0, 300.0));
        let axis = Axis::over([1.0, 4096.0].into_iter(), 2.0, 1.0);
        assert_eq!((axis.low, axis.high), (0, 12));
    }
}
