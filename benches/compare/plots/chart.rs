//! Lines over a logarithmic axis, as SVG: no ground of its own, and greys that can be read on light and on dark.
use super::axis::Axis;
use svg::node::element::{Circle, Group, Line, Polyline, Style, Text};
use svg::{Document, Node};

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 400.0;
/// The lines' field.
const LEFT: f64 = 72.0;
const RIGHT: f64 = 590.0;
const TOP: f64 = 48.0;
const BOTTOM: f64 = 340.0;

const STYLE: &str = "text{font:13px system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif;fill:#59636e}\
.title{font-size:17px;font-weight:600}.grid{stroke:#8b949e;stroke-opacity:.28}.axis{stroke:#8b949e}\
.line{fill:none;stroke-width:2.5;stroke-linejoin:round;stroke-linecap:round}.dashed{stroke-dasharray:6 5}\
@media(prefers-color-scheme:dark){text{fill:#9aa4af}}";

/// One line.
pub struct Series {
    pub name: String,
    pub color: &'static str,
    pub dashed: bool,
    pub points: Vec<(f64, f64)>,
}

/// A plot. The x axis is logarithmic.
pub struct Chart {
    pub title: String,
    pub x: String,
    pub y: String,
    /// The y axis is logarithmic, too.
    pub logarithmic: bool,
    pub series: Vec<Series>,
}

impl Chart {
    /// The SVG file's text.
    pub fn draw(&self) -> Result<String, String> {
        let all = || self.series.iter().flat_map(|series| &series.points);
        let (xs, ys): (Vec<f64>, Vec<f64>) = all().copied().unzip();
        let nothing = || format!("{}: nothing was measured that could be drawn", self.title);
        let x = Axis::holding(&xs, true, LEFT, RIGHT).ok_or_else(nothing)?;
        let y = Axis::holding(&ys, self.logarithmic, BOTTOM, TOP).ok_or_else(nothing)?;
        let mut document = Document::new()
            .set("viewBox", (0, 0, WIDTH, HEIGHT))
            .set("width", WIDTH)
            .set("height", HEIGHT)
            .set("role", "img")
            .set("aria-label", format!("{}: {} against {}", self.title, self.y, self.x));
        document.append(Style::new(STYLE));
        document.append(text(&self.title, LEFT, 28.0, "start").set("class", "title"));
        document.append(self.axes(&x, &y));
        for series in &self.series {
            document.append(line(series, &x, &y));
        }
        document.append(self.names(&y));
        Ok(document.to_string() + "\n")
    }

    fn axes(&self, x: &Axis, y: &Axis) -> Group {
        let mut group = Group::new();
        for (value, name) in y.ticks() {
            let height = y.place(value);
            group.append(stroke(LEFT, height, RIGHT, height, "grid"));
            group.append(text(&name, LEFT - 10.0, height + 4.5, "end"));
        }
        for (value, name) in x.ticks() {
            let place = x.place(value);
            group.append(stroke(place, BOTTOM, place, BOTTOM + 6.0, "axis"));
            group.append(text(&name, place, BOTTOM + 23.0, "middle"));
        }
        group.append(stroke(LEFT, BOTTOM, RIGHT, BOTTOM, "axis"));
        group.append(text(&self.x, f64::midpoint(LEFT, RIGHT), HEIGHT - 12.0, "middle"));
        let middle = f64::midpoint(TOP, BOTTOM);
        group.append(text(&self.y, 0.0, 0.0, "middle").set("transform", format!("translate(18 {middle}) rotate(-90)")));
        group
    }

    /// Each line's name at its end, moved apart where two ends are close.
    fn names(&self, y: &Axis) -> Group {
        let end = |series: &Series| series.points.last().map(|(_, value)| y.place(*value));
        let mut ends: Vec<(f64, &Series)> =
            self.series.iter().filter_map(|series| Some((end(series)?, series))).collect();
        ends.sort_by(|(one, _), (other, _)| one.total_cmp(other));
        let mut group = Group::new();
        for (place, (_, series)) in
            apart(&ends.iter().map(|(place, _)| *place).collect::<Vec<_>>()).into_iter().zip(&ends)
        {
            group.append(
                text(&series.name, RIGHT + 12.0, place + 4.5, "start").set("style", format!("fill:{}", series.color)),
            );
        }
        group
    }
}

/// At least 17 pixels between each two, from the top on.
fn apart(places: &[f64]) -> Vec<f64> {
    let mut least = f64::MIN;
    let moved = places.iter().map(|place| {
        let moved = place.max(least);
        least = moved + 17.0;
        moved
    });
    moved.collect()
}

fn text(content: &str, x: f64, y: f64, anchor: &str) -> Text {
    Text::new(content).set("x", round(x)).set("y", round(y)).set("text-anchor", anchor)
}

fn stroke(x1: f64, y1: f64, x2: f64, y2: f64, class: &str) -> Line {
    Line::new().set("x1", round(x1)).set("y1", round(y1)).set("x2", round(x2)).set("y2", round(y2)).set("class", class)
}

fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

fn line(series: &Series, x: &Axis, y: &Axis) -> Group {
    let places: Vec<(f64, f64)> =
        series.points.iter().map(|(at, value)| (round(x.place(*at)), round(y.place(*value)))).collect();
    let joined: Vec<String> = places.iter().map(|(x, y)| format!("{x},{y}")).collect();
    let class = if series.dashed { "line dashed" } else { "line" };
    let mut group = Group::new();
    group.append(Polyline::new().set("points", joined.join(" ")).set("class", class).set("stroke", series.color));
    for (x, y) in places {
        group.append(Circle::new().set("cx", x).set("cy", y).set("r", 3.5).set("fill", series.color));
    }
    group
}

#[cfg(test)]
#[allow(dead_code, unused_imports, reason = "run by tests/benches.rs; a program without a harness only compiles them")]
mod tests {
    use super::*;

    #[test]
    fn names_do_not_cover_each_other() {
        assert_eq!(apart(&[10.0, 12.0, 100.0]), [10.0, 27.0, 100.0]);
        assert_eq!(apart(&[]), Vec::<f64>::new());
    }
}
