//! Plots as inline SVG, with axes, a legend, and values under the pointer.
//!
//! The SVG holds the data's own numbers. A single transform maps them to a frame of 1 by 1, which
//! is stretched to the available space. The ticks are HTML around the SVG, so that their text stays
//! readable on a phone. The page's script reads the values from the SVG's points. SVG elements need
//! an explicit end tag: HTML would leave them open without one.

mod axis;
mod series;

use std::fmt::Write as _;

use maud::{Markup, html};

use axis::Axis;
pub use series::{smooth, thin};

/// Maximum number of points in a line of a plot, for use with [`thin`].
pub const MOST_POINTS: usize = 600;

/// Number of colours. Further series reuse them from the first on.
const COLOURS: usize = 8;

/// Returns the CSS class of a colour.
#[must_use]
pub fn colour(number: usize) -> String {
    format!("c{}", number % COLOURS)
}

/// Drawing style of a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Solid line.
    Line,
    /// Faint line in the background: not in the legend, and rare extremes may lie outside the
    /// frame.
    Faint,
    /// Dots joined by a dashed line.
    Dots,
}

/// Scale of the y axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// Linear scale.
    Linear,
    /// Linear scale whose end is lowered if a few values, such as the first losses, are far above
    /// the others: these lie outside the frame.
    Clipped,
    /// Logarithmic scale, for values of different magnitudes. Values that are not above 0 are
    /// dropped.
    Logarithmic,
}

/// A series of a line chart.
#[derive(Debug, Clone)]
pub struct Line {
    /// Name in the legend and under the pointer.
    pub name: String,
    /// Number of its [`colour`].
    pub colour: usize,
    /// Drawing style.
    pub style: Style,
    /// Points `(x, y)`, in ascending order of x.
    pub points: Vec<(f64, f64)>,
}

/// Returns a line chart of series over one x axis, labelled `x`.
#[must_use]
pub fn line_chart(title: &str, x: &str, scale: Scale, lines: &[Line]) -> Markup {
    let lines: Vec<Line> = lines.iter().map(|line| line.scaled(scale)).collect();
    let across = lines.iter().flat_map(|line| line.points.iter().map(|point| point.0));
    let heights = lines.iter().flat_map(|line| match (line.style, scale) {
        // The line that a clipped faint line belongs to decides.
        (Style::Faint, Scale::Clipped) => Vec::new(),
        (Style::Faint, _) => series::without_extremes(&line.points),
        (_, Scale::Clipped) => series::without_peaks(&line.points),
        (Style::Line | Style::Dots, _) => line.points.iter().map(|point| point.1).collect(),
    });
    let (Some(across), Some(up)) = (Axis::of(across), Axis::of(heights)) else {
        return html! {};
    };
    let up = if scale == Scale::Logarithmic { up } else { up.down_to_zero_if_near() };
    // Without this, the first and last dots would be cut in half.
    let (across, up) = (across.widened(0.01), up.widened(0.05));
    let drawn = html! {
        g transform=(transform(&across, &up)) {
            // Background lines are drawn first.
            @for line in lines.iter().filter(|line| line.style == Style::Faint) { (polyline(line)) }
            @for line in lines.iter().filter(|line| line.style != Style::Faint) { (polyline(line)) }
        }
    };
    let legend = lines.iter().filter(|line| line.style != Style::Faint);
    let legend = legend.map(|line| {
        let dotted = if line.style == Style::Dots { " dotted" } else { "" };
        (line.name.as_str(), colour(line.colour) + dotted)
    });
    frame(&Frame { title, x, across, up, scale }, &drawn, legend)
}

impl Line {
    fn scaled(&self, scale: Scale) -> Self {
        let mut line = self.clone();
        if scale == Scale::Logarithmic {
            line.points.retain(|point| point.1 > 0.0);
            line.points.iter_mut().for_each(|point| point.1 = point.1.log10());
        }
        line
    }
}

