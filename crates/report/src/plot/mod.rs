//! Plots as inline SVG, with axes, a legend, and values under the pointer.
//!
//! A plot's SVG holds the data's own numbers, and one transform lays them out in a frame of 1 by 1 that
//! is stretched to whatever place there is. Ticks are HTML around it, so that their text stays readable
//! on a phone, and the page's script reads values where the lines have theirs.

mod axis;
mod series;

use std::fmt::Write as _;

use maud::{Markup, html};

use axis::Axis;
pub use series::{smooth, thin};

/// Points that a line of a plot has at most; what a page should pass to [`thin`].
pub const MOST_POINTS: usize = 600;

/// How many colours there are; behind the last one they begin anew.
const COLOURS: usize = 8;

/// The class of the colour of this number.
#[must_use]
pub fn colour(number: usize) -> String {
    format!("c{}", number % COLOURS)
}

/// How a series is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// A line.
    Line,
    /// A line that stays in the background: not in the legend, and its rare extremes may lie outside the
    /// frame.
    Faint,
    /// Dots that a dashed line joins.
    Dots,
}

/// A series of a line chart.
#[derive(Debug, Clone)]
pub struct Line {
    /// What the legend and the pointer call it.
    pub name: String,
    /// The number of its [`colour`].
    pub colour: usize,
    /// How it is drawn.
    pub style: Style,
    /// In ascending order of x.
    pub points: Vec<(f64, f64)>,
}

/// Series over one x axis, whose values are called `x`.
#[must_use]
pub fn line_chart(title: &str, x: &str, lines: &[Line]) -> Markup {
    let all =
        |axis: fn(&(f64, f64)) -> f64| lines.iter().flat_map(move |l| l.points.iter().map(axis));
    let heights = lines.iter().flat_map(|line| match line.style {
        Style::Faint => series::without_extremes(&line.points),
        Style::Line | Style::Dots => line.points.iter().map(|point| point.1).collect(),
    });
    let (Some(across), Some(up)) = (Axis::tight(all(|point| point.0)), Axis::padded(heights))
    else {
        return html! {};
    };
    let drawn = html! {
        g transform=(transform(&across, &up)) {
            // What is in the background comes first.
            @for line in lines.iter().filter(|line| line.style == Style::Faint) { (polyline(line)) }
            @for line in lines.iter().filter(|line| line.style != Style::Faint) { (polyline(line)) }
        }
    };
    let legend = lines.iter().filter(|line| line.style != Style::Faint);
    let legend = legend.map(|line| {
        let dotted = if line.style == Style::Dots { " dotted" } else { "" };
        (line.name.as_str(), colour(line.colour) + dotted)
    });
    frame(title, x, &across, &up, &drawn, legend)
}

fn polyline(line: &Line) -> Markup {
    let mut points = String::new();
    let mut dots = String::new();
    for &(x, y) in &line.points {
        let (x, y) = (short(x), short(y));
        let _ = write!(points, "{x},{y} ");
        // A line of no length with a round end is a dot of the line's width, however it is stretched.
        let _ = write!(dots, "M{x} {y}h0");
    }
    let class = match line.style {
        Style::Line => "line",
        Style::Faint => "line faint",
        Style::Dots => "line dashed",
    };
    html! {
        polyline class={ (class) " " (colour(line.colour)) } points=(points.trim_end())
            data-name=[(line.style != Style::Faint).then_some(&line.name)];
        @if line.style == Style::Dots { path class={ "dots " (colour(line.colour)) } d=(dots); }
    }
}

/// A series of a histogram.
#[derive(Debug, Clone)]
pub struct Bars {
    /// What the legend and the pointer call it.
    pub name: String,
    /// The number of its [`colour`]; none for what the others are compared with, in the background.
    pub colour: Option<usize>,
    /// How many values there are of each whole number, from 0 on.
    pub counts: Vec<usize>,
}

impl Bars {
    fn class(&self) -> String {
        self.colour.map_or_else(|| "behind".to_owned(), colour)
    }

    /// Each number that there is, and its share in percent.
    fn shares(&self) -> Vec<(f64, f64)> {
        let all = self.counts.iter().sum::<usize>().max(1) as f64;
        let present = self.counts.iter().enumerate().filter(|(_, count)| **count > 0);
        present.map(|(number, &count)| (number as f64, 100.0 * count as f64 / all)).collect()
    }

    /// Bars that begin `left` of their numbers.
    fn drawn(&self, left: f64, width: f64) -> Markup {
        let shares = self.shares();
        let points: Vec<String> =
            shares.iter().map(|&(x, y)| format!("{},{}", short(x), short(y))).collect();
        html! {
            path class={ "bars " (self.class()) } d=(rectangles(&shares, left, width))
                data-name=(self.name) data-points=(points.join(" "));
        }
    }
}

/// The share of each whole number among a series' values, in percent. `x` is what the numbers are called.
#[must_use]
pub fn histogram(title: &str, x: &str, series: &[Bars]) -> Markup {
    let shares: Vec<(f64, f64)> = series.iter().flat_map(Bars::shares).collect();
    let ends = shares.iter().flat_map(|point| [point.0 - 0.5, point.0 + 0.5]);
    let heights = shares.iter().flat_map(|point| [0.0, point.1]);
    let (Some(across), Some(up)) = (Axis::tight(ends), Axis::padded(heights)) else {
        return html! {};
    };
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
    frame(title, x, &across, &up, &drawn, legend)
}

/// Rectangles from 0 up, each beginning `left` of its number.
fn rectangles(points: &[(f64, f64)], left: f64, width: f64) -> String {
    points.iter().fold(String::new(), |mut path, &(x, y)| {
        let _ = write!(path, "M{} 0v{}h{}V0z", short(x + left), short(y), short(width));
        path
    })
}

/// From the data's numbers into a frame of 1 by 1 with y downwards.
fn transform(across: &Axis, up: &Axis) -> String {
    let (a, d) = (1.0 / across.length(), -1.0 / up.length());
    format!("matrix({a} 0 0 {d} {} {})", -across.from * a, -up.to * d)
}

/// A number of five digits at most: what a plot can show of it.
fn short(value: f64) -> f64 {
    format!("{value:.4e}").parse().unwrap_or(value)
}

/// Axes, ticks and legend around what is drawn. The legend has names and their classes.
fn frame<'a>(
    title: &str,
    x: &str,
    across: &Axis,
    up: &Axis,
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
            div.plot data-x=(x) data-from=(across.from) data-to=(across.to) {
                div.up {
                    @for (at, label) in up.ticks() {
                        span style={ "bottom:" (percent(at)) } { (label) }
                    }
                }
                div.area {
                    svg viewBox="0 0 1 1" preserveAspectRatio="none" role="img" aria-label=(title) {
                        @for (at, _) in up.ticks() {
                            path.grid d={ "M0 " (1.0 - at) "H1" };
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
            line_chart("loss", "step", &[line(Style::Line), line(Style::Faint)]).into_string();
        assert!(chart.contains(r#"points="1,0.00002 2,0.12346""#), "{chart}");
        assert_eq!(chart.matches(r#"data-name="a&lt;b""#).count(), 1, "faint lines have no values");
        assert!(chart.contains(r#"<li class="c1">a&lt;b</li>"#), "{chart}");
        assert_eq!(line_chart("loss", "step", &[]).into_string(), "");
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
