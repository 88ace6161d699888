//! The distributions as a picture: for each race of latencies a panel, in it one ridge a contender, over one logarithmic axis.

use crate::race::{OURS, Panel, quantile};
use std::fmt::Write as _;

const WIDTH: usize = 1_100;
/// Left of it stand the names.
const LEFT: f64 = 300.0;
const PLOT_WIDTH: f64 = 760.0;
const ROW_HEIGHT: f64 = 44.0;
const HEAD_HEIGHT: f64 = 44.0;
const AXIS_HEIGHT: f64 = 46.0;
/// Steps of the axis that samples are counted in.
const BINS: usize = 190;
/// What lies beyond these thousandths of a contender's samples is not drawn.
const FROM: usize = 1;
const TO: usize = 995;

/// All panels, one above the other, as SVG.
pub(crate) fn svg(panels: &[Panel], footer: &str) -> String {
    let heights = panels.iter().map(|panel| HEAD_HEIGHT + ROW_HEIGHT * panel.series.len() as f64 + AXIS_HEIGHT);
    let height = heights.sum::<f64>() + 30.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    let mut top = 0.0;
    for panel in panels {
        top = draw(&mut svg, panel, top);
    }
    text(&mut svg, 12.0, height - 10.0, "start", "#666666", footer);
    svg.push_str("</svg>\n");
    svg
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, fill: &str, text: &str) {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"{fill}\">{text}</text>");
}

fn line(svg: &mut String, from: (f64, f64), to: (f64, f64), stroke: &str) {
    let ((x1, y1), (x2, y2)) = (from, to);
    let _ = writeln!(svg, "<path d=\"M{x1:.1} {y1:.1}L{x2:.1} {y2:.1}\" stroke=\"{stroke}\"/>");
}

/// A logarithmic axis.
struct Axis {
    from: f64,
    to: f64,
}

impl Axis {
    /// Wide enough for every series.
    fn of(panel: &Panel) -> Self {
        let ends = |thousandths| panel.series.iter().map(move |(_, ns)| quantile(ns, thousandths).max(1) as f64);
        let (from, to) = (ends(FROM).fold(f64::INFINITY, f64::min), ends(TO).fold(1.0, f64::max));
        Self { from: (from * 0.9).ln(), to: (to * 1.1).ln() }
    }

    /// 0 at its beginning, 1 at its end.
    fn part(&self, ns: f64) -> f64 {
        (ns.max(1.0).ln() - self.from) / (self.to - self.from)
    }

    fn x(&self, ns: f64) -> f64 {
        LEFT + PLOT_WIDTH * self.part(ns)
    }
}

/// One panel below `top`; gives where the next one begins.
fn draw(svg: &mut String, panel: &Panel, top: f64) -> f64 {
    let axis = Axis::of(panel);
    let _ = writeln!(svg, "<g font-weight=\"bold\" font-size=\"14\">");
    text(svg, 12.0, top + 26.0, "start", "black", &panel.title);
    svg.push_str("</g>\n");
    let bottom = top + HEAD_HEIGHT + ROW_HEIGHT * panel.series.len() as f64;
    for decade in 0..10 {
        for step in [1, 2, 5] {
            let ns = 10_u64.pow(decade) * step;
            if !(0.0..=1.0).contains(&axis.part(ns as f64)) {
                continue;
            }
            let x = axis.x(ns as f64);
            line(svg, (x, top + HEAD_HEIGHT - 6.0), (x, bottom + 4.0), "#e4e4e4");
            let label = if ns < 1_000 { format!("{ns} ns") } else { format!("{} µs", ns as f64 / 1_000.0) };
            text(svg, x, bottom + 20.0, "middle", "#444444", &label);
        }
    }
    for (row, (name, ns)) in panel.series.iter().enumerate() {
        ridge(svg, &axis, name, ns, top + HEAD_HEIGHT + ROW_HEIGHT * (row + 1) as f64 - 8.0);
    }
    bottom + AXIS_HEIGHT
}

/// One contender's ridge on this base line, its median and its 99th percentile marked.
fn ridge(svg: &mut String, axis: &Axis, name: &str, ns: &[u64], base: f64) {
    let fill = match name {
        OURS => "#0b8457",
        name if name.starts_with(OURS) => "#7bbfa3",
        name if name.starts_with("floor:") => "#999999",
        _ => "#3b6ea5",
    };
    let mut bins = [0_u32; BINS];
    for &ns in ns {
        let part = axis.part(ns as f64);
        if (0.0..1.0).contains(&part) {
            bins[(part * BINS as f64) as usize] += 1;
        }
    }
    let most = f64::from(bins.iter().copied().max().unwrap_or(1).max(1));
    let _ = write!(svg, "<path fill=\"{fill}\" d=\"M{LEFT:.1} {base:.1}");
    for (bin, &count) in bins.iter().enumerate() {
        let x = LEFT + PLOT_WIDTH * (bin as f64 + 0.5) / BINS as f64;
        let _ = write!(svg, "L{x:.1} {:.1}", base - (ROW_HEIGHT - 14.0) * f64::from(count) / most);
    }
    let _ = writeln!(svg, "L{:.1} {base:.1}Z\"/>", LEFT + PLOT_WIDTH);
    let [median, tail] = [500, 990].map(|thousandths| quantile(ns, thousandths));
    for ns in [median, tail] {
        let x = axis.x(ns as f64).min(LEFT + PLOT_WIDTH);
        line(svg, (x, base + 3.0), (x, base - 8.0), "black");
    }
    text(svg, LEFT - 10.0, base - 12.0, "end", "black", name);
    text(svg, LEFT - 10.0, base + 2.0, "end", "#666666", &format!("p50 {median} ns, p99 {tail} ns"));
}