fn polyline(line: &Line) -> Markup {
    let mut points = String::new();
    let mut dots = String::new();
    for &(x, y) in &line.points {
        let (x, y) = (short(x), short(y));
        let _ = write!(points, "{x},{y} ");
        // A line of zero length with round ends is a dot of the line's width, even when stretched.
        let _ = write!(dots, "M{x} {y}h0");
    }
    let class = match line.style {
        Style::Line => "line",
        Style::Faint => "line faint",
        Style::Dots => "line dashed",
    };
    html! {
        polyline class={ (class) " " (colour(line.colour)) } points=(points.trim_end())
            data-name=[(line.style != Style::Faint).then_some(&line.name)]
            data-of=[(line.style == Style::Faint).then_some(&line.name)] {}
        @if line.style == Style::Dots { path class={ "dots " (colour(line.colour)) } d=(dots) data-of=(line.name) {} }
    }
}

/// A series of a histogram.
#[derive(Debug, Clone)]
pub struct Bars {
    /// Name in the legend and under the pointer.
    pub name: String,
    /// Number of its [`colour`]; `None` for the background series that the others are compared
    /// with.
    pub colour: Option<usize>,
    /// Number of values of each whole number, from 0 on.
    pub counts: Vec<usize>,
}

impl Bars {
    fn class(&self) -> String {
        self.colour.map_or_else(|| "behind".to_owned(), colour)
    }

    /// Returns each number that occurs and its share in percent.
    fn shares(&self) -> Vec<(f64, f64)> {
        let all = self.counts.iter().sum::<usize>().max(1) as f64;
        let present = self.counts.iter().enumerate().filter(|(_, count)| **count > 0);
        present.map(|(number, &count)| (number as f64, 100.0 * count as f64 / all)).collect()
    }

    /// Returns bars that begin at `left` relative to their numbers.
    fn drawn(&self, left: f64, width: f64) -> Markup {
        let shares = self.shares();
        let points: Vec<String> =
            shares.iter().map(|&(x, y)| format!("{},{}", short(x), short(y))).collect();
        html! {
            path class={ "bars " (self.class()) } d=(rectangles(&shares, left, width))
                data-name=(self.name) data-points=(points.join(" ")) {}
        }
    }
}

/// Returns a histogram: the share of each whole number in each series, in percent.
///
/// `x` is the label of the x axis.
#[must_use]
pub fn histogram(title: &str, x: &str, series: &[Bars]) -> Markup {
    let shares: Vec<(f64, f64)> = series.iter().flat_map(Bars::shares).collect();
    let ends = shares.iter().flat_map(|point| [point.0 - 0.5, point.0 + 0.5]);
    let heights = shares.iter().flat_map(|point| [0.0, point.1]);
    let (Some(across), Some(up)) = (Axis::of(ends), Axis::of(heights)) else {
        return html! {};
    };
    let up = up.widened(0.05);
    let (behind, front): (Vec<&Bars>, Vec<&Bars>) =
        series.iter().partition(|bars| bars.colour.is_none());
    let width = 0.8 / front.len().max(1) as f64;
    let drawn = html! {
        g transform=(transform(&across, &up)) {
            @for bars in behind { (bars.drawn(-0.5, 1.0)) }
            @for (number, bars) in front.into_iter().enumerate() {
                (bars.drawn(width * number as f64 - 0.4, width))
            }
        }
    };
    let legend = series.iter().map(|bars| (bars.name.as_str(), bars.class()));
    frame(&Frame { title, x, across, up, scale: Scale::Linear }, &drawn, legend)
}

/// Returns an SVG path of rectangles from 0 up, beginning at `left` relative to their numbers.
fn rectangles(points: &[(f64, f64)], left: f64, width: f64) -> String {
    points.iter().fold(String::new(), |mut path, &(x, y)| {
        let _ = write!(path, "M{} 0v{}h{}V0z", short(x + left), short(y), short(width));
        path
    })
}

/// Returns the SVG transform from the data's range to a frame of 1 by 1 with y downwards.
fn transform(across: &Axis, up: &Axis) -> String {
    let (a, d) = (1.0 / across.length(), -1.0 / up.length());
    format!("matrix({a} 0 0 {d} {} {})", -across.from * a, -up.to * d)
}

/// Rounds a number to five significant digits, the precision of a plot.
fn short(value: f64) -> f64 {
    format!("{value:.4e}").parse().unwrap_or(value)
}

/// Title and axes of a plot.
struct Frame<'a> {
    title: &'a str,
    x: &'a str,
    across: Axis,
    up: Axis,
    scale: Scale,
}

/// Returns a plot with title, axes, ticks and legend. The legend has names and CSS classes.
fn frame<'a>(
    Frame { title, x, across, up, scale }: &Frame,
    drawn: &Markup,
    legend: impl Iterator<Item = (&'a str, String)>,
) -> Markup {
    html! {
        figure.chart {
            figcaption {
                strong { (title) }
                ul.legend {
                    @for (name, class) in legend { li class=(class) { (name) } }
                }
            }
            div.plot data-x=(x) data-from=(across.from) data-to=(across.to)
                data-logarithmic[*scale == Scale::Logarithmic] {
                div.up {
                    @for (at, label) in if *scale == Scale::Logarithmic { up.powers() } else { up.ticks() } {
                        span style={ "bottom:" (percent(at)) } { (label) }
                    }
                }
                div.area {
                    svg viewBox="0 0 1 1" preserveAspectRatio="none" role="img" aria-label=(title) {
                        @for (at, _) in up.ticks() {
                            path.grid d={ "M0 " (short(1.0 - at)) "H1" } {}
                        }
                        (drawn)
                    }
                }
                div.across {
                    @for (at, label) in across.ticks() {
                        span style={ "left:" (percent(at)) } { (label) }
                    }
                }
                div.unit { (x) }
            }
        }
    }
}

fn percent(share: f64) -> String {
    format!("{:.2}%", share * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_holds_the_numbers_it_was_given_and_its_name_is_escaped() {
        let line = |style| Line {
            name: "a<b".to_owned(),
            colour: 9,
            style,
            points: vec![(1.0, 2e-5), (2.0, 0.123_456_789)],
        };
        let chart =
            line_chart("loss", "step", Scale::Linear, &[line(Style::Line), line(Style::Faint)])
                .into_string();
        assert!(chart.contains(r#"points="1,0.00002 2,0.12346""#), "{chart}");
        assert_eq!(chart.matches(r#"data-name="a&lt;b""#).count(), 1, "faint lines have no values");
        assert!(chart.contains(r#"<li class="c1">a&lt;b</li>"#), "{chart}");
        let chart_log = line_chart("loss", "step", Scale::Logarithmic, &[line(Style::Line)]);
        assert!(chart_log.into_string().contains(r#"points="1,-4.699 2,-0.90849""#));
        for element in ["path", "polyline", "g", "svg"] {
            let begin = chart.matches(&format!("<{element} ")).count();
            assert!(
                begin > 0 && begin == chart.matches(&format!("</{element}>")).count(),
                "{chart}"
            );
        }
        assert_eq!(line_chart("loss", "step", Scale::Linear, &[]).into_string(), "");
    }

    #[test]
    fn a_histogram_shows_shares_of_each_series() {
        let bars = |name: &str, colour, counts: &[usize]| Bars {
            name: name.to_owned(),
            colour,
            counts: counts.to_vec(),
        };
        let all = [bars("run", Some(0), &[0, 0, 1, 3]), bars("people", None, &[0, 1, 1])];
        let chart = histogram("lengths", "words", &all).into_string();
        assert!(chart.contains(r#"data-points="2,25 3,75""#), "{chart}");
        assert!(chart.contains(r#"data-points="1,50 2,50""#), "{chart}");
        let (behind, front) = (chart.find("bars behind").unwrap(), chart.find("bars c0").unwrap());
        assert!(behind < front, "what is compared with is drawn first");
        assert_eq!(histogram("lengths", "words", &[bars("run", Some(0), &[])]).into_string(), "");
    }

    #[test]
    fn the_transform_lays_data_into_the_unit_square() {
        let (across, up) = (Axis { from: 10.0, to: 30.0 }, Axis { from: -1.0, to: 3.0 });
        assert_eq!(transform(&across, &up), "matrix(0.05 0 0 -0.25 -0.5 0.75)");
    }
}
